#include "src/tensor/activation.h"

#include <omp.h>

#include "src/tensor/vector_math.h"

static const real TWICE_SQRT_2_OVER_PI = (real)1.5957691216057307117597842397375;
static const real CUBIC = (real)0.044715;

/* Elements are taken in pieces, exponential first and the rest in a second loop: the chain of dependent operations in one
   loop would be longer than what the processor can overlap. */
enum { CHUNK = 128, LEAST_SHARED = 16384 };

/* Half of 1 + tanh(u) is the logistic function of 2u, 1 / (1 + e^-2u). */
static inline real exponential(real x) { return vector_exp(-TWICE_SQRT_2_OVER_PI * (x + CUBIC * x * x * x)); }

/* d/dx (x gate(x)) = gate + x gate (1 - gate) d(2u)/dx */
static inline real gelu_slope(real x, real gate_of_x)
{
    return gate_of_x + x * gate_of_x * (1 - gate_of_x) * TWICE_SQRT_2_OVER_PI * (1 + 3 * CUBIC * x * x);
}

static inline void exponentials(real e[CHUNK], const real *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) e[i] = exponential(x[i]);
}

static void gelu_forward_chunk(real *y, const real *x, size_t count)
{
    real e[CHUNK];
    exponentials(e, x, count);
#pragma omp simd
    for (size_t i = 0; i < count; i++) y[i] = x[i] * (1 / (1 + e[i]));
}

static void gelu_with_slope_chunk(real *y, real *x, size_t count)
{
    real e[CHUNK];
    exponentials(e, x, count);
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        real gate = 1 / (1 + e[i]), product = x[i] * gate;
        x[i] = gelu_slope(x[i], gate);
        y[i] = product;
    }
}

static void gelu_backward_chunk(real *d_x, const real *d_y, const real *x, size_t count)
{
    real e[CHUNK];
    exponentials(e, x, count);
#pragma omp simd
    for (size_t i = 0; i < count; i++) d_x[i] = d_y[i] * gelu_slope(x[i], 1 / (1 + e[i]));
}

static void glu_forward_chunk(real *y, const real *a, const real *g, size_t count)
{
    real e[CHUNK];
    exponentials(e, g, count);
#pragma omp simd
    for (size_t i = 0; i < count; i++) y[i] = a[i] * g[i] / (1 + e[i]);
}

static void glu_backward_chunk(real *d_a, real *d_g, const real *d_y, const real *a, const real *g, size_t count)
{
    real e[CHUNK];
    exponentials(e, g, count);
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        real gate = 1 / (1 + e[i]);
        d_a[i] = d_y[i] * g[i] * gate;
        d_g[i] = d_y[i] * a[i] * gelu_slope(g[i], gate);
    }
}

static size_t chunk(size_t first, size_t count) { return count - first < CHUNK ? count - first : CHUNK; }

void gelu_forward(real *y, const real *x, size_t count)
{
    if (omp_get_level() > 0) { /* within a region even a team of one costs as much as a thousand elements */
        for (size_t i = 0; i < count; i += CHUNK) gelu_forward_chunk(y + i, x + i, chunk(i, count));
        return;
    }
#pragma omp parallel for schedule(static) if (count > LEAST_SHARED)
    for (size_t i = 0; i < count; i += CHUNK) gelu_forward_chunk(y + i, x + i, chunk(i, count));
}

void gelu_forward_with_slope(real *y, real *x, size_t count)
{
    for (size_t i = 0; i < count; i += CHUNK) gelu_with_slope_chunk(y + i, x + i, chunk(i, count));
}

void gelu_backward(real *d_x, const real *d_y, const real *x, size_t count)
{
#pragma omp parallel for schedule(static) if (count > LEAST_SHARED)
    for (size_t i = 0; i < count; i += CHUNK) gelu_backward_chunk(d_x + i, d_y + i, x + i, chunk(i, count));
}

void glu_forward(real *y, const real *x, size_t tokens, size_t width)
{
#pragma omp parallel for schedule(static) if (tokens * width > LEAST_SHARED)
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < width; i += CHUNK) {
            const real *a = x + t * 2 * width + i;
            glu_forward_chunk(y + t * width + i, a, a + width, chunk(i, width));
        }
}

void glu_backward(real *d_x, const real *d_y, const real *x, size_t tokens, size_t width)
{
#pragma omp parallel for schedule(static) if (tokens * width > LEAST_SHARED)
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < width; i += CHUNK) {
            const real *a = x + t * 2 * width + i;
            real *d_a = d_x + t * 2 * width + i;
            glu_backward_chunk(d_a, d_a + width, d_y + t * width + i, a, a + width, chunk(i, width));
        }
}
