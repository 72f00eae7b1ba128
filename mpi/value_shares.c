#include "mpi/value_shares.h"

#include <stdlib.h>
#include <string.h>

#include "mpi/group_room.h"
#include "mpi/real_type.h"
#include "mpi/world.h"
#include "src/base/memory.h"

enum { NONE = -1 };

struct ValueShares {
    const ParamShards *shards;
    const BlockCounts *counts;
    MPI_Comm comm;
    int rank;
    GroupRoom *room;
    real *kept;
    size_t *places; /* (groups) in kept */
    int *held;      /* (groups): how often it is acquired */
    bool *gathered; /* (groups): what is in its memory is its values */
    int last;       /* group that was acquired last */
    int coming;     /* group on its way, not yet acquired, or NONE */
    MPI_Request request;
};

size_t value_shares_count(const ParamShards *shards) { return group_room_count(shards); }

ValueShares *value_shares_create(const ParamShards *shards, const BlockCounts *counts, MPI_Comm comm)
{
    size_t groups = (size_t)shards->params->groups;
    ValueShares *shares = checked_calloc(1, sizeof *shares);
    *shares = (ValueShares){
        .shards = shards,
        .counts = counts,
        .comm = comm,
        .room = group_room_create(shards),
        .places = checked_calloc(groups, sizeof *shares->places),
        .held = checked_calloc(groups, sizeof *shares->held),
        .gathered = checked_calloc(groups, sizeof *shares->gathered),
        .last = NONE,
        .coming = NONE,
        .request = MPI_REQUEST_NULL,
    };
    CHECK_MPI(MPI_Comm_rank(comm, &shares->rank));
    shares->kept = checked_block(param_shards_places(shards, shares->rank, shares->places) * sizeof *shares->kept);
    return shares;
}

/* ---- gathering ---- */

static bool is_here(const ValueShares *shares, int group)
{
    return shares->gathered[group] && group_room_find(shares->room, group);
}

static void begin_gather(ValueShares *shares, int group)
{
    const GroupShards *row = &shares->shards->groups[group];
    ShardBlock block = param_shards_block(shares->shards, group, shares->rank);
    real *whole = group_room_take(shares->room, group);
    shares->gathered[group] = false;
    shares->coming = group;
    if (block.end > block.first)
        memcpy(whole + (block.first - row->first), shares->kept + shares->places[group],
               (block.end - block.first) * sizeof *whole);
    if (row->block_count > 0)
        CHECK_MPI(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, whole, shares->counts[group].counts,
                                  shares->counts[group].places, MPI_REAL_TYPE, shares->comm, &shares->request));
}

/* The group that was on its way and has arrived, with its memory taken; or NONE. */
static int finish_gather(ValueShares *shares)
{
    int group = shares->coming;
    if (group == NONE) return NONE;
    CHECK_MPI(MPI_Wait(&shares->request, MPI_STATUS_IGNORE));
    shares->gathered[group] = true;
    shares->coming = NONE;
    return group;
}

/* What was on its way in vain can be replaced. */
static void drop_coming(ValueShares *shares)
{
    int group = finish_gather(shares);
    if (group != NONE) group_room_leave(shares->room, group);
}

/* The group that follows, if its memory is free. */
static void begin_next(ValueShares *shares, int group)
{
    int next = group > shares->last ? group + 1 : group - 1;
    if (next < 0 || next >= shares->shards->params->groups || shares->held[next] > 0 || is_here(shares, next)) return;
    if (group_room_rival(shares->room, next) == NONE) begin_gather(shares, next);
}

void value_shares_acquire(ValueShares *shares, int group)
{
    if (shares->held[group]++ > 0) return;
    if (shares->coming == group) {
        finish_gather(shares);
    } else {
        drop_coming(shares);
        if (is_here(shares, group))
            group_room_take(shares->room, group);
        else
            begin_gather(shares, group), finish_gather(shares);
    }
    begin_next(shares, group);
    shares->last = group;
}

void value_shares_release(ValueShares *shares, int group)
{
    if (--shares->held[group] == 0) group_room_leave(shares->room, group);
}

void value_shares_poll(ValueShares *shares)
{
    int arrived;
    if (shares->coming != NONE) CHECK_MPI(MPI_Test(&shares->request, &arrived, MPI_STATUS_IGNORE));
}

/* ---- values ---- */

const real *value_shares_whole(const ValueShares *shares, const Param *param)
{
    return group_room_find(shares->room, param->group) + param_shards_in_group(shares->shards, param);
}

real *value_shares_kept(const ValueShares *shares, const Param *param)
{
    return shares->kept + shares->places[param->group] + param_shards_in_block(shares->shards, param, shares->rank);
}

void value_shares_changed(ValueShares *shares)
{
    drop_coming(shares);
    memset(shares->gathered, 0, (size_t)shares->shards->params->groups * sizeof *shares->gathered);
    shares->last = NONE;
}

void value_shares_destroy(ValueShares *shares)
{
    if (!shares) return;
    drop_coming(shares);
    group_room_destroy(shares->room);
    free(shares->kept);
    free(shares->places);
    free(shares->held);
    free(shares->gathered);
    free(shares);
}
