/* Parameters on many ranks, each of which keeps a share of what training needs: of the optimizer's states; of gradients too; of
   values too (parallel.shard). Which rows are whose says src/core/param_shards.h; tensors that are not trained, which are few and
   small, are whole on every rank.

   The ranks of a node may have one copy of the values together (parallel.node_shared, mpi/node_values.h). Each writes the rows
   that it keeps; without a stage the rows, and with them the states of the optimizer, are divided in each node among its own
   ranks. */
#ifndef POLYSKETCH_MPI_PARAM_STORE_SHARDED_H
#define POLYSKETCH_MPI_PARAM_STORE_SHARDED_H

#include "src/core/param_shards.h"
#include "src/core/param_store.h"

typedef struct ShardSpec {
    ShardStage stage;
    bool whole_matrices; /* OptimizerKind.whole_matrices */
    bool node_shared;    /* not with SHARD_PARAMETERS; where all nodes have one rank it changes nothing */
} ShardSpec;

/* As param_store_create(), collective. On one rank, or without a stage and node_shared, it is param_store_replicated(). A step
   gives what it gives there up to the rounding of sums over ranks, which are taken in the order of the ranks; the same bits in
   every run, and with or without node_shared. All ranks leave with one line where a node has no room for what it shares. */
ParamStore *param_store_sharded(const ParamTable *params, const ParamTable *states, StorePurpose purpose,
                                GradientSums sums, ShardSpec spec);

/* Numbers that a rank takes beside the rows it keeps: of values with SHARD_PARAMETERS, of gradients from SHARD_GRADIENTS on, in a
   job of so many `ranks`, of which `shards` may have fewer. Local. */
size_t sharded_values_beside(const ParamShards *shards);
size_t sharded_gradients_beside(const ParamShards *shards, int ranks);

/* In how many rounds of messages from all to all the gradients of a group are summed to shares. Local. */
size_t sharded_gradient_rounds(const ParamShards *shards, int group);

#endif
