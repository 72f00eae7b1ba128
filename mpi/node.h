/* The nodes of a job: ranks that can share memory. */
#ifndef POLYSKETCH_MPI_NODE_H
#define POLYSKETCH_MPI_NODE_H

#include <mpi.h>

#include "mpi/world.h"

/* This rank's node. */
typedef struct Node {
    MPI_Comm comm;  /* of its ranks, in the order of the world */
    int rank, size; /* in it */
    int number;     /* of the node: 0 is that of rank 0, others follow by their first ranks */
    WorldNodes all;
} Node;

/* Collective over all ranks; the caller frees by node_destroy(), which the ranks of the node call together. */
Node node_create(void);
void node_destroy(Node *node);

/* For tests on one machine: from now on a node has at most so many ranks, neighbours; 0 = all. Local, the same on all ranks. */
void node_limit(int ranks);

#endif
