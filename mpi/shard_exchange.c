#include "mpi/shard_exchange.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/param_store_replicated.h"
#include "mpi/real_type.h"
#include "mpi/world.h"
#include "src/base/digest.h"
#include "src/base/memory.h"
#include "src/base/size.h"

BlockCounts block_counts_create(const ParamShards *shards, int group, const int *keepers, int count)
{
    size_t whole = param_shards_group_count(shards, group);
    CHECK(whole <= INT_MAX,
          "group %d has %zu numbers, more than a message may have. Use parallel.shard = none, or a smaller "
          "model.vocab_size",
          group, whole);
    BlockCounts counts = {checked_calloc((size_t)count, sizeof(int)), checked_calloc((size_t)count, sizeof(int))};
    for (int i = 0; i < count; i++) {
        int keeper = keepers ? keepers[i] : i;
        if (keeper < 0) continue;
        ShardBlock block = param_shards_block(shards, group, keeper);
        counts.counts[i] = (int)(block.end - block.first);
        counts.places[i] = block.end > block.first ? (int)(block.first - shards->groups[group].first) : 0;
    }
    return counts;
}

void block_counts_destroy(BlockCounts *counts)
{
    free(counts->counts);
    free(counts->places);
}

void shard_scatter(MPI_Comm comm, const ParamShards *shards, const Param *param, real *kept, const real *whole)
{
    size_t ranks = (size_t)shards->ranks, width = param_row_width(param);
    int *counts = checked_calloc(ranks, sizeof *counts), *places = checked_calloc(ranks, sizeof *places), own;
    CHECK_MPI(MPI_Comm_rank(comm, &own));
    for (size_t first = 0; first < param->count; first += GRADIENT_PIECE) {
        size_t end = smaller(first + GRADIENT_PIECE, param->count);
        for (int rank = 0; rank < shards->ranks; rank++) {
            RowRange rows = param_shards_rows(shards, param, rank);
            size_t from = larger(first, rows.first * width), to = smaller(end, rows.end * width);
            counts[rank] = from < to ? (int)(to - from) : 0;
            places[rank] = from < to ? (int)(from - first) : 0;
        }
        CHECK_MPI(MPI_Scatterv(whole ? whole + first : NULL, counts, places, MPI_REAL_TYPE, kept, counts[own],
                               MPI_REAL_TYPE, 0, comm));
        kept += counts[own];
    }
    free(counts);
    free(places);
}

void broadcast_numbers(MPI_Comm comm, real *numbers, size_t count, int root)
{
    for (size_t first = 0; first < count; first += GRADIENT_PIECE)
        CHECK_MPI(MPI_Bcast(numbers + first, (int)smaller(count - first, GRADIENT_PIECE), MPI_REAL_TYPE, root, comm));
}

void shard_broadcast(MPI_Comm comm, const Param *param, RowRange rows, real *kept, const real *whole)
{
    size_t width = param_row_width(param), own_first = rows.first * width, own_end = rows.end * width;
    real *piece = checked_calloc(smaller(param->count, GRADIENT_PIECE), sizeof *piece);
    for (size_t first = 0; first < param->count; first += GRADIENT_PIECE) {
        size_t end = smaller(first + GRADIENT_PIECE, param->count);
        if (whole) memcpy(piece, whole + first, (end - first) * sizeof *piece);
        broadcast_numbers(comm, piece, end - first, 0);
        size_t from = larger(first, own_first), to = smaller(end, own_end);
        if (from < to) memcpy(kept + (from - own_first), piece + (from - first), (to - from) * sizeof *piece);
    }
    free(piece);
}

/* ---- digests ---- */

/* A tensor's values pass through one rank, a part at a time. */
enum { PART = 1 << 16 };

static void send_parts(MPI_Comm comm, const real *values, size_t count, int to)
{
    for (size_t first = 0; first < count; first += PART) {
        size_t length = count - first < PART ? count - first : PART;
        CHECK_MPI(MPI_Send(values + first, (int)length, MPI_REAL_TYPE, to, 0, comm));
    }
}

static void add_received(DigestStream *stream, MPI_Comm comm, size_t count, int from)
{
    real *part = checked_calloc(PART, sizeof *part);
    for (size_t first = 0; first < count; first += PART) {
        size_t length = count - first < PART ? count - first : PART;
        CHECK_MPI(MPI_Recv(part, (int)length, MPI_REAL_TYPE, from, 0, comm, MPI_STATUS_IGNORE));
        digest_add_reals(stream, part, length);
    }
    free(part);
}

uint64_t shard_digest(MPI_Comm comm, const ParamShards *shards, const Param *param, const real *kept)
{
    const Param *parameter = param_shards_parameter(shards, param);
    const GroupShards *group = &shards->groups[parameter->group];
    int own, digester = param->parameter % shards->ranks; /* all ranks have work */
    uint64_t digest = 0;
    CHECK_MPI(MPI_Comm_rank(comm, &own));
    DigestStream *stream = own == digester ? digest_begin() : NULL;
    for (int k = 0; k < group->block_count; k++) {
        RowRange rows = param_shards_rows_in(&group->blocks[k], parameter);
        size_t count = (rows.end - rows.first) * param_row_width(param);
        int keeper = group->blocks[k].rank;
        if (own == keeper && own == digester)
            digest_add_reals(stream, kept, count);
        else if (own == keeper)
            send_parts(comm, kept, count, digester);
        else if (own == digester)
            add_received(stream, comm, count, keeper);
    }
    if (stream) digest = digest_end(stream);
    CHECK_MPI(MPI_Bcast(&digest, 1, MPI_UINT64_T, digester, comm));
    return digest;
}
