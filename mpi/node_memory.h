/* Memory that the ranks of a node have together: every rank reads and writes the same bytes.

   MPI keeps it in a file in memory, so that the folder of that file, /dev/shm unless Open MPI is told otherwise, must have room;
   containers give it 64 MB by default. A node with one rank needs no file. */
#ifndef POLYSKETCH_MPI_NODE_MEMORY_H
#define POLYSKETCH_MPI_NODE_MEMORY_H

#include <stddef.h>

#include "mpi/node.h"

typedef struct NodeMemory NodeMemory;

/* All ranks leave with one line where a node has no room for so many bytes, or MPI no memory to share. Collective over all
   ranks. */
void node_memory_require(const Node *node, size_t bytes);

/* Zeroed memory, aligned to pages; every rank of a node is the first to touch a share of it, and huge pages are asked for. After
   node_memory_require(). `node` must outlive it. Collective over all ranks. */
NodeMemory *node_memory_create(const Node *node, size_t bytes);
void node_memory_destroy(NodeMemory *memory); /* collective over the node; NULL allowed */

void *node_memory_start(const NodeMemory *memory);

/* Returns when all ranks of the node are here, and sees what they have written. Collective over the node. */
void node_memory_meet(const NodeMemory *memory);

#endif
