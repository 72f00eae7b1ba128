#include "src/tensor/layernorm.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "src/tensor/constant_width.h"

static const real EPSILON = (real)1e-5;

typedef struct Moments {
    real mean, inverse_deviation;
} Moments;

static inline __attribute__((always_inline)) Moments moments_of(const real *x, size_t width)
{
    real sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t c = 0; c < width; c++) sum += x[c];
    real mean = sum / (real)width;
#pragma omp simd reduction(+ : squares)
    for (size_t c = 0; c < width; c++) squares += (x[c] - mean) * (x[c] - mean);
    return (Moments){mean, 1 / real_sqrt(squares / (real)width + EPSILON)};
}

static inline __attribute__((always_inline)) void forward_rows(real *y, const real *x, const real *weight,
                                                               const real *bias, size_t heads, size_t width)
{
    for (size_t j = 0; j < heads; j++) {
        const real *x_row = x + j * width;
        real *y_row = y + j * width;
        Moments m = moments_of(x_row, width);
#pragma omp simd
        for (size_t c = 0; c < width; c++) y_row[c] = (x_row[c] - m.mean) * m.inverse_deviation * weight[c] + bias[c];
    }
}

static void forward_token(real *y, const real *x, const real *weight, const real *bias, size_t heads, size_t width)
{
#define FORWARD(constant) forward_rows(y, x, weight, bias, heads, constant)
    WITH_CONSTANT_WIDTH(width, FORWARD)
}

void layernorm_forward(real *y, size_t y_stride, const real *x, size_t x_stride, const real *weight, const real *bias,
                       size_t tokens, size_t heads, size_t width)
{
    if (omp_get_level() > 0) { /* within a region even a team of one costs as much as many rows */
        for (size_t t = 0; t < tokens; t++)
            forward_token(y + t * y_stride, x + t * x_stride, weight, bias, heads, width);
        return;
    }
#pragma omp parallel for schedule(static) if (tokens * heads * width > 16384)
    for (size_t t = 0; t < tokens; t++) forward_token(y + t * y_stride, x + t * x_stride, weight, bias, heads, width);
}

/* With n = (x - mean) / deviation and e = d_y * weight: d_x = (e - mean(e) - n mean(e n)) / deviation. */
static inline __attribute__((always_inline)) void backward_row(real *d_x, real *d_weight, real *d_bias, const real *d_y,
                                                               const real *x, const real *weight, size_t width)
{
    Moments m = moments_of(x, width);
    real sum_e = 0, sum_en = 0;
#pragma omp simd reduction(+ : sum_e, sum_en)
    for (size_t c = 0; c < width; c++) {
        real n = (x[c] - m.mean) * m.inverse_deviation, e = d_y[c] * weight[c];
        d_weight[c] += d_y[c] * n;
        d_bias[c] += d_y[c];
        sum_e += e;
        sum_en += e * n;
    }
    real mean_e = sum_e / (real)width, mean_en = sum_en / (real)width;
#pragma omp simd
    for (size_t c = 0; c < width; c++) {
        real n = (x[c] - m.mean) * m.inverse_deviation, e = d_y[c] * weight[c];
        d_x[c] += (e - mean_e - n * mean_en) * m.inverse_deviation;
    }
}

void layernorm_backward_rows(real *d_x, size_t d_x_stride, real *d_weight, real *d_bias, const real *d_y,
                             size_t d_y_stride, const real *x, size_t x_stride, const real *weight, size_t tokens,
                             size_t heads, size_t width)
{
    for (size_t t = 0; t < tokens; t++)
        for (size_t j = 0; j < heads; j++) {
            real *d_x_row = d_x + t * d_x_stride + j * width;
            const real *d_y_row = d_y + t * d_y_stride + j * width, *x_row = x + t * x_stride + j * width;
#define BACKWARD(constant) backward_row(d_x_row, d_weight, d_bias, d_y_row, x_row, weight, constant)
            WITH_CONSTANT_WIDTH(width, BACKWARD)
        }
}

size_t layernorm_scratch(size_t width) { return 2 * width * (size_t)omp_get_max_threads(); }

void layernorm_backward(real *d_x, size_t d_x_stride, real *d_weight, real *d_bias, const real *d_y, size_t d_y_stride,
                        const real *x, size_t x_stride, const real *weight, size_t tokens, size_t heads, size_t width,
                        real *scratch)
{
    int threads = omp_get_max_threads();
    memset(scratch, 0, layernorm_scratch(width) * sizeof *scratch);
#pragma omp parallel num_threads(threads)
    {
        size_t thread = (size_t)omp_get_thread_num(), team = (size_t)omp_get_num_threads();
        size_t first = tokens * thread / team, count = tokens * (thread + 1) / team - first;
        real *mine = scratch + 2 * width * thread;
        layernorm_backward_rows(d_x + first * d_x_stride, d_x_stride, mine, mine + width, d_y + first * d_y_stride,
                                d_y_stride, x + first * x_stride, x_stride, weight, count, heads, width);
    }
    for (int thread = 0; thread < threads; thread++) { /* always in this order: the sum is reproducible */
        const real *part = scratch + 2 * width * (size_t)thread;
        for (size_t c = 0; c < width; c++) d_weight[c] += part[c];
        for (size_t c = 0; c < width; c++) d_bias[c] += part[width + c];
    }
}
