#include "src/tensor/activation.h"

#include "src/tensor/vector_math.h"

static const real TWICE_SQRT_2_OVER_PI = (real)1.5957691216057307117597842397375;
static const real CUBIC = (real)0.044715;

/* Half of 1 + tanh(u) is the logistic function of 2u. */
static inline real gate(real x) { return 1 / (1 + vector_exp(-TWICE_SQRT_2_OVER_PI * (x + CUBIC * x * x * x))); }

/* d/dx (x gate(x)) = gate + x gate (1 - gate) d(2u)/dx */
static inline real gelu_slope(real x, real gate_of_x)
{
    return gate_of_x + x * gate_of_x * (1 - gate_of_x) * TWICE_SQRT_2_OVER_PI * (1 + 3 * CUBIC * x * x);
}

void gelu_forward(real *y, const real *x, size_t count)
{
#pragma omp parallel for simd schedule(static) if (parallel : count > 16384)
    for (size_t i = 0; i < count; i++) y[i] = x[i] * gate(x[i]);
}

void gelu_backward(real *d_x, const real *d_y, const real *x, size_t count)
{
#pragma omp parallel for simd schedule(static) if (parallel : count > 16384)
    for (size_t i = 0; i < count; i++) d_x[i] = d_y[i] * gelu_slope(x[i], gate(x[i]));
}

void gelu_forward_with_slope(real *y, real *x, size_t count)
{
#pragma omp parallel for simd schedule(static) if (parallel : count > 16384)
    for (size_t i = 0; i < count; i++) {
        real s = gate(x[i]);
        y[i] = x[i] * s;
        x[i] = gelu_slope(x[i], s);
    }
}

void glu_forward(real *y, const real *x, size_t tokens, size_t width)
{
#pragma omp parallel for schedule(static) if (tokens * width > 16384)
    for (size_t t = 0; t < tokens; t++) {
        const real *a = x + t * 2 * width, *g = a + width;
        real *out = y + t * width;
#pragma omp simd
        for (size_t c = 0; c < width; c++) out[c] = a[c] * g[c] * gate(g[c]);
    }
}

void glu_backward(real *d_x, const real *d_y, const real *x, size_t tokens, size_t width)
{
#pragma omp parallel for schedule(static) if (tokens * width > 16384)
    for (size_t t = 0; t < tokens; t++) {
        const real *a = x + t * 2 * width, *g = a + width, *d_out = d_y + t * width;
        real *d_a = d_x + t * 2 * width, *d_g = d_a + width;
#pragma omp simd
        for (size_t c = 0; c < width; c++) {
            real s = gate(g[c]);
            d_a[c] = d_out[c] * g[c] * s;
            d_g[c] = d_out[c] * a[c] * gelu_slope(g[c], s);
        }
    }
}
