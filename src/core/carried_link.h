/* A link that also joins the stretches of a sequence (train.stretch_length), which are computed one after another: sums of
   earlier stretches are carried forward, those of later ones backward. Layers cannot tell; to them there is one longer
   sequence. What is carried has the size of a prefix state, per layer; a training pass keeps it for each stretch.

       forward    incoming = sum over earlier stretches + exclusive sum over the ranks within this one
       backward   the same from the other end */
#ifndef POLYSKETCH_CORE_CARRIED_LINK_H
#define POLYSKETCH_CORE_CARRIED_LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/arena.h"
#include "src/core/sequence_link.h"

typedef struct CarriedLink {
    SequenceLink link;   /* what layers of linear kinds are given: exclusive sums, no ring */
    SequenceLink *inner; /* to the other ranks */
    size_t stretches, layers;
    size_t *starts; /* (layers + 1): where the numbers of each layer begin among those of all */
    size_t kept;    /* 1: only the present stretch's sums are kept, for passes that do not come back */
    real *entering; /* (kept, numbers of all layers): forward sums before each stretch */
    /* (numbers of all layers): the sum so far of the direction under way. Double, for stretches may be thousands. */
    double *running;
    real *total; /* (numbers of the largest layer) */
    /* Set by the caller before each layer. */
    size_t stretch, layer;
    bool recording; /* the first time through: what this stretch adds is kept for the next one */
    /* Of the sum under way. */
    ScanDirection direction;
    const real *local;
    real *incoming;
    size_t count;
} CarriedLink;

/* Takes its memory from the arena. `counts` (layers): the numbers that each layer sums; copied. `inner` may be NULL while
   memory is only measured. */
void carried_link_take(CarriedLink *carried, SequenceLink *inner, size_t stretches, size_t layers, const size_t *counts,
                       bool comes_back, Arena *arena);
/* Before the first stretch, in either direction; one direction after the other. */
void carried_link_start(CarriedLink *carried, ScanDirection direction);

#endif
