/* Exclusive sum along a chain of ranks, in segments: while a rank adds its share to one segment and passes it on, the one
   before it works on the next. The last rank has its sum after (ranks + segments) short messages instead of (ranks) long ones.
   Both MPI_Exscan and MPI_Iexscan of Open MPI 4.1 send the whole message from rank to rank.

   One sum at a time. Buffers belong to the chain from begin to finish. */
#ifndef POLYSKETCH_MPI_SEGMENTED_CHAIN_H
#define POLYSKETCH_MPI_SEGMENTED_CHAIN_H

#include <mpi.h>
#include <stddef.h>

#include "src/base/real.h"

typedef struct SegmentedChain {
    MPI_Comm comm; /* in the order of the sum */
    const real *local;
    real *incoming, *outgoing; /* outgoing: own memory, as long as the longest sum so far */
    size_t count, capacity;
    size_t segments, passed_on; /* of this sum */
    MPI_Request *receives, *sends;
} SegmentedChain;

/* incoming = sum of `local` over the ranks before this one; zero on the first. Collective over comm. */
void segmented_chain_begin(SegmentedChain *chain, MPI_Comm comm, const real *local, real *incoming, size_t count);
/* Passes on what has come, without waiting. */
void segmented_chain_poll(SegmentedChain *chain);
void segmented_chain_finish(SegmentedChain *chain);
void segmented_chain_destroy(SegmentedChain *chain);

#endif
