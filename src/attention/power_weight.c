/* Weights (scale <q,k>)^p of the polynomial kinds. Powers are products, never pow(); the derivative is p s^(p-1), never
   p w / s, which is 0/0 at s = 0. */
#include <string.h>

#include "src/attention/exact.h"

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

static inline __attribute__((always_inline)) void forward_rows(real *scores, size_t rows, size_t columns,
                                                               ptrdiff_t offset, real *sums, int degree)
{
    for (size_t i = 0; i < rows; i++) {
        real *s = scores + i * columns, sum = 0;
        size_t visible = visible_columns(i, columns, offset);
#pragma omp simd reduction(+ : sum)
        for (size_t j = 0; j < visible; j++) {
            s[j] = power(s[j], degree);
            sum += s[j];
        }
        memset(s + visible, 0, (columns - visible) * sizeof *s);
        sums[i] += sum;
    }
}

static inline __attribute__((always_inline)) void backward_rows(real *scores, real *d, size_t rows, size_t columns,
                                                                ptrdiff_t offset, const real *normaliser,
                                                                const real *delta, int degree)
{
    for (size_t i = 0; i < rows; i++) {
        real *s = scores + i * columns, *d_row = d + i * columns;
        size_t visible = visible_columns(i, columns, offset);
        real inverse = 1 / normaliser[i], mean = delta[i];
#pragma omp simd
        for (size_t j = 0; j < visible; j++) {
            real lower = power(s[j], degree - 1);
            d_row[j] = (real)degree * lower * (d_row[j] - mean) * inverse;
            s[j] = lower * s[j] * inverse;
        }
        memset(s + visible, 0, (columns - visible) * sizeof *s);
        memset(d_row + visible, 0, (columns - visible) * sizeof *s);
    }
}

static void power_forward(const PairWeight *weight, real *scores, size_t rows, size_t columns, ptrdiff_t offset,
                          real *sums, real *maxima, real *factors)
{
    (void)maxima, (void)factors;
    switch (weight->degree) {
    case 1: forward_rows(scores, rows, columns, offset, sums, 1); break;
    case 2: forward_rows(scores, rows, columns, offset, sums, 2); break;
    case 4: forward_rows(scores, rows, columns, offset, sums, 4); break;
    case 8: forward_rows(scores, rows, columns, offset, sums, 8); break;
    default: forward_rows(scores, rows, columns, offset, sums, weight->degree);
    }
}

static void power_backward(const PairWeight *weight, real *scores, real *d, size_t rows, size_t columns,
                           ptrdiff_t offset, const real *normaliser, const real *delta)
{
    switch (weight->degree) {
    case 1: backward_rows(scores, d, rows, columns, offset, normaliser, delta, 1); break;
    case 2: backward_rows(scores, d, rows, columns, offset, normaliser, delta, 2); break;
    case 4: backward_rows(scores, d, rows, columns, offset, normaliser, delta, 4); break;
    case 8: backward_rows(scores, d, rows, columns, offset, normaliser, delta, 8); break;
    default: backward_rows(scores, d, rows, columns, offset, normaliser, delta, weight->degree);
    }
}

PairWeight pair_weight_power(real scale, int degree)
{
    return (PairWeight){.scale = scale, .degree = degree, .forward = power_forward, .backward = power_backward};
}
