#include "mpi/sequence_link_mpi.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/real_type.h"
#include "mpi/pipelined_chain.h"
#include "mpi/world.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/core/phase.h"

enum { RING_TAG = 1 };

typedef struct Transport {
    MPI_Comm ordered[2]; /* by ScanDirection */
    ScanKind scan;
    MPI_Request sum_request;
    struct {
        MPI_Comm comm;
        real *incoming;
        size_t count;
    } sum; /* under way */
    PipelinedChain chain;
    MPI_Request ring_requests[2];
    double seconds;
} Transport;

static Transport *transport_of(const SequenceLink *link) { return link->transport; }

static int checked_count(size_t count)
{
    CHECK(count <= INT_MAX, "a message of %zu numbers is too large for MPI. Use a smaller train.micro_batch_sequences",
          count);
    return (int)count;
}

/* The standard leaves the first rank's result undefined, also where the library was given zeros: nothing came before it, so
   it is set to zero once the sum is over. */
static void clear_on_first(const Transport *transport)
{
    int rank;
    CHECK_MPI(MPI_Comm_rank(transport->sum.comm, &rank));
    if (rank == 0) memset(transport->sum.incoming, 0, transport->sum.count * sizeof *transport->sum.incoming);
}

static void sum_begin(SequenceLink *link, ScanDirection direction, const real *local, real *incoming, size_t count)
{
    Transport *transport = transport_of(link);
    Phase interrupted = phase_begin(PHASE_COMMUNICATION);
    double start = MPI_Wtime();
    MPI_Comm comm = transport->ordered[direction];
    transport->sum.comm = comm;
    transport->sum.incoming = incoming;
    transport->sum.count = count;
    switch (transport->scan) {
    case SCAN_CHAIN: pipelined_chain_begin(&transport->chain, comm, local, incoming, count); break;
    case SCAN_IEXSCAN:
        CHECK_MPI(
            MPI_Iexscan(local, incoming, checked_count(count), MPI_REAL_TYPE, MPI_SUM, comm, &transport->sum_request));
        break;
    case SCAN_EXSCAN: CHECK_MPI(MPI_Exscan(local, incoming, checked_count(count), MPI_REAL_TYPE, MPI_SUM, comm));
    }
    transport->seconds += MPI_Wtime() - start;
    phase_begin(interrupted);
}

static void sum_finish(SequenceLink *link)
{
    Transport *transport = transport_of(link);
    Phase interrupted = phase_begin(PHASE_COMMUNICATION);
    double start = MPI_Wtime();
    if (transport->scan == SCAN_CHAIN)
        pipelined_chain_finish(&transport->chain);
    else {
        CHECK_MPI(MPI_Wait(&transport->sum_request, MPI_STATUS_IGNORE)); /* returns at once for a null request */
        clear_on_first(transport);
    }
    transport->seconds += MPI_Wtime() - start;
    phase_begin(interrupted);
}

static void sum_poll(SequenceLink *link)
{
    Transport *transport = transport_of(link);
    int arrived;
    double start = MPI_Wtime();
    if (transport->scan == SCAN_CHAIN)
        pipelined_chain_poll(&transport->chain);
    else
        CHECK_MPI(MPI_Test(&transport->sum_request, &arrived, MPI_STATUS_IGNORE));
    transport->seconds += MPI_Wtime() - start;
}

static void sum_all(SequenceLink *link, real *values, size_t count)
{
    Transport *transport = transport_of(link);
    Phase interrupted = phase_begin(PHASE_COMMUNICATION);
    double start = MPI_Wtime();
    CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, values, checked_count(count), MPI_REAL_TYPE, MPI_SUM,
                            transport->ordered[SCAN_FORWARD]));
    transport->seconds += MPI_Wtime() - start;
    phase_begin(interrupted);
}

static void shift_begin(SequenceLink *link, const real *send, real *receive, size_t count)
{
    Transport *transport = transport_of(link);
    Phase interrupted = phase_begin(PHASE_COMMUNICATION);
    double start = MPI_Wtime();
    int next = (link->position + 1) % link->segments, previous = (link->position + link->segments - 1) % link->segments;
    MPI_Comm comm = transport->ordered[SCAN_FORWARD];
    CHECK_MPI(MPI_Irecv(receive, checked_count(count), MPI_REAL_TYPE, previous, RING_TAG, comm,
                        &transport->ring_requests[0]));
    CHECK_MPI(MPI_Isend(send, checked_count(count), MPI_REAL_TYPE, next, RING_TAG, comm, &transport->ring_requests[1]));
    transport->seconds += MPI_Wtime() - start;
    phase_begin(interrupted);
}

static void shift_finish(SequenceLink *link)
{
    Transport *transport = transport_of(link);
    Phase interrupted = phase_begin(PHASE_COMMUNICATION);
    double start = MPI_Wtime();
    CHECK_MPI(MPI_Waitall(2, transport->ring_requests, MPI_STATUSES_IGNORE));
    transport->seconds += MPI_Wtime() - start;
    phase_begin(interrupted);
}

SequenceLink *sequence_link_mpi_create(MPI_Comm sequence, ScanKind scan)
{
    SequenceLink *link = checked_calloc(1, sizeof *link);
    Transport *transport = checked_calloc(1, sizeof *transport);
    *link = (SequenceLink){
        .transport = transport,
        .exclusive_sum_begin = sum_begin,
        .exclusive_sum_finish = sum_finish,
        .exclusive_sum_poll = sum_poll,
        .sum_all = sum_all,
        .ring_shift_begin = shift_begin,
        .ring_shift_finish = shift_finish,
    };
    transport->scan = scan;
    transport->sum_request = MPI_REQUEST_NULL;
    transport->ring_requests[0] = transport->ring_requests[1] = MPI_REQUEST_NULL;
    CHECK_MPI(MPI_Comm_rank(sequence, &link->position));
    CHECK_MPI(MPI_Comm_size(sequence, &link->segments));
    CHECK_MPI(MPI_Comm_dup(sequence, &transport->ordered[SCAN_FORWARD]));
    CHECK_MPI(MPI_Comm_split(sequence, 0, -link->position, &transport->ordered[SCAN_BACKWARD]));
    return link;
}

void sequence_link_mpi_destroy(SequenceLink *link)
{
    Transport *transport = transport_of(link);
    pipelined_chain_destroy(&transport->chain);
    CHECK_MPI(MPI_Comm_free(&transport->ordered[SCAN_FORWARD]));
    CHECK_MPI(MPI_Comm_free(&transport->ordered[SCAN_BACKWARD]));
    free(transport);
    free(link);
}

double sequence_link_mpi_seconds(const SequenceLink *link) { return transport_of(link)->seconds; }
