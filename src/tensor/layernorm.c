#include "src/tensor/layernorm.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "src/base/size.h"
#include "src/tensor/constant_width.h"

static const real EPSILON = (real)1e-5;

/* Short rows are taken several at a time, first the sums of all, then their deviations, then the results: the sum across the
   lanes of a vector is a chain of dependent operations, and those of different rows overlap. Long rows hide it by themselves,
   and stay in the first-level cache one by one. */
enum { BATCH = 16, BATCH_NUMBERS = 1024 };

static size_t batch_rows(size_t width) { return larger(1, smaller(BATCH, BATCH_NUMBERS / width)); }

/* Where a row of `width` numbers begins in a matrix (tokens, heads * width). */
typedef struct Place {
    size_t token, column;
} Place;

typedef struct Batch {
    Place places[BATCH];
    size_t count;
} Batch;

/* Up to `most` of the rows of x, from number `first` on. */
static Batch batch_at(ConstMatrix x, size_t heads, size_t first, size_t most)
{
    size_t width = x.columns / heads, token = first / heads, head = first % heads;
    Batch batch = {.count = smaller(x.rows * heads - first, most)};
    for (size_t i = 0; i < batch.count; i++) {
        batch.places[i] = (Place){token, head * width};
        if (++head == heads) head = 0, token++;
    }
    return batch;
}

static inline real *row_at(Matrix x, Place place) { return matrix_row(x, place.token) + place.column; }

static inline const real *const_row_at(ConstMatrix x, Place place)
{
    return const_matrix_row(x, place.token) + place.column;
}

typedef struct Moments {
    real mean[BATCH], inverse_deviation[BATCH];
} Moments;

static inline __attribute__((always_inline)) void find_moments(Moments *m, ConstMatrix x, const Batch *batch,
                                                               size_t width)
{
    real squares[BATCH];
    for (size_t i = 0; i < batch->count; i++) {
        const real *row = const_row_at(x, batch->places[i]);
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t c = 0; c < width; c++) sum += row[c];
        m->mean[i] = sum / (real)width;
    }
    for (size_t i = 0; i < batch->count; i++) {
        const real *row = const_row_at(x, batch->places[i]);
        real sum = 0, mean = m->mean[i];
#pragma omp simd reduction(+ : sum)
        for (size_t c = 0; c < width; c++) sum += (row[c] - mean) * (row[c] - mean);
        squares[i] = sum;
    }
#pragma omp simd
    for (size_t i = 0; i < batch->count; i++)
        m->inverse_deviation[i] = 1 / real_sqrt(squares[i] / (real)width + EPSILON);
}

static inline __attribute__((always_inline)) void forward_batch(Matrix y, ConstMatrix x, NormWeights norm,
                                                                const Batch *batch, size_t width)
{
    const real *weight = norm.weight, *bias = norm.bias;
    Moments m;
    find_moments(&m, x, batch, width);
    for (size_t i = 0; i < batch->count; i++) {
        const real *x_row = const_row_at(x, batch->places[i]);
        real *y_row = row_at(y, batch->places[i]), mean = m.mean[i], inverse = m.inverse_deviation[i];
#pragma omp simd
        for (size_t c = 0; c < width; c++) y_row[c] = (x_row[c] - mean) * inverse * weight[c] + bias[c];
    }
}

static void forward_from(Matrix y, ConstMatrix x, NormWeights norm, size_t heads, size_t first, size_t most)
{
    Batch batch = batch_at(x, heads, first, most);
#define FORWARD(constant) forward_batch(y, x, norm, &batch, constant)
    WITH_CONSTANT_WIDTH(x.columns / heads, FORWARD)
}

void layernorm_forward(Matrix y, ConstMatrix x, NormWeights norm, size_t heads)
{
    size_t rows = x.rows * heads, most = batch_rows(x.columns / heads);
    if (omp_get_level() > 0) { /* within a region even a team of one costs as much as many rows */
        for (size_t first = 0; first < rows; first += most) forward_from(y, x, norm, heads, first, most);
        return;
    }
#pragma omp parallel for schedule(static) if (x.rows * x.columns > 16384)
    for (size_t first = 0; first < rows; first += most) forward_from(y, x, norm, heads, first, most);
}

/* With n = (x - mean) / deviation and e = d_y * weight: d_x = (e - mean(e) - n mean(e n)) / deviation. */
static inline __attribute__((always_inline)) void backward_batch(Matrix d_x, NormGradients gradients, ConstMatrix d_y,
                                                                 ConstMatrix x, const real *weight, const Batch *batch,
                                                                 size_t width)
{
    real *d_weight = gradients.d_weight, *d_bias = gradients.d_bias, mean_e[BATCH], mean_en[BATCH];
    Moments m;
    find_moments(&m, x, batch, width);
    for (size_t i = 0; i < batch->count; i++) {
        const real *d_y_row = const_row_at(d_y, batch->places[i]), *x_row = const_row_at(x, batch->places[i]);
        real mean = m.mean[i], inverse = m.inverse_deviation[i], sum_e = 0, sum_en = 0;
#pragma omp simd reduction(+ : sum_e, sum_en)
        for (size_t c = 0; c < width; c++) {
            real n = (x_row[c] - mean) * inverse, e = d_y_row[c] * weight[c];
            d_weight[c] += d_y_row[c] * n;
            d_bias[c] += d_y_row[c];
            sum_e += e;
            sum_en += e * n;
        }
        mean_e[i] = sum_e / (real)width;
        mean_en[i] = sum_en / (real)width;
    }
    for (size_t i = 0; i < batch->count; i++) {
        const real *d_y_row = const_row_at(d_y, batch->places[i]), *x_row = const_row_at(x, batch->places[i]);
        real *d_x_row = row_at(d_x, batch->places[i]), mean = m.mean[i], inverse = m.inverse_deviation[i];
#pragma omp simd
        for (size_t c = 0; c < width; c++) {
            real n = (x_row[c] - mean) * inverse, e = d_y_row[c] * weight[c];
            d_x_row[c] += (e - mean_e[i] - n * mean_en[i]) * inverse;
        }
    }
}

void layernorm_backward_rows(Matrix d_x, NormGradients gradients, ConstMatrix d_y, ConstMatrix x, const real *weight,
                             size_t heads)
{
    size_t width = x.columns / heads, most = batch_rows(width);
    for (size_t first = 0; first < x.rows * heads; first += most) {
        Batch batch = batch_at(x, heads, first, most);
#define BACKWARD(constant) backward_batch(d_x, gradients, d_y, x, weight, &batch, constant)
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
