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

static inline __attribute__((always_inline)) void forward_rows(real *y, const real *x, NormWeights norm, size_t heads,
                                                               size_t width)
{
    const real *weight = norm.weight, *bias = norm.bias;
    for (size_t j = 0; j < heads; j++) {
        const real *x_row = x + j * width;
        real *y_row = y + j * width;
        Moments m = moments_of(x_row, width);
#pragma omp simd
        for (size_t c = 0; c < width; c++) y_row[c] = (x_row[c] - m.mean) * m.inverse_deviation * weight[c] + bias[c];
    }
}

static void forward_token(real *y, const real *x, NormWeights norm, size_t heads, size_t width)
{
#define FORWARD(constant) forward_rows(y, x, norm, heads, constant)
    WITH_CONSTANT_WIDTH(width, FORWARD)
}

void layernorm_forward(Matrix y, ConstMatrix x, NormWeights norm, size_t heads)
{
    size_t width = x.columns / heads;
    if (omp_get_level() > 0) { /* within a region even a team of one costs as much as many rows */
        for (size_t t = 0; t < x.rows; t++) forward_token(matrix_row(y, t), const_matrix_row(x, t), norm, heads, width);
        return;
    }
#pragma omp parallel for schedule(static) if (x.rows * x.columns > 16384)
    for (size_t t = 0; t < x.rows; t++) forward_token(matrix_row(y, t), const_matrix_row(x, t), norm, heads, width);
}

/* With n = (x - mean) / deviation and e = d_y * weight: d_x = (e - mean(e) - n mean(e n)) / deviation. */
static inline __attribute__((always_inline)) void backward_row(real *d_x, NormGradients gradients, const real *d_y,
                                                               const real *x, const real *weight, size_t width)
{
    real *d_weight = gradients.d_weight, *d_bias = gradients.d_bias;
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

void layernorm_backward_rows(Matrix d_x, NormGradients gradients, ConstMatrix d_y, ConstMatrix x, const real *weight,
                             size_t heads)
{
    size_t width = x.columns / heads;
    for (size_t t = 0; t < x.rows; t++)
        for (size_t j = 0; j < heads; j++) {
            real *d_x_row = matrix_row(d_x, t) + j * width;
            const real *d_y_row = const_matrix_row(d_y, t) + j * width, *x_row = const_matrix_row(x, t) + j * width;
#define BACKWARD(constant) backward_row(d_x_row, gradients, d_y_row, x_row, weight, constant)
            WITH_CONSTANT_WIDTH(width, BACKWARD)
        }
}

size_t layernorm_scratch(size_t width) { return 2 * width * (size_t)omp_get_max_threads(); }

void layernorm_backward(Matrix d_x, NormGradients gradients, ConstMatrix d_y, ConstMatrix x, const real *weight,
                        size_t heads, real *scratch)
{
    size_t width = x.columns / heads;
    int threads = omp_get_max_threads();
    memset(scratch, 0, layernorm_scratch(width) * sizeof *scratch);
#pragma omp parallel num_threads(threads)
    {
        size_t thread = (size_t)omp_get_thread_num(), team = (size_t)omp_get_num_threads();
        size_t first = x.rows * thread / team, count = x.rows * (thread + 1) / team - first;
        real *mine = scratch + 2 * width * thread;
        layernorm_backward_rows(matrix_rows(d_x, first, count), (NormGradients){mine, mine + width},
                                const_matrix_rows(d_y, first, count), const_matrix_rows(x, first, count), weight,
                                heads);
    }
    for (int thread = 0; thread < threads; thread++) { /* always in this order: the sum is reproducible */
        const real *part = scratch + 2 * width * (size_t)thread;
        for (size_t c = 0; c < width; c++) gradients.d_weight[c] += part[c];
        for (size_t c = 0; c < width; c++) gradients.d_bias[c] += part[width + c];
    }
}
