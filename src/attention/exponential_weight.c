/* Weights exp(scale <q,k>) with the running maximum of each row (Milakov and Gimelshein 2018), so that nothing overflows and no
   row of weights is ever held whole. Gates are added to the scores. */
#include <math.h>

#include "src/attention/exact.h"
#include "src/tensor/vector_math.h"

/* scores of row i += the logarithm of what gates leave */
static void add_decay(real *scores, const TileDecay *decay, size_t i, ColumnSpan span)
{
    double q = decay->q[i];
    real row = (real)(q - decay->q[0]);
    size_t early = decay->early < span.end ? decay->early : span.end;
#pragma omp simd
    for (size_t j = span.first; j < early; j++) scores[j] += row + decay->early_part[j];
#pragma omp simd
    for (size_t j = early > span.first ? early : span.first; j < span.end; j++) scores[j] += (real)(q - decay->k[j]);
}

static void exponential_forward(const PairWeight *weight, const PairTile *tile, real *sums, real *maxima, real *factors)
{
    (void)weight;
    for (size_t i = 0; i < tile->rows; i++) {
        real *s = tile->scores + i * tile->columns, largest = maxima[i], sum = 0;
        ColumnSpan span = visible_span(tile, i);
        factors[i] = 1;
        clear_unseen(s, span, tile->columns);
        if (span.first == span.end) continue;
        if (tile->decay) add_decay(s, tile->decay, i, span);
#pragma omp simd reduction(max : largest)
        for (size_t j = span.first; j < span.end; j++) largest = s[j] > largest ? s[j] : largest;
#pragma omp simd reduction(+ : sum)
        for (size_t j = span.first; j < span.end; j++) {
            s[j] = vector_exp(s[j] - largest);
            sum += s[j];
        }
        factors[i] = real_exp(maxima[i] - largest); /* 0 for the first tile of a row, whose maximum is -infinity */
        sums[i] = sums[i] * factors[i] + sum;
        maxima[i] = largest;
    }
}

static void exponential_backward(const PairWeight *weight, const PairTile *tile, real *d, const real *normaliser,
                                 const real *delta, real *key_sums)
{
    (void)weight;
    for (size_t i = 0; i < tile->rows; i++) {
        real *s = tile->scores + i * tile->columns, *d_row = d + i * tile->columns, log_sum = normaliser[i],
             mean = delta[i];
        ColumnSpan span = visible_span(tile, i);
        if (tile->decay) add_decay(s, tile->decay, i, span);
#pragma omp simd
        for (size_t j = span.first; j < span.end; j++) {
            s[j] = vector_exp(s[j] - log_sum);
            d_row[j] = s[j] * (d_row[j] - mean);
        }
        if (key_sums) {
#pragma omp simd
            for (size_t j = span.first; j < span.end; j++) key_sums[j] += d_row[j];
        }
        clear_unseen(s, span, tile->columns);
        clear_unseen(d_row, span, tile->columns);
    }
}

PairWeight pair_weight_exponential(real scale)
{
    return (PairWeight){.scale = scale, .forward = exponential_forward, .backward = exponential_backward};
}
