/* Weights (scale <q,k>)^p of the polynomial kinds. Powers are products, never pow(); the derivative is p s^(p-1), never
   p w / s, which is 0/0 at s = 0. */
#include <string.h>

#include "src/attention/exact.h"
#include "src/tensor/vector_math.h"

/* With a constant degree the switch disappears and the loops around it vectorise. */
static inline __attribute__((always_inline)) real power(real s, int degree)
{
    real square = s * s;
    switch (degree) {
    case 0: return 1;
    case 1: return s;
    case 2: return square;
    case 3: return square * s;
    case 4: return square * square;
    case 7: return square * square * square * s;
    case 8: return (square * square) * (square * square);
    default: {
        real product = degree % 2 ? s : 1;
        for (int i = 0; i < degree / 2; i++) product *= square;
        return product;
    }
    }
}

real power_of(real s, int degree) { return power(s, degree); }

/* factors = what gates leave of the weights of row i */
static void fill_factors(real *factors, const TileDecay *decay, size_t i, ColumnSpan span)
{
    double q = decay->q[i];
    real row = vector_exp((real)(q - decay->q[0]));
    size_t early = decay->early < span.end ? decay->early : span.end;
#pragma omp simd
    for (size_t j = span.first; j < early; j++) factors[j] = row * decay->early_part[j];
#pragma omp simd
    for (size_t j = early > span.first ? early : span.first; j < span.end; j++)
        factors[j] = vector_exp((real)(q - decay->k[j]));
}

static inline __attribute__((always_inline)) void forward_rows(const PairTile *tile, real *sums, int degree)
{
    real factors[EXACT_TILE_COLUMNS];
    for (size_t i = 0; i < tile->rows; i++) {
        real *s = tile->scores + i * tile->columns, sum = 0;
        ColumnSpan span = visible_span(tile, i);
        if (tile->decay) {
            fill_factors(factors, tile->decay, i, span);
#pragma omp simd reduction(+ : sum)
            for (size_t j = span.first; j < span.end; j++) {
                s[j] = factors[j] * power(s[j], degree);
                sum += s[j];
            }
        } else {
#pragma omp simd reduction(+ : sum)
            for (size_t j = span.first; j < span.end; j++) {
                s[j] = power(s[j], degree);
                sum += s[j];
            }
        }
        clear_unseen(s, span, tile->columns);
        sums[i] += sum;
    }
}

/* One row without gates: what is done where nothing is forgotten. */
static inline __attribute__((always_inline)) void backward_row(real *s, real *d, ColumnSpan span, real inverse,
                                                               real mean, int degree)
{
#pragma omp simd
    for (size_t j = span.first; j < span.end; j++) {
        real lower = power(s[j], degree - 1);
        d[j] = (real)degree * lower * (d[j] - mean) * inverse;
        s[j] = lower * s[j] * inverse;
    }
}

static inline __attribute__((always_inline)) void backward_decayed_row(real *s, real *d, ColumnSpan span, real inverse,
                                                                       real mean, int degree, const real *factors,
                                                                       real *key_sums)
{
#pragma omp simd
    for (size_t j = span.first; j < span.end; j++) {
        real lower = factors[j] * inverse * power(s[j], degree - 1), change = d[j] - mean;
        d[j] = (real)degree * lower * change;
        s[j] = lower * s[j];
        key_sums[j] += s[j] * change;
    }
}

static inline __attribute__((always_inline)) void backward_rows(const PairTile *tile, real *d, const real *normaliser,
                                                                const real *delta, real *key_sums, int degree)
{
    real factors[EXACT_TILE_COLUMNS], spare[EXACT_TILE_COLUMNS];
    if (tile->decay && !key_sums) key_sums = memset(spare, 0, sizeof spare); /* nobody asks for them */
    for (size_t i = 0; i < tile->rows; i++) {
        real *s = tile->scores + i * tile->columns, *d_row = d + i * tile->columns;
        ColumnSpan span = visible_span(tile, i);
        if (tile->decay) {
            fill_factors(factors, tile->decay, i, span);
            backward_decayed_row(s, d_row, span, 1 / normaliser[i], delta[i], degree, factors, key_sums);
        } else {
            backward_row(s, d_row, span, 1 / normaliser[i], delta[i], degree);
        }
        clear_unseen(s, span, tile->columns);
        clear_unseen(d_row, span, tile->columns);
    }
}

static void power_forward(const PairWeight *weight, const PairTile *tile, real *sums, real *maxima, real *factors)
{
    (void)maxima, (void)factors;
    switch (weight->degree) {
    case 1: forward_rows(tile, sums, 1); break;
    case 2: forward_rows(tile, sums, 2); break;
    case 4: forward_rows(tile, sums, 4); break;
    case 8: forward_rows(tile, sums, 8); break;
    default: forward_rows(tile, sums, weight->degree);
    }
}

static void power_backward(const PairWeight *weight, const PairTile *tile, real *d, const real *normaliser,
                           const real *delta, real *key_sums)
{
    switch (weight->degree) {
    case 1: backward_rows(tile, d, normaliser, delta, key_sums, 1); break;
    case 2: backward_rows(tile, d, normaliser, delta, key_sums, 2); break;
    case 4: backward_rows(tile, d, normaliser, delta, key_sums, 4); break;
    case 8: backward_rows(tile, d, normaliser, delta, key_sums, 8); break;
    default: backward_rows(tile, d, normaliser, delta, key_sums, weight->degree);
    }
}

PairWeight pair_weight_power(real scale, int degree)
{
    return (PairWeight){.scale = scale, .degree = degree, .forward = power_forward, .backward = power_backward};
}
