#include "src/core/carried_link.h"

#include <math.h>
#include <string.h>

/* ---- exclusive sums ------------------------------------------------------------------------------------------------- */

static real *entering_of(const CarriedLink *c, size_t stretch)
{
    return c->entering + stretch % c->kept * c->starts[c->layers].sums + c->starts[c->layer].sums + c->sum.offset;
}

static double *running_of(const CarriedLink *c) { return c->running + c->starts[c->layer].sums + c->sum.offset; }

/* Pieces of a sum for the threads: its groups, or equal parts of a plain one. */
typedef struct Piece {
    size_t first, end; /* of all numbers, log decays included */
    bool decays;       /* the last one is a log decay */
} Piece;

enum { PLAIN_PIECE = 1 << 14 };

static size_t piece_count(const ExclusiveSum *sum)
{
    return sum->groups ? sum->groups : (sum->count + PLAIN_PIECE - 1) / PLAIN_PIECE;
}

static Piece piece_at(const ExclusiveSum *sum, size_t index)
{
    size_t size = sum->groups ? sum->count / sum->groups : PLAIN_PIECE, first = index * size;
    return (Piece){first, first + size < sum->count ? first + size : sum->count, sum->groups > 0};
}

/* incoming = earlier, then incoming: what came from other stretches stands before what came from this one's ranks. */
static void put_before(const ExclusiveSum *sum, const real *earlier)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < piece_count(sum); i++) {
        Piece piece = piece_at(sum, i);
        exclusive_sum_join(sum->incoming, earlier, sum->incoming, piece.first, piece.end, sum->count, sum->groups);
    }
}

static void put_running_before(const ExclusiveSum *sum, const double *running)
{
#pragma omp parallel for schedule(static)
    for (size_t p = 0; p < piece_count(sum); p++) {
        Piece piece = piece_at(sum, p);
        real *x = sum->incoming;
        size_t decay = piece.end - piece.decays;
        double kept = piece.decays ? exp((double)x[decay]) : 1;
#pragma omp simd
        for (size_t i = piece.first; i < decay; i++) x[i] = (real)((double)x[i] + kept * running[i]);
        if (piece.decays) x[decay] = (real)((double)x[decay] + running[decay]);
    }
}

/* running = running, then `total` */
static void add_to_running(const ExclusiveSum *sum, double *running, const real *total)
{
#pragma omp parallel for schedule(static)
    for (size_t p = 0; p < piece_count(sum); p++) {
        Piece piece = piece_at(sum, p);
        size_t decay = piece.end - piece.decays;
        double kept = piece.decays ? exp((double)total[decay]) : 1;
#pragma omp simd
        for (size_t i = piece.first; i < decay; i++) running[i] = kept * running[i] + (double)total[i];
        if (piece.decays) running[decay] += (double)total[decay];
    }
}

/* total = what all ranks of this stretch have together; called before other stretches join `incoming`. Of decayed sums the last
   rank in the order of the sum has it; the others add nothing. */
static void sum_of_stretch(CarriedLink *c)
{
    const ExclusiveSum *sum = &c->sum;
    int last = sum->direction == SCAN_FORWARD ? c->link.segments - 1 : 0;
    if (sum->groups == 0)
        memcpy(c->total, sum->local, sum->count * sizeof *c->total);
    else if (c->link.position == last)
        exclusive_sum_join(c->total, sum->incoming, sum->local, 0, sum->count, sum->count, sum->groups);
    else
        memset(c->total, 0, sum->count * sizeof *c->total);
    c->inner->sum_all(c->inner, c->total, sum->count);
}

static void finish_forward(CarriedLink *c)
{
    bool goes_on = c->recording && c->stretch + 1 < c->stretches;
    if (goes_on) sum_of_stretch(c);
    put_before(&c->sum, entering_of(c, c->stretch));
    if (!goes_on) return;
    real *next = entering_of(c, c->stretch + 1);
    const double *running = running_of(c);
    add_to_running(&c->sum, running_of(c), c->total);
#pragma omp parallel for simd schedule(static) if (parallel : c->sum.count > 65536)
    for (size_t i = 0; i < c->sum.count; i++) next[i] = (real)running[i];
}

static void finish_backward(CarriedLink *c)
{
    if (c->stretch > 0) sum_of_stretch(c);
    put_running_before(&c->sum, running_of(c));
    if (c->stretch > 0) add_to_running(&c->sum, running_of(c), c->total);
}

static void sum_begin(SequenceLink *link, const ExclusiveSum *sum)
{
    CarriedLink *c = link->transport;
    c->sum = *sum;
    c->inner->exclusive_sum_begin(c->inner, sum);
}

static void sum_finish(SequenceLink *link)
{
    CarriedLink *c = link->transport;
    c->inner->exclusive_sum_finish(c->inner);
    if (c->sum.direction == SCAN_FORWARD)
        finish_forward(c);
    else
        finish_backward(c);
}

static void sum_poll(SequenceLink *link)
{
    CarriedLink *c = link->transport;
    c->inner->exclusive_sum_poll(c->inner);
}

/* ---- the ring ------------------------------------------------------------------------------------------------------- */

static void shift_begin(SequenceLink *link, ScanDirection direction, const real *send, real *receive, size_t count)
{
    CarriedLink *c = link->transport;
    c->shift_direction = direction;
    c->shifted = receive;
    c->shifted_count = count;
    c->inner->ring_shift_begin(c->inner, direction, send, receive, count);
}

/* The first rank of a stretch gets what the last rank of the stretch before sent last. */
static void arrive_from_earlier_stretch(CarriedLink *c)
{
    size_t all = c->starts[c->layers].shifts, first = c->starts[c->layer].shifts;
    real *here = c->arriving + c->stretch % c->shifts_kept * all + first;
    bool goes_on = c->recording && c->stretch + 1 < c->stretches;
    real *next = c->arriving + (c->stretch + 1) % c->shifts_kept * all + first;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < c->shifted_count; i++) {
        real received = c->shifted[i];
        c->shifted[i] = here[i];
        if (goes_on) next[i] = received;
    }
}

/* The last rank of a stretch gets the sum of what the first rank of the stretch behind sent back, once. */
static void return_from_later_stretch(CarriedLink *c)
{
    size_t all = c->starts[c->layers].shifts, first = c->starts[c->layer].shifts;
    real *here = c->returning + c->stretch % 2 * all + first,
         *before = c->returning + (c->stretch + 1) % 2 * all + first;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < c->shifted_count; i++) {
        before[i] += c->shifted[i];
        c->shifted[i] = here[i];
        here[i] = 0;
    }
}

static void shift_finish(SequenceLink *link)
{
    CarriedLink *c = link->transport;
    c->inner->ring_shift_finish(c->inner);
    bool forward = c->shift_direction == SCAN_FORWARD;
    if (forward && link->position == 0) arrive_from_earlier_stretch(c);
    if (!forward && link->position == link->segments - 1) return_from_later_stretch(c);
}

/* ---- memory --------------------------------------------------------------------------------------------------------- */

static SequenceLink link_of(CarriedLink *carried, const SequenceLink *inner)
{
    return (SequenceLink){
        .position = inner ? inner->position : 0,
        .segments = inner ? inner->segments : 1,
        .transport = carried,
        .exclusive_sum_begin = sum_begin,
        .exclusive_sum_finish = sum_finish,
        .exclusive_sum_poll = sum_poll,
        .ring_shift_begin = shift_begin,
        .ring_shift_finish = shift_finish,
    };
}

void carried_link_take(CarriedLink *carried, SequenceLink *inner, size_t stretches, size_t layers,
                       const CarriedCounts *counts, bool comes_back, Arena *arena)
{
    *carried = (CarriedLink){
        .link = link_of(carried, inner),
        .inner = inner,
        .stretches = stretches,
        .layers = layers,
        .kept = comes_back ? stretches : 1,
        .shifts_kept = comes_back ? stretches : 2,
    };
    CarriedCounts all = {0, 0};
    size_t largest = 0;
    carried->starts = arena_take_bytes(arena, (layers + 1) * sizeof *carried->starts);
    for (size_t i = 0; i < layers; i++) {
        if (carried->starts) carried->starts[i] = all;
        all.sums += counts[i].sums;
        all.shifts += counts[i].shifts;
        if (counts[i].sums > largest) largest = counts[i].sums;
    }
    if (carried->starts) carried->starts[layers] = all;
    carried->entering = arena_take(arena, carried->kept * all.sums);
    carried->arriving = arena_take(arena, carried->shifts_kept * all.shifts);
    carried->returning = arena_take(arena, comes_back ? 2 * all.shifts : 0);
    carried->running = arena_take_bytes(arena, all.sums * sizeof *carried->running);
    carried->total = arena_take(arena, largest);
}

void carried_link_start(CarriedLink *carried, ScanDirection direction)
{
    CarriedCounts all = carried->starts[carried->layers];
    memset(carried->running, 0, all.sums * sizeof *carried->running);
    if (direction == SCAN_BACKWARD) {
        memset(carried->returning, 0, 2 * all.shifts * sizeof *carried->returning);
        return;
    }
    memset(carried->entering, 0, all.sums * sizeof *carried->entering);
    memset(carried->arriving, 0, all.shifts * sizeof *carried->arriving); /* stretch 0 */
}
