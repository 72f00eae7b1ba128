/* What travels between ranks that keep blocks of tensors (src/core/param_shards.h), outside the passes of a model: whole
   tensors to their keepers, and their digests. All are collective over `comm`. */
#ifndef POLYSKETCH_MPI_SHARD_EXCHANGE_H
#define POLYSKETCH_MPI_SHARD_EXCHANGE_H

#include <mpi.h>

#include "src/core/param_shards.h"

/* Where the blocks of a group lie in its stretch of the plain layout, as MPI takes them. */
typedef struct BlockCounts {
    int *counts, *places; /* (ranks) */
} BlockCounts;

/* Ends the job where a group has more numbers than MPI can count. The caller frees by block_counts_destroy(). */
BlockCounts block_counts_create(const ParamShards *shards, int group);
void block_counts_destroy(BlockCounts *counts);

/* `whole` (shape of the tensor) of rank 0, elsewhere NULL: every rank gets its rows at `kept`. `param` is a trained tensor or a
   state of one. */
void shard_scatter(MPI_Comm comm, const ParamShards *shards, const Param *param, real *kept, const real *whole);

/* XXH3 of the tensor whose rows lie at `kept` on all ranks, as digest_reals() has it of the whole. */
uint64_t shard_digest(MPI_Comm comm, const ParamShards *shards, const Param *param, const real *kept);

#endif
