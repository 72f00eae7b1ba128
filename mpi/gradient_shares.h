/* Gradients of which each rank keeps the sums over all ranks of its own rows (parallel.shard = gradients, parameters).

   A pass adds to the whole gradient of a group; when it has, every rank sends each other rank the rows of that one, adds what
   it gets in the order of the ranks to what it keeps, and the whole gradient is dropped. So a group's sum has the same bits in
   every run, and no more than the groups that a pass is at are ever whole (mpi/group_room.h). */
#ifndef POLYSKETCH_MPI_GRADIENT_SHARES_H
#define POLYSKETCH_MPI_GRADIENT_SHARES_H

#include <mpi.h>

#include "src/core/param_shards.h"

typedef struct GradientShares GradientShares;

/* `overlapped`: a sum goes on while the pass does, from call to call of gradient_shares_poll(). `shards` must outlive it.
   Collective, as all that does not say it is local. */
GradientShares *gradient_shares_create(const ParamShards *shards, MPI_Comm comm, bool overlapped);
void gradient_shares_destroy(GradientShares *shares);

/* The gradient of a trained tensor, of its whole shape, zero when a pass comes to its group: add here. Local, unless a sum
   under way has its memory, which all ranks then wait for. */
real *gradient_shares_whole(GradientShares *shares, const Param *param);

/* The kept rows' sums. Local. */
real *gradient_shares_kept(const GradientShares *shares, const Param *param);
void gradient_shares_clear(GradientShares *shares); /* sums and whole gradients; local */

/* Sums what was added to a group since its last sum, if anything; and, at the end, the groups that never were since they were
   cleared, and waits for all. */
void gradient_shares_sum(GradientShares *shares, int group);
void gradient_shares_close(GradientShares *shares);
void gradient_shares_poll(GradientShares *shares); /* local */

/* The sum of the squares of the kept sums, local; and the norm that those of all ranks give, collective. The same bits on every
   number of threads, and the norm on every rank. */
double gradient_shares_squares(const GradientShares *shares);
double gradient_shares_norm(const GradientShares *shares, double squares);

/* Numbers that it takes besides the kept rows, with so many ranks, of which `shards` may have fewer. */
size_t gradient_shares_count(const ParamShards *shards, int ranks);

/* In how many rounds a group is summed: in each of them every rank sends each other rank a part of its rows. */
size_t gradient_shares_rounds(const ParamShards *shards, int group);

#endif
