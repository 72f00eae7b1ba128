/* What a layer may ask of the other ranks that hold the same sequence.

   A sequence is cut into contiguous segments, one per rank of its group. src/ knows only this interface;
   mpi/sequence_link_mpi.c implements it, and sequence_link_single() serves one process.

   All calls are collective over the group, in the same order on all of its ranks, with equal `count`. At most one
   operation of each kind is under way at a time; between _begin and _finish the buffers belong to the link. */
#ifndef POLYSKETCH_CORE_SEQUENCE_LINK_H
#define POLYSKETCH_CORE_SEQUENCE_LINK_H

#include <stddef.h>

#include "src/base/real.h"

typedef enum ScanDirection { SCAN_FORWARD, SCAN_BACKWARD } ScanDirection;

/* How exclusive sums travel: parallel.scan. */
typedef enum ScanKind { SCAN_EXSCAN, SCAN_IEXSCAN, SCAN_CHAIN } ScanKind;

/* incoming = sum of `local` over all earlier (forward) or later (backward) segments; zero where there is none.

   With groups > 0 it is a sum of states that are forgotten on the way: each of so many groups of count / groups numbers is a
   state S with a log decay a <= 0 behind it, what a segment leaves of an earlier state. Two neighbours together are, in the
   order of the direction,

       (S1, a1) then (S2, a2)  =  (exp(a2) S1 + S2, a1 + a2)

   FORGETS_ALL is the log decay of a segment that leaves nothing of what came before it: its exponential is 0, exactly. */
#define FORGETS_ALL (-1e4)

typedef struct ExclusiveSum {
    ScanDirection direction;
    const real *local;
    real *incoming;
    size_t count;
    size_t groups;
    size_t offset; /* of these numbers among all that a layer sums: a link that carries sums on keeps them there */
} ExclusiveSum;

typedef struct SequenceLink SequenceLink;
struct SequenceLink {
    int position; /* this rank holds segment `position` ... */
    int segments; /* ... of so many */
    void *transport;

    void (*exclusive_sum_begin)(SequenceLink *, const ExclusiveSum *);
    void (*exclusive_sum_finish)(SequenceLink *);
    /* Lets a sum under way move on; a library may do nothing outside its calls. Local, from the main thread, as often as one
       likes, also when nothing is under way. */
    void (*exclusive_sum_poll)(SequenceLink *);

    /* values (count) = their sum over all segments. */
    void (*sum_all)(SequenceLink *, real *values, size_t count);

    /* One step round the ring, forward: `send` goes to the next segment (the last one's to the first), `receive` comes from
       the previous one; backward: the other way round. */
    void (*ring_shift_begin)(SequenceLink *, ScanDirection, const real *send, real *receive, size_t count);
    void (*ring_shift_finish)(SequenceLink *);
};

/* joined = first then second, of two neighbours' numbers [begin, end) of `count` in `groups`, as above. `joined` may be one of
   them. */
void exclusive_sum_join(real *joined, const real *first, const real *second, size_t begin, size_t end, size_t count,
                        size_t groups);

/* One process that holds whole sequences. */
SequenceLink sequence_link_single(void);

/* Tokens of one sequence that segment `position` of `segments` holds: whole blocks, as even as possible.
   `first` is a multiple of block_length; the last block of a sequence may be short. Needs segments <= blocks. */
typedef struct TokenRange {
    size_t first, count;
} TokenRange;
TokenRange segment_range(size_t context_length, size_t block_length, int position, int segments);

/* The same within stretch `stretch` of `stretches` into which the sequence is cut first, as evenly. Needs segments <=
   blocks of a stretch. */
TokenRange stretch_range(size_t context_length, size_t block_length, size_t stretch, size_t stretches, int position,
                         int segments);

/* The longest segment's token count: what a buffer of the ring must hold. */
size_t segment_longest(size_t context_length, size_t block_length, int segments);

#endif
