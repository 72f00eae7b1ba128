/* A link that also joins the stretches of a sequence (train.stretch_length), which are computed one after another: sums of
   earlier stretches are carried forward, those of later ones backward. Layers cannot tell; to them there is one longer
   sequence. What is carried has the size of a prefix state, per layer; a training pass keeps it for each stretch.

       forward    incoming = sum over earlier stretches + exclusive sum over the ranks within this one
       backward   the same from the other end */
#ifndef POLYSKETCH_BASE_CARRIED_LINK_H
#define POLYSKETCH_BASE_CARRIED_LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/arena.h"
#include "src/base/sequence_link.h"

typedef struct CarriedLink {
    SequenceLink link;   /* what layers of linear kinds are given: exclusive sums, no ring */
    SequenceLink *inner; /* to the other ranks */
    size_t stretches, layers, count;
    size_t kept;    /* 1: only the present stretch's sums are kept, for passes that do not come back */
    real *entering; /* (kept, layers, count): forward sums before each stretch */
    double *
        running; /* (layers, count): the sum so far of the direction under way. Double, for stretches may be thousands */
    real *total; /* (count) */
    /* Set by the caller before each layer. */
    size_t stretch, layer;
    bool recording; /* the first time through: what this stretch adds is kept for the next one */
    /* Of the sum under way. */
    ScanDirection direction;
    const real *local;
    real *incoming;
} CarriedLink;

/* Takes its memory from the arena. `count` numbers per layer. */
void carried_link_take(CarriedLink *carried, SequenceLink *inner, size_t stretches, size_t layers, size_t count,
                       bool comes_back, Arena *arena);
/* Before the first stretch, in either direction; one direction after the other. */
void carried_link_start(CarriedLink *carried, ScanDirection direction);

#endif
