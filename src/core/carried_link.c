#include "src/core/carried_link.h"

#include <string.h>

/* sum += x */
static void add(real *sum, const real *x, size_t count)
{
#pragma omp parallel for simd schedule(static) if (parallel : count > 65536)
    for (size_t i = 0; i < count; i++) sum[i] += x[i];
}

static void add_wide(real *sum, const double *x, size_t count)
{
#pragma omp parallel for simd schedule(static) if (parallel : count > 65536)
    for (size_t i = 0; i < count; i++) sum[i] = (real)((double)sum[i] + x[i]);
}

static void add_to_wide(double *sum, const real *x, size_t count)
{
#pragma omp parallel for simd schedule(static) if (parallel : count > 65536)
    for (size_t i = 0; i < count; i++) sum[i] += (double)x[i];
}

static real *entering_of(const CarriedLink *c, size_t stretch)
{
    return c->entering + stretch % c->kept * c->starts[c->layers] + c->starts[c->layer];
}

static void sum_begin(SequenceLink *link, ScanDirection direction, const real *local, real *incoming, size_t count)
{
    CarriedLink *c = link->transport;
    c->direction = direction;
    c->local = local;
    c->incoming = incoming;
    c->count = count;
    c->inner->exclusive_sum_begin(c->inner, direction, local, incoming, count);
}

/* What all ranks of this stretch have joins the running sum. */
static void carry_on(CarriedLink *c, double *running)
{
    memcpy(c->total, c->local, c->count * sizeof *c->total);
    c->inner->sum_all(c->inner, c->total, c->count);
    add_to_wide(running, c->total, c->count);
}

static void finish_forward(CarriedLink *c, double *running)
{
    add(c->incoming, entering_of(c, c->stretch), c->count);
    if (!c->recording || c->stretch + 1 == c->stretches) return;
    carry_on(c, running);
    real *next = entering_of(c, c->stretch + 1);
    memset(next, 0, c->count * sizeof *next);
    add_wide(next, running, c->count);
}

static void finish_backward(CarriedLink *c, double *running)
{
    add_wide(c->incoming, running, c->count);
    if (c->stretch > 0) carry_on(c, running);
}

static void sum_finish(SequenceLink *link)
{
    CarriedLink *c = link->transport;
    double *running = c->running + c->starts[c->layer];
    c->inner->exclusive_sum_finish(c->inner);
    if (c->direction == SCAN_FORWARD)
        finish_forward(c, running);
    else
        finish_backward(c, running);
}

static void sum_poll(SequenceLink *link)
{
    CarriedLink *c = link->transport;
    c->inner->exclusive_sum_poll(c->inner);
}

void carried_link_take(CarriedLink *carried, SequenceLink *inner, size_t stretches, size_t layers, const size_t *counts,
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
        .kept = comes_back ? stretches : 1,
    };
    size_t all = 0, largest = 0;
    carried->starts = arena_take_bytes(arena, (layers + 1) * sizeof *carried->starts);
    for (size_t i = 0; i < layers; i++) {
        if (carried->starts) carried->starts[i] = all;
        all += counts[i];
        if (counts[i] > largest) largest = counts[i];
    }
    if (carried->starts) carried->starts[layers] = all;
    carried->entering = arena_take(arena, carried->kept * all);
    carried->running = arena_take_bytes(arena, all * sizeof *carried->running);
    carried->total = arena_take(arena, largest);
}

void carried_link_start(CarriedLink *carried, ScanDirection direction)
{
    size_t count = carried->starts[carried->layers];
    memset(carried->running, 0, count * sizeof *carried->running);
    if (direction == SCAN_FORWARD) memset(carried->entering, 0, count * sizeof *carried->entering);
}
