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
    ExclusiveSum sum;        /* under way */
    MPI_Datatype group_type; /* a group of a decayed sum, of group_size numbers: kept while layers are alike */
    size_t group_size;
    MPI_Op decayed_sum;
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
    CHECK_MPI(MPI_Comm_rank(transport->ordered[transport->sum.direction], &rank));
    if (rank == 0) memset(transport->sum.incoming, 0, transport->sum.count * sizeof *transport->sum.incoming);
}

/* The operator of decayed sums: `inout` = `in`, of the ranks before, then `inout`. It is not commutative. */
static void join_groups(void *in, void *inout, int *groups, MPI_Datatype *type)
{
    int bytes;
    CHECK_MPI(MPI_Type_size(*type, &bytes));
    size_t count = (size_t)*groups * (size_t)bytes / sizeof(real);
    exclusive_sum_join(inout, in, inout, 0, count, count, (size_t)*groups);
}

static void free_group_type(Transport *transport)
{
    if (transport->group_size) CHECK_MPI(MPI_Type_free(&transport->group_type));
    transport->group_size = 0;
}

/* What MPI is told of a sum: numbers, or groups of them. */
typedef struct Elements {
    MPI_Datatype type;
    MPI_Op op;
    int count;
} Elements;

static Elements elements_of(Transport *transport, const ExclusiveSum *sum)
{
    if (sum->groups == 0) return (Elements){MPI_REAL_TYPE, MPI_SUM, checked_count(sum->count)};
    size_t size = sum->count / sum->groups;
    checked_count(size * sizeof(real)); /* MPI_Type_size is an int */
    if (size != transport->group_size) {
        free_group_type(transport);
        CHECK_MPI(MPI_Type_contiguous(checked_count(size), MPI_REAL_TYPE, &transport->group_type));
        CHECK_MPI(MPI_Type_commit(&transport->group_type));
        transport->group_size = size;
    }
    return (Elements){transport->group_type, transport->decayed_sum, checked_count(sum->groups)};
}

static void sum_begin(SequenceLink *link, const ExclusiveSum *sum)
{
    Transport *transport = transport_of(link);
    Phase interrupted = phase_begin(PHASE_COMMUNICATION);
    double start = MPI_Wtime();
    MPI_Comm comm = transport->ordered[sum->direction];
    Elements elements = elements_of(transport, sum);
    transport->sum = *sum;
    switch (transport->scan) {
    case SCAN_CHAIN: pipelined_chain_begin(&transport->chain, comm, sum); break;
    case SCAN_IEXSCAN:
        CHECK_MPI(MPI_Iexscan(sum->local, sum->incoming, elements.count, elements.type, elements.op, comm,
                              &transport->sum_request));
        break;
    case SCAN_EXSCAN:
        CHECK_MPI(MPI_Exscan(sum->local, sum->incoming, elements.count, elements.type, elements.op, comm));
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

static void shift_begin(SequenceLink *link, ScanDirection direction, const real *send, real *receive, size_t count)
{
    Transport *transport = transport_of(link);
    Phase interrupted = phase_begin(PHASE_COMMUNICATION);
    double start = MPI_Wtime();
    int step = direction == SCAN_FORWARD ? 1 : link->segments - 1;
    int next = (link->position + step) % link->segments,
        previous = (link->position + link->segments - step) % link->segments;
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
    CHECK_MPI(MPI_Op_create(join_groups, 0, &transport->decayed_sum));
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
    free_group_type(transport);
    CHECK_MPI(MPI_Op_free(&transport->decayed_sum));
    CHECK_MPI(MPI_Comm_free(&transport->ordered[SCAN_FORWARD]));
    CHECK_MPI(MPI_Comm_free(&transport->ordered[SCAN_BACKWARD]));
    free(transport);
    free(link);
}

double sequence_link_mpi_seconds(const SequenceLink *link) { return transport_of(link)->seconds; }
