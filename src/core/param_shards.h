/* Which process keeps which rows of the trained tensors, where every row is kept by one process (parallel.shard).

   The trained tensors of a group lie one after another in the plain layout of the table. This stretch is cut into at most as many
   blocks as there are processes, of about the same cost, where a row begins (of a vector an element); matrices that an optimizer
   takes whole (Param.hidden_parts) are not cut. A process keeps at most one block of each group: the dearest block goes to the
   process that has the least so far. Everything follows from the table, so that all processes find the same. */
#ifndef POLYSKETCH_CORE_PARAM_SHARDS_H
#define POLYSKETCH_CORE_PARAM_SHARDS_H

#include "src/base/size.h"
#include "src/core/param_table.h"

/* Numbers [first, end) of the plain layout, padding behind tensors included. */
typedef struct ShardBlock {
    size_t first, end;
    int rank; /* the process that keeps it */
} ShardBlock;

typedef struct GroupShards {
    size_t first, end;  /* of its trained tensors in the plain layout; first = end: it has none */
    int first_param;    /* row of the first of them; -1: none */
    ShardBlock *blocks; /* (block_count), in the order of the layout */
    int block_count;
    int *block_of_rank; /* (ranks); -1: none */
} GroupShards;

typedef struct ParamShards {
    const ParamTable *params;
    int ranks;
    GroupShards *groups; /* (params->groups) */
} ParamShards;

/* Of bringing a whole matrix up to date, as Muon does it, by products with the shorter side. */
static inline double whole_matrix_cost(size_t rows, size_t columns)
{
    return (double)smaller(rows, columns) * (double)rows * (double)columns;
}

/* `whole_matrices`: those of hidden_parts are kept whole. The table must outlive it. Owned by the caller. Local. */
ParamShards *param_shards_create(const ParamTable *params, bool whole_matrices, int ranks);
void param_shards_destroy(ParamShards *shards);

/* What `rank` keeps of a group, and of a trained tensor or a state of one (Param.parameter); first = end: nothing. */
ShardBlock param_shards_block(const ParamShards *shards, int group, int rank);
RowRange param_shards_rows(const ParamShards *shards, const Param *param, int rank);

/* The parameter that a row of either table is, or is a state of. */
static inline const Param *param_shards_parameter(const ParamShards *shards, const Param *param)
{
    return &shards->params->params[param->parameter];
}

/* Rows of a parameter that a block holds. */
RowRange param_shards_rows_in(const ShardBlock *block, const Param *parameter);

/* The blocks that a process keeps lie one after another in its memory. Fills `places` (groups) with where each begins, a multiple
   of 64 bytes, and returns how many numbers they are. */
size_t param_shards_places(const ParamShards *shards, int rank, size_t *places);

/* Where a parameter begins in its group's stretch; and where its first row that `rank` keeps lies in the block of that rank, 0
   when there is none. */
size_t param_shards_in_group(const ParamShards *shards, const Param *parameter);
size_t param_shards_in_block(const ParamShards *shards, const Param *parameter, int rank);

/* Numbers of the trained tensors of a group, and of the longest block of it, padding included. */
size_t param_shards_group_count(const ParamShards *shards, int group);
size_t param_shards_longest_block(const ParamShards *shards, int group);

#endif
