#include "mpi/pipelined_chain.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/real_type.h"
#include "mpi/world.h"
#include "src/base/error.h"
#include "src/base/memory.h"

enum { CHAIN_TAG = 2 };

static int rank_in(const PipelinedChain *chain)
{
    int rank;
    CHECK_MPI(MPI_Comm_rank(chain->comm, &rank));
    return rank;
}

static bool is_last(const PipelinedChain *chain)
{
    int size;
    CHECK_MPI(MPI_Comm_size(chain->comm, &size));
    return rank_in(chain) == size - 1;
}

static int packet_length(const PipelinedChain *chain, size_t packet)
{
    size_t rest = chain->sum.count - packet * CHAIN_PACKET;
    return (int)(rest < CHAIN_PACKET ? rest : CHAIN_PACKET);
}

/* Memory grows with the longest sum and is used again. */
static void make_room(PipelinedChain *chain, size_t count)
{
    if (count <= chain->capacity) return;
    size_t packets = (count + CHAIN_PACKET - 1) / CHAIN_PACKET;
    pipelined_chain_destroy(chain);
    chain->capacity = count;
    chain->outgoing = checked_calloc(count, sizeof *chain->outgoing);
    chain->receives = checked_calloc(packets, sizeof *chain->receives);
    chain->sends = checked_calloc(packets, sizeof *chain->sends);
}

static void send_packet(PipelinedChain *chain, const real *values, size_t packet)
{
    CHECK_MPI(MPI_Isend(values + packet * CHAIN_PACKET, packet_length(chain, packet), MPI_REAL_TYPE, rank_in(chain) + 1,
                        CHAIN_TAG, chain->comm, &chain->sends[packet]));
}

/* A packet has come: this rank's share is added, and it goes to the next rank. */
static void pass_on(PipelinedChain *chain, size_t packet)
{
    size_t first = packet * CHAIN_PACKET, length = (size_t)packet_length(chain, packet);
    if (is_last(chain)) return;
    exclusive_sum_join(chain->outgoing, chain->sum.incoming, chain->sum.local, first, first + length, chain->sum.count,
                       chain->sum.groups);
    send_packet(chain, chain->outgoing, packet);
}

static void advance(PipelinedChain *chain, bool wait)
{
    for (; chain->passed_on < chain->packets; chain->passed_on++) {
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

void pipelined_chain_begin(PipelinedChain *chain, MPI_Comm comm, const ExclusiveSum *sum)
{
    make_room(chain, sum->count);
    chain->comm = comm;
    chain->sum = *sum;
    chain->packets = (sum->count + CHAIN_PACKET - 1) / CHAIN_PACKET;
    chain->passed_on = 0;
    int rank = rank_in(chain);
    for (size_t s = 0; s < chain->packets; s++) {
        chain->sends[s] = MPI_REQUEST_NULL;
        if (rank > 0)
            CHECK_MPI(MPI_Irecv(sum->incoming + s * CHAIN_PACKET, packet_length(chain, s), MPI_REAL_TYPE, rank - 1,
                                CHAIN_TAG, comm, &chain->receives[s]));
        else if (!is_last(chain))
            send_packet(chain, sum->local, s);
    }
    if (rank > 0) return;
    memset(sum->incoming, 0, sum->count * sizeof *sum->incoming);
    chain->passed_on = chain->packets;
}

void pipelined_chain_poll(PipelinedChain *chain)
{
    int sent; /* not needed: the call lets the library go on sending */
    advance(chain, false);
    CHECK_MPI(MPI_Testall((int)chain->packets, chain->sends, &sent, MPI_STATUSES_IGNORE));
}

void pipelined_chain_finish(PipelinedChain *chain)
{
    advance(chain, true);
    CHECK_MPI(MPI_Waitall((int)chain->packets, chain->sends, MPI_STATUSES_IGNORE));
    chain->packets = chain->passed_on = 0; /* nothing is under way */
}

void pipelined_chain_destroy(PipelinedChain *chain)
{
    free(chain->outgoing);
    free(chain->receives);
    free(chain->sends);
    *chain = (PipelinedChain){0};
}
