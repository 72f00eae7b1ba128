/* Positive random features of the softmax kernel (Choromanski et al., "Rethinking attention with Performers", ICLR 2021):

       phi(x) = exp( z W^T - |z|^2 / 2 ) / sqrt(m),   z = x / h^(1/4)

   so that <phi(q), phi(k)> is exp(<q,k>/sqrt(h)) on average. Rows of W (m, h) are orthogonal in groups of h. There is no
   stabiliser: subtracting a maximum over keys would let a token see later ones. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "src/attention/kinds.h"
#include "src/tensor/blas.h"
#include "src/tensor/vector_math.h"

enum { CHUNK_ROWS = 64 };

static size_t performer_width(const AttentionLayer *layer) { return (size_t)layer->config.features; }

static void performer_declare(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    char name[128];
    snprintf(name, sizeof name, "%s.performer.projection", prefix);
    layer->map_tensors[0] =
        param_table_add_matrix(table, name, performer_width(layer), layer->head_width, INIT_ORTHOGONAL_FEATURES, 1);
    param_table_not_trained(table, layer->map_tensors[0]);
}

/* Per thread: z and d_z (CHUNK_ROWS, h), products (CHUNK_ROWS, m). */
static size_t thread_count(const AttentionLayer *layer)
{
    return CHUNK_ROWS * (2 * layer->head_width + performer_width(layer));
}

static void performer_plan(const AttentionLayer *layer, size_t tokens, Arena *scratch)
{
    (void)tokens;
    size_t mark = arena_mark(scratch);
    arena_take(scratch, (size_t)omp_get_max_threads() * thread_count(layer));
    arena_release(scratch, mark);
}

/* Row i of all (token, head) rows starts here. */
static size_t row_start(const AttentionLayer *layer, size_t row, size_t stride)
{
    return row / layer->heads * stride + row % layer->heads * layer->head_width;
}

static real input_scale(const AttentionLayer *layer) { return (real)pow((double)layer->head_width, -0.25); }

/* z (rows, h) of the rows from `first` on. */
static void gather(const AttentionLayer *layer, real *z, const real *x, size_t stride, size_t first, size_t rows)
{
    size_t h = layer->head_width;
    real scale = input_scale(layer);
    for (size_t i = 0; i < rows; i++) {
        const real *from = x + row_start(layer, first + i, stride);
        for (size_t c = 0; c < h; c++) z[i * h + c] = scale * from[c];
    }
}

static void chunk_forward(const AttentionLayer *layer, const real *projection, real *u, const real *z, size_t rows)
{
    size_t h = layer->head_width, m = performer_width(layer);
    real norm = 1 / real_sqrt((real)m);
    gemm_nt(u, m, z, h, projection, h, rows, m, h, 1, 0);
    for (size_t i = 0; i < rows; i++) {
        real half_square = 0, *row = u + i * m;
        for (size_t c = 0; c < h; c++) half_square += z[i * h + c] * z[i * h + c] / 2;
#pragma omp simd
        for (size_t f = 0; f < m; f++) row[f] = norm * vector_exp(row[f] - half_square);
    }
}

static void performer_forward(const AttentionLayer *layer, const real *params, real *u, const real *x, size_t x_stride,
                              size_t tokens, Arena *scratch)
{
    size_t mark = arena_mark(scratch), rows = tokens * layer->heads, m = performer_width(layer);
    const real *projection = attention_values(layer, params, layer->map_tensors[0]);
    real *threads = arena_take(scratch, (size_t)omp_get_max_threads() * thread_count(layer));
#pragma omp parallel for schedule(static)
    for (size_t first = 0; first < rows; first += CHUNK_ROWS) {
        real *z = threads + (size_t)omp_get_thread_num() * thread_count(layer);
        size_t count = rows - first < CHUNK_ROWS ? rows - first : CHUNK_ROWS;
        gather(layer, z, x, x_stride, first, count);
        chunk_forward(layer, projection, u + first * m, z, count);
    }
    arena_release(scratch, mark);
}

/* With e = d_u * u entrywise: d_z = e W - z sum(e). */
static void chunk_backward(const AttentionLayer *layer, const real *projection, real *d_z, real *e, const real *d_u,
                           const real *u, const real *z, size_t rows)
{
    size_t h = layer->head_width, m = performer_width(layer);
    for (size_t i = 0; i < rows * m; i++) e[i] = d_u[i] * u[i];
    gemm_nn(d_z, h, e, m, projection, h, rows, h, m, 1, 0);
    for (size_t i = 0; i < rows; i++) {
        real sum = 0;
        for (size_t f = 0; f < m; f++) sum += e[i * m + f];
        for (size_t c = 0; c < h; c++) d_z[i * h + c] -= z[i * h + c] * sum;
    }
}

static void performer_backward(const AttentionLayer *layer, const real *params, real *grads, real *d_x,
                               size_t d_x_stride, const real *d_u, const real *u, const real *x, size_t x_stride,
                               size_t tokens, Arena *scratch)
{
    (void)grads; /* the projection is not trained */
    size_t mark = arena_mark(scratch), rows = tokens * layer->heads, h = layer->head_width, m = performer_width(layer);
    const real *projection = attention_values(layer, params, layer->map_tensors[0]);
    real *threads = arena_take(scratch, (size_t)omp_get_max_threads() * thread_count(layer));
    real scale = input_scale(layer);
#pragma omp parallel for schedule(static)
    for (size_t first = 0; first < rows; first += CHUNK_ROWS) {
        real *z = threads + (size_t)omp_get_thread_num() * thread_count(layer);
        real *d_z = z + CHUNK_ROWS * h, *e = d_z + CHUNK_ROWS * h;
        size_t count = rows - first < CHUNK_ROWS ? rows - first : CHUNK_ROWS;
        gather(layer, z, x, x_stride, first, count);
        chunk_backward(layer, projection, d_z, e, d_u + first * m, u + first * m, z, count);
        for (size_t i = 0; i < count; i++) {
            real *to = d_x + row_start(layer, first + i, d_x_stride);
            for (size_t c = 0; c < h; c++) to[c] += scale * d_z[i * h + c];
        }
    }
    arena_release(scratch, mark);
}

static double performer_flops(const AttentionLayer *layer)
{
    return 2 * (double)layer->head_width * (double)performer_width(layer);
}

const FeatureMap feature_map_performer = {
    .normalised_input = false,
    .self_tensored = false,
    .width = performer_width,
    .declare = performer_declare,
    .plan = performer_plan,
    .forward = performer_forward,
    .backward = performer_backward,
    .flops = performer_flops,
};
