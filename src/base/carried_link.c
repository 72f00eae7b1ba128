#include "src/base/carried_link.h"

#include <string.h>

static void add(real *sum, const real *x, size_t count)
{
#pragma omp parallel for simd schedule(static) if (parallel : count > 65536)
    for (size_t i = 0; i < count; i++) sum[i] += x[i];
}

static real *entering_of(const CarriedLink *c, size_t stretch)
{
    return c->entering + (stretch % c->kept * c->layers + c->layer) * c->count;
}

static void sum_begin(SequenceLink *link, ScanDirection direction, const real *local, real *incoming, size_t count)
{
    CarriedLink *c = link->transport;
    c->direction = direction;
    c->local = local;
    c->incoming = incoming;
    c->inner->exclusive_sum_begin(c->inner, direction, local, incoming, count);
}

/* sum = before + what all ranks of this stretch have */
static void carry_on(CarriedLink *c, real *sum, const real *before)
{
    memcpy(c->total, c->local, c->count * sizeof *c->total);
    c->inner->sum_all(c->inner, c->total, c->count);
    if (sum != before) memcpy(sum, before, c->count * sizeof *sum);
    add(sum, c->total, c->count);
}

static void sum_finish(SequenceLink *link)
{
    CarriedLink *c = link->transport;
    c->inner->exclusive_sum_finish(c->inner);
    bool forward = c->direction == SCAN_FORWARD;
    real *carried = forward ? entering_of(c, c->stretch) : c->leaving + c->layer * c->count;
    add(c->incoming, carried, c->count);
    if (forward && c->recording && c->stretch + 1 < c->stretches)
        carry_on(c, entering_of(c, c->stretch + 1), carried);
    else if (!forward && c->stretch > 0)
        carry_on(c, carried, carried);
}

static void sum_poll(SequenceLink *link)
{
    CarriedLink *c = link->transport;
    c->inner->exclusive_sum_poll(c->inner);
}

void carried_link_take(CarriedLink *carried, SequenceLink *inner, size_t stretches, size_t layers, size_t count,
                       bool comes_back, Arena *arena)
{
    *carried = (CarriedLink){
        .link =
            {
                .position = inner ? inner->position : 0,
                .segments = inner ? inner->segments : 1,
                .transport = carried,
                .exclusive_sum_begin = sum_begin,
                .exclusive_sum_finish = sum_finish,
                .exclusive_sum_poll = sum_poll,
            },
        .inner = inner,
        .stretches = stretches,
        .layers = layers,
        .count = count,
        .kept = comes_back ? stretches : 1,
    };
    carried->entering = arena_take(arena, carried->kept * layers * count);
    carried->leaving = comes_back ? arena_take(arena, layers * count) : NULL;
    carried->total = arena_take(arena, count);
}

void carried_link_start(CarriedLink *carried, ScanDirection direction)
{
    real *sums = direction == SCAN_FORWARD ? carried->entering : carried->leaving;
    memset(sums, 0, carried->layers * carried->count * sizeof *sums);
}
