/* Values of which each rank keeps its own rows (parallel.shard = parameters): a group's are gathered when it is acquired, the
   next group's meanwhile, in the direction in which the groups come, and dropped when others need their memory
   (mpi/group_room.h). */
#ifndef POLYSKETCH_MPI_VALUE_SHARES_H
#define POLYSKETCH_MPI_VALUE_SHARES_H

#include <mpi.h>

#include "mpi/shard_exchange.h"
#include "src/core/param_shards.h"

typedef struct ValueShares ValueShares;

/* `shards` and `counts` (one for each group) must outlive it. Collective, as all that does not say it is local. */
ValueShares *value_shares_create(const ParamShards *shards, const BlockCounts *counts, MPI_Comm comm);
void value_shares_destroy(ValueShares *shares);

/* Whole values of the group are there, until it is released as often as it was acquired. Releasing is local. */
void value_shares_acquire(ValueShares *shares, int group);
void value_shares_release(ValueShares *shares, int group);
void value_shares_poll(ValueShares *shares); /* local */

/* Whole values of a tensor whose group is acquired. Local. */
const real *value_shares_whole(const ValueShares *shares, const Param *param);

/* The kept rows. Local. After changes and before the next acquire: value_shares_changed(). */
real *value_shares_kept(const ValueShares *shares, const Param *param);
void value_shares_changed(ValueShares *shares);

/* Numbers that it takes besides the kept rows. */
size_t value_shares_count(const ParamShards *shards);

#endif
