#include "mpi/gradient_shares.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/group_room.h"
#include "mpi/real_type.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/core/ordered_sum.h"

/* Numbers of a round's messages to one rank, together, and of one at least. */
enum { ARRIVING = 4 << 20, LEAST = 1 << 10, NONE = -1 };

/* Not that of digests (mpi/shard_exchange.c), which a run that ends early may take while a sum is under way. */
enum { TAG = 1 };

struct GradientShares {
    const ParamShards *shards;
    MPI_Comm comm;
    int rank;
    bool overlapped;
    GroupRoom *room;
    real *kept;
    size_t *places; /* (groups) in kept */
    size_t kept_count;
    bool *summed; /* (groups), since they were cleared; on all ranks alike */
    /* The sum under way: round by round, a part of every rank's block. */
    int group; /* NONE: none */
    size_t done, part;
    real *arrived;         /* (ranks, part) */
    MPI_Request *requests; /* (2 ranks) */
    int request_count;
};

static size_t part_of(int ranks)
{
    size_t part = ARRIVING / (size_t)ranks;
    return part > LEAST ? part : LEAST;
}

size_t gradient_shares_count(const ParamShards *shards, int ranks)
{
    return group_room_count(shards) + (size_t)ranks * part_of(ranks);
}

size_t gradient_shares_rounds(const ParamShards *shards, int group)
{
    size_t part = part_of(shards->ranks);
    return (param_shards_longest_block(shards, group) + part - 1) / part;
}

GradientShares *gradient_shares_create(const ParamShards *shards, MPI_Comm comm, bool overlapped)
{
    size_t ranks = (size_t)shards->ranks, part = part_of(shards->ranks);
    GradientShares *shares = checked_calloc(1, sizeof *shares);
    *shares = (GradientShares){
        .shards = shards,
        .comm = comm,
        .overlapped = overlapped,
        .room = group_room_create(shards),
        .places = checked_calloc((size_t)shards->params->groups, sizeof *shares->places),
        .summed = checked_calloc((size_t)shards->params->groups, sizeof *shares->summed),
        .group = NONE,
        .part = part,
        .arrived = checked_calloc(ranks * part, sizeof *shares->arrived),
        .requests = checked_calloc(2 * ranks, sizeof *shares->requests),
    };
    CHECK_MPI(MPI_Comm_rank(comm, &shares->rank));
    shares->kept_count = param_shards_places(shards, shares->rank, shares->places);
    shares->kept = checked_block(shares->kept_count * sizeof *shares->kept);
    return shares;
}

void gradient_shares_destroy(GradientShares *shares)
{
    if (!shares) return;
    group_room_destroy(shares->room);
    free(shares->kept);
    free(shares->places);
    free(shares->summed);
    free(shares->arrived);
    free(shares->requests);
    free(shares);
}

/* ---- one round of a sum ---- */

/* The part of a rank's block that is summed in this round; empty where the block is shorter. */
static ShardBlock part_under_way(const GradientShares *shares, int rank)
{
    ShardBlock block = param_shards_block(shares->shards, shares->group, rank);
    size_t count = block.end - block.first, first = shares->done < count ? shares->done : count;
    size_t end = first + shares->part < count ? first + shares->part : count;
    return (ShardBlock){block.first + first, block.first + end, rank};
}

/* Numbers of the plain layout in the whole gradient of the group under way. */
static real *in_whole(const GradientShares *shares, size_t number)
{
    return group_room_find(shares->room, shares->group) + (number - shares->shards->groups[shares->group].first);
}

static void begin_round(GradientShares *shares)
{
    ShardBlock mine = part_under_way(shares, shares->rank);
    int own_count = (int)(mine.end - mine.first);
    shares->request_count = 0;
    for (int step = 1; step < shares->shards->ranks; step++) { /* not all to the same rank at first */
        int other = (shares->rank + step) % shares->shards->ranks;
        ShardBlock theirs = part_under_way(shares, other);
        int count = (int)(theirs.end - theirs.first);
        if (own_count > 0)
            CHECK_MPI(MPI_Irecv(shares->arrived + (size_t)other * shares->part, own_count, MPI_REAL_TYPE, other, TAG,
                                shares->comm, &shares->requests[shares->request_count++]));
        if (count > 0)
            CHECK_MPI(MPI_Isend(in_whole(shares, theirs.first), count, MPI_REAL_TYPE, other, TAG, shares->comm,
                                &shares->requests[shares->request_count++]));
    }
}

/* kept += the sum over the ranks, in their order */
static void add_round(GradientShares *shares)
{
    ShardBlock mine = part_under_way(shares, shares->rank);
    ShardBlock block = param_shards_block(shares->shards, shares->group, shares->rank);
    size_t count = mine.end - mine.first, part = shares->part;
    if (count == 0) return;
    real *kept = shares->kept + shares->places[shares->group] + (mine.first - block.first), *all = shares->arrived;
    memcpy(all + (size_t)shares->rank * part, in_whole(shares, mine.first), count * sizeof *all);
    for (int rank = 1; rank < shares->shards->ranks; rank++) {
        const real *next = all + (size_t)rank * part;
#pragma omp parallel for simd schedule(static) if (parallel : count > 16384)
        for (size_t i = 0; i < count; i++) all[i] += next[i];
    }
#pragma omp parallel for simd schedule(static) if (parallel : count > 16384)
    for (size_t i = 0; i < count; i++) kept[i] += all[i];
}

/* After the messages of a round: its sum, and the next round or the end. */
static void finish_round(GradientShares *shares)
{
    add_round(shares);
    shares->done += shares->part;
    if (shares->done < param_shards_longest_block(shares->shards, shares->group)) {
        begin_round(shares);
        return;
    }
    group_room_leave(shares->room, shares->group);
    shares->group = NONE;
}

static void finish_sum(GradientShares *shares)
{
    while (shares->group != NONE) {
        CHECK_MPI(MPI_Waitall(shares->request_count, shares->requests, MPI_STATUSES_IGNORE));
        finish_round(shares);
    }
}

/* ---- for the store ---- */

/* All of a group, zero where nobody has added to it yet. */
static real *whole_group(GradientShares *shares, int group)
{
    if (shares->group != NONE && (shares->group == group || shares->group == group_room_rival(shares->room, group)))
        finish_sum(shares);
    if (!group_room_taken(shares->room, group))
        memset(group_room_take(shares->room, group), 0, param_shards_group_count(shares->shards, group) * sizeof(real));
    return group_room_find(shares->room, group);
}

real *gradient_shares_whole(GradientShares *shares, const Param *param)
{
    return whole_group(shares, param->group) + param_shards_in_group(shares->shards, param);
}

real *gradient_shares_kept(const GradientShares *shares, const Param *param)
{
    return shares->kept + shares->places[param->group] + param_shards_in_block(shares->shards, param, shares->rank);
}

void gradient_shares_clear(GradientShares *shares)
{
    memset(shares->kept, 0, shares->kept_count * sizeof *shares->kept);
    for (int group = 0; group < shares->shards->params->groups; group++) {
        shares->summed[group] = false;
        if (group_room_taken(shares->room, group)) group_room_leave(shares->room, group);
    }
}

void gradient_shares_sum(GradientShares *shares, int group)
{
    if (param_shards_group_count(shares->shards, group) == 0) return;
    finish_sum(shares);
    whole_group(shares, group);
    shares->summed[group] = true;
    shares->group = group;
    shares->done = 0;
    begin_round(shares);
    if (!shares->overlapped) finish_sum(shares);
}

void gradient_shares_close(GradientShares *shares)
{
    finish_sum(shares);
    for (int group = 0; group < shares->shards->params->groups; group++)
        if (!shares->summed[group]) gradient_shares_sum(shares, group);
    finish_sum(shares);
}

void gradient_shares_poll(GradientShares *shares)
{
    int arrived;
    if (shares->group == NONE) return;
    CHECK_MPI(MPI_Testall(shares->request_count, shares->requests, &arrived, MPI_STATUSES_IGNORE));
    if (arrived) finish_round(shares);
}

double gradient_shares_squares(const GradientShares *shares)
{
    return ordered_sum_of_squares(shares->kept, shares->kept_count);
}

double gradient_shares_norm(const GradientShares *shares, double squares)
{
    double *sums = checked_calloc((size_t)shares->shards->ranks, sizeof *sums), total = 0;
    CHECK_MPI(MPI_Allgather(&squares, 1, MPI_DOUBLE, sums, 1, MPI_DOUBLE, shares->comm));
    for (int rank = 0; rank < shares->shards->ranks; rank++) total += sums[rank];
    free(sums);
    return sqrt(total);
}
