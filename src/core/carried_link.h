/* A link that also joins the stretches of a sequence (train.stretch_length), which are computed one after another: sums of
   earlier stretches are carried forward, those of later ones backward, and the ring goes on from the last rank of a stretch to
   the first rank of the next. Layers cannot tell; to them there is one longer sequence. What is carried has the size of a prefix
   state and of a window, per layer; a training pass keeps it for each stretch.

       forward    incoming = sum over earlier stretches, then the exclusive sum over the ranks within this one
       backward   the same from the other end */
#ifndef POLYSKETCH_CORE_CARRIED_LINK_H
#define POLYSKETCH_CORE_CARRIED_LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/arena.h"
#include "src/core/sequence_link.h"

/* Numbers that a layer hands from stretch to stretch: in its exclusive sums, and round the ring. */
typedef struct CarriedCounts {
    size_t sums, shifts;
} CarriedCounts;

typedef struct CarriedLink {
    SequenceLink link;   /* what layers of linear kinds are given */
    SequenceLink *inner; /* to the other ranks */
    size_t stretches, layers;
    CarriedCounts *starts; /* (layers + 1): where the numbers of each layer begin among those of all */
    /* Stretches whose numbers are kept: all, or those at hand, for passes that do not come back. */
    size_t kept, shifts_kept;
    real *entering;  /* (kept, sums of all layers): forward sums before each stretch */
    real *arriving;  /* (shifts_kept, shifts of all layers): what the ring brings into each stretch, forward */
    real *returning; /* (2, shifts of all layers): what it brings back into this stretch and the one before */
    /* (sums of all layers): the sum so far of the direction under way. Double, for stretches may be thousands. */
    double *running;
    real *total; /* (sums of the largest layer) */
    /* Set by the caller before each layer. */
    size_t stretch, layer;
    bool recording; /* the first time through: what this stretch adds is kept for the next one */
    /* Under way. */
    ExclusiveSum sum;
    ScanDirection shift_direction;
    real *shifted;
    size_t shifted_count;
} CarriedLink;

/* Takes its memory from the arena. `counts` (layers): what each layer hands on; copied. `inner` may be NULL while memory is
   only measured. */
void carried_link_take(CarriedLink *carried, SequenceLink *inner, size_t stretches, size_t layers,
                       const CarriedCounts *counts, bool comes_back, Arena *arena);
/* Before the first stretch, in either direction; one direction after the other. */
void carried_link_start(CarriedLink *carried, ScanDirection direction);

#endif
