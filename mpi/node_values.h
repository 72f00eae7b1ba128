/* Values of the trained tensors once on each node (parallel.node_shared), in memory of all its ranks (mpi/node_memory.h): all
   read them, each writes the rows that it keeps. Where rows are divided among all ranks, those that a rank has written go to the
   other nodes: over its rail, the ranks with its place on every node. */
#ifndef POLYSKETCH_MPI_NODE_VALUES_H
#define POLYSKETCH_MPI_NODE_VALUES_H

#include "mpi/node.h"
#include "src/core/param_shards.h"

typedef struct NodeValues NodeValues;

/* All ranks leave with one line where a node cannot have them. Collective over all ranks. */
void node_values_require(const ParamTable *params, const Node *node);

/* Zeros, after node_values_require(). `shards`: of all ranks, or, where every node divides rows among its own ranks, of these.
   Both must outlive it. Collective over all ranks. */
NodeValues *node_values_create(const ParamShards *shards, const Node *node);
void node_values_destroy(NodeValues *values); /* collective; NULL allowed */

/* All values of a trained tensor. Local. */
real *node_values_whole(const NodeValues *values, const Param *param);

/* Whoever writes does so between these two: nobody of the node reads any more; kept rows have reached the memory of all nodes.
   Collective. */
void node_values_begin_change(NodeValues *values);
void node_values_spread(NodeValues *values);

/* `whole` of rank 0, elsewhere NULL, becomes the values of a trained tensor on all nodes. Collective. */
void node_values_place(NodeValues *values, const Param *param, const real *whole);

#endif
