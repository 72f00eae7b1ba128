#include "mpi/segmented_chain.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/real_type.h"
#include "mpi/world.h"
#include "src/base/error.h"
#include "src/base/memory.h"

enum { SEGMENT = 1 << 14, CHAIN_TAG = 2 };

static int rank_in(const SegmentedChain *chain)
{
    int rank;
    CHECK_MPI(MPI_Comm_rank(chain->comm, &rank));
    return rank;
}

static bool is_last(const SegmentedChain *chain)
{
    int size;
    CHECK_MPI(MPI_Comm_size(chain->comm, &size));
    return rank_in(chain) == size - 1;
}

static int segment_length(const SegmentedChain *chain, size_t segment)
{
    size_t rest = chain->count - segment * SEGMENT;
    return (int)(rest < SEGMENT ? rest : SEGMENT);
}

/* Memory grows with the longest sum and is used again. */
static void make_room(SegmentedChain *chain, size_t count)
{
    if (count <= chain->capacity) return;
    size_t segments = (count + SEGMENT - 1) / SEGMENT;
    segmented_chain_destroy(chain);
    chain->capacity = count;
    chain->outgoing = checked_calloc(count, sizeof *chain->outgoing);
    chain->receives = checked_calloc(segments, sizeof *chain->receives);
    chain->sends = checked_calloc(segments, sizeof *chain->sends);
}

static void send_segment(SegmentedChain *chain, const real *values, size_t segment)
{
    CHECK_MPI(MPI_Isend(values + segment * SEGMENT, segment_length(chain, segment), MPI_REAL_TYPE, rank_in(chain) + 1,
                        CHAIN_TAG, chain->comm, &chain->sends[segment]));
}

/* A segment has come: this rank's share is added, and it goes to the next rank. */
static void pass_on(SegmentedChain *chain, size_t segment)
{
    size_t first = segment * SEGMENT, length = (size_t)segment_length(chain, segment);
    if (is_last(chain)) return;
#pragma omp simd
    for (size_t i = first; i < first + length; i++) chain->outgoing[i] = chain->incoming[i] + chain->local[i];
    send_segment(chain, chain->outgoing, segment);
}

static void advance(SegmentedChain *chain, bool wait)
{
    for (; chain->passed_on < chain->segments; chain->passed_on++) {
        MPI_Request *receive = &chain->receives[chain->passed_on];
        int arrived = 1;
        if (wait)
            CHECK_MPI(MPI_Wait(receive, MPI_STATUS_IGNORE));
        else
            CHECK_MPI(MPI_Test(receive, &arrived, MPI_STATUS_IGNORE));
        if (!arrived) return;
        pass_on(chain, chain->passed_on);
    }
}

void segmented_chain_begin(SegmentedChain *chain, MPI_Comm comm, const real *local, real *incoming, size_t count)
{
    make_room(chain, count);
    chain->comm = comm;
    chain->local = local;
    chain->incoming = incoming;
    chain->count = count;
    chain->segments = (count + SEGMENT - 1) / SEGMENT;
    chain->passed_on = 0;
    int rank = rank_in(chain);
    for (size_t s = 0; s < chain->segments; s++) {
        chain->sends[s] = MPI_REQUEST_NULL;
        if (rank > 0)
            CHECK_MPI(MPI_Irecv(incoming + s * SEGMENT, segment_length(chain, s), MPI_REAL_TYPE, rank - 1, CHAIN_TAG,
                                comm, &chain->receives[s]));
        else if (!is_last(chain))
            send_segment(chain, local, s);
    }
    if (rank > 0) return;
    memset(incoming, 0, count * sizeof *incoming);
    chain->passed_on = chain->segments;
}

void segmented_chain_poll(SegmentedChain *chain)
{
    int sent; /* not needed: the call lets the library go on sending */
    advance(chain, false);
    CHECK_MPI(MPI_Testall((int)chain->segments, chain->sends, &sent, MPI_STATUSES_IGNORE));
}

void segmented_chain_finish(SegmentedChain *chain)
{
    advance(chain, true);
    CHECK_MPI(MPI_Waitall((int)chain->segments, chain->sends, MPI_STATUSES_IGNORE));
    chain->segments = chain->passed_on = 0; /* nothing is under way */
}

void segmented_chain_destroy(SegmentedChain *chain)
{
    free(chain->outgoing);
    free(chain->receives);
    free(chain->sends);
    *chain = (SegmentedChain){0};
}
