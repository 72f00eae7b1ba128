/* Exclusive sum along a chain of ranks, in packets: while a rank adds its share to one packet and passes it on, the one
   before it works on the next. The last rank has its sum after (ranks + packets) short messages instead of (ranks) long ones.
   Both MPI_Exscan and MPI_Iexscan of Open MPI 4.1 send the whole message from rank to rank.

   One sum at a time. Buffers belong to the chain from begin to finish. */
#ifndef POLYSKETCH_MPI_PIPELINED_CHAIN_H
#define POLYSKETCH_MPI_PIPELINED_CHAIN_H

#include <mpi.h>
#include <stddef.h>

#include "src/core/sequence_link.h"

enum { CHAIN_PACKET = 1 << 14 }; /* numbers; the last one may be shorter */

typedef struct PipelinedChain {
    MPI_Comm comm; /* in the order of the sum */
    ExclusiveSum sum;
    real *outgoing; /* own memory, as long as the longest sum so far */
    size_t capacity;
    size_t packets, passed_on; /* of this sum */
    MPI_Request *receives, *sends;
} PipelinedChain;

/* The sum over the ranks of `comm` before this one, zero on the first; their order is that of the sum. Collective. */
void pipelined_chain_begin(PipelinedChain *chain, MPI_Comm comm, const ExclusiveSum *sum);
/* Passes on what has come, without waiting. */
void pipelined_chain_poll(PipelinedChain *chain);
void pipelined_chain_finish(PipelinedChain *chain);
void pipelined_chain_destroy(PipelinedChain *chain);

#endif
