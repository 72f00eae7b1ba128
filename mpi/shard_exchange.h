/* What travels between ranks that keep blocks of tensors (src/core/param_shards.h), outside the passes of a model: whole
   tensors to their keepers, and their digests. All are collective over `comm`. */
#ifndef POLYSKETCH_MPI_SHARD_EXCHANGE_H
#define POLYSKETCH_MPI_SHARD_EXCHANGE_H

#include <mpi.h>

#include "src/core/param_shards.h"

/* Where the blocks of a group lie in its stretch of the plain layout, as MPI takes them. */
typedef struct BlockCounts {
    int *counts, *places; /* (count) */
} BlockCounts;

/* Of the blocks that `keepers` (count) keep, -1: nobody; NULL: ranks 0, 1, ... Ends the job where a group has more numbers than
   MPI can count. The caller frees by block_counts_destroy(). Local. */
BlockCounts block_counts_create(const ParamShards *shards, int group, const int *keepers, int count);
void block_counts_destroy(BlockCounts *counts);

/* `whole` (shape of the tensor) of rank 0, elsewhere NULL: every rank gets its rows at `kept`, in pieces of GRADIENT_PIECE.
   `param` is a trained tensor or a state of one. */
void shard_scatter(MPI_Comm comm, const ParamShards *shards, const Param *param, real *kept, const real *whole);

/* The same by sending all of it to all, who take their `rows`: for rows that have several keepers. */
void shard_broadcast(MPI_Comm comm, const Param *param, RowRange rows, real *kept, const real *whole);

/* `numbers` (count) of `root` reach all, in pieces of GRADIENT_PIECE. */
void broadcast_numbers(MPI_Comm comm, real *numbers, size_t count, int root);

/* XXH3 of the tensor whose rows lie at `kept` on all ranks, as digest_reals() has it of the whole. */
uint64_t shard_digest(MPI_Comm comm, const ParamShards *shards, const Param *param, const real *kept);

#endif
