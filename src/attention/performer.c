/* Positive random features of the softmax kernel (Choromanski et al., "Rethinking attention with Performers", ICLR 2021):

       phi(x) = exp( z W^T - |z|^2 / 2 ) / sqrt(m),   z = x / h^(1/4)

   so that <phi(q), phi(k)> is exp(<q,k>/sqrt(h)) on average. Rows of W (m, h) are orthogonal in groups of h.

   A feature reaches exp(|w|^2 / 2), which a product of two of them takes beyond the largest float from h = 90 on. Where the
   largest exponent of a query exceeds QUERY_LIMIT, its features are all multiplied by one number, and its row of the
   normaliser and of the numerators with them. Keys have no such number: one that several keys share would let a token see
   later ones. Their exponents saturate at KEY_LIMIT, each by itself. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "src/attention/kinds.h"
#include "src/attention/linear.h"
#include "src/tensor/blas.h"
#include "src/tensor/vector_math.h"

enum { TARGET_ROWS = 64 };

/* Together, and with the sums over tokens and values, below the largest number: e^88, in double e^709. */
static const real QUERY_LIMIT = 8, KEY_LIMIT = sizeof(real) == 4 ? 60 : 600;

static size_t performer_width(const AttentionLayer *layer) { return (size_t)layer->spec.features; }

static void add_projection(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    char name[128];
    snprintf(name, sizeof name, "%s.performer.projection", prefix);
    layer->map_tensors[0] =
        param_table_add_matrix(table, name, performer_width(layer), layer->head_width, INIT_ORTHOGONAL_FEATURES, 1);
    param_table_not_trained(table, layer->map_tensors[0]);
}

/* Per thread: z and d_z (rows, h), products (rows, m). */
static size_t thread_count(const AttentionLayer *layer)
{
    return chunk_rows(layer, TARGET_ROWS) * (2 * layer->head_width + performer_width(layer));
}

static void performer_plan(const AttentionLayer *layer, size_t tokens, Arena *scratch)
{
    (void)tokens;
    size_t mark = arena_mark(scratch);
    arena_take(scratch, (size_t)omp_get_max_threads() * thread_count(layer));
    arena_release(scratch, mark);
}

static real input_scale(const AttentionLayer *layer) { return (real)pow((double)layer->head_width, -0.25); }

/* z of x (tokens, H h), without gaps */
static void gather(const AttentionLayer *layer, real *z, ConstMatrix x)
{
    real scale = input_scale(layer);
    for (size_t t = 0; t < x.rows; t++) {
        const real *from = const_matrix_row(x, t);
        for (size_t c = 0; c < x.columns; c++) z[t * x.columns + c] = scale * from[c];
    }
}

/* d_x (tokens, H h) += gradient through gather() */
static void scatter_add(const AttentionLayer *layer, Matrix d_x, const real *d_z)
{
    real scale = input_scale(layer);
    for (size_t t = 0; t < d_x.rows; t++) {
        real *to = matrix_row(d_x, t);
        for (size_t c = 0; c < d_x.columns; c++) to[c] += scale * d_z[t * d_x.columns + c];
    }
}

/* What exceeds QUERY_LIMIT of the largest exponent of a row. */
static real excess_of(const real *products, real half_square, size_t m)
{
    real largest = products[0];
#pragma omp simd reduction(max : largest)
    for (size_t f = 0; f < m; f++) largest = products[f] > largest ? products[f] : largest;
    real excess = largest - half_square - QUERY_LIMIT;
    return excess > 0 ? excess : 0;
}

/* `factors` (rows) of queries, NULL for keys. */
static void chunk_forward(const AttentionLayer *layer, const real *projection, real *u, real *factors, const real *z,
                          size_t rows)
{
    size_t h = layer->head_width, m = performer_width(layer);
    real norm = 1 / real_sqrt((real)m);
    gemm_nt(u, m, z, h, projection, h, rows, m, h, 1, 0);
    for (size_t i = 0; i < rows; i++) {
        real subtracted = 0, *row = u + i * m;
        for (size_t c = 0; c < h; c++) subtracted += z[i * h + c] * z[i * h + c] / 2;
        if (factors) {
            real excess = excess_of(row, subtracted, m);
            factors[i] = real_exp(-excess);
            subtracted += excess;
        }
#pragma omp simd
        for (size_t f = 0; f < m; f++) {
            real exponent = row[f] - subtracted;
            row[f] = norm * vector_exp(exponent > KEY_LIMIT ? KEY_LIMIT : exponent);
        }
    }
}

static void performer_forward(const MapRun *run, real *u, real *factors)
{
    const AttentionLayer *layer = run->layer;
    size_t mark = arena_mark(run->scratch), H = layer->heads, m = performer_width(layer);
    size_t longest = chunk_tokens(layer, TARGET_ROWS);
    const real *projection = param_values(run->params, layer->map_tensors[0]);
    real *threads = arena_take(run->scratch, (size_t)omp_get_max_threads() * thread_count(layer));
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < chunk_count(&run->span, longest); i++) {
        TokenChunk chunk = chunk_at(&run->span, longest, i);
        real *z = threads + (size_t)omp_get_thread_num() * thread_count(layer);
        gather(layer, z, const_matrix_rows(run->x, chunk.first, chunk.count));
        chunk_forward(layer, projection, u + chunk.first * H * m, factors ? factors + chunk.first * H : NULL, z,
                      chunk.count * H);
    }
    arena_release(run->scratch, mark);
}

/* With e = d_u * u entrywise: d_z = e W - z sum(e). A feature that saturates is constant. The factor of a query's features
   cancels in the output, so its gradient is nought and it counts as a constant too. */
static void chunk_backward(const AttentionLayer *layer, const real *projection, real *d_z, real *e, const real *d_u,
                           const real *u, const real *z, size_t rows)
{
    size_t h = layer->head_width, m = performer_width(layer);
    real largest = (real)0.999 * vector_exp(KEY_LIMIT) / real_sqrt((real)m);
    for (size_t i = 0; i < rows * m; i++) e[i] = u[i] < largest ? d_u[i] * u[i] : 0;
    gemm_nn(d_z, h, e, m, projection, h, rows, h, m, 1, 0);
    for (size_t i = 0; i < rows; i++) {
        real sum = 0;
        for (size_t f = 0; f < m; f++) sum += e[i * m + f];
        for (size_t c = 0; c < h; c++) d_z[i * h + c] -= z[i * h + c] * sum;
    }
}

static void performer_backward(const MapRun *run, Matrix d_x, const real *d_u, const real *u)
{
    const AttentionLayer *layer = run->layer;
    size_t mark = arena_mark(run->scratch), H = layer->heads, h = layer->head_width, m = performer_width(layer);
    size_t longest = chunk_tokens(layer, TARGET_ROWS);
    const real *projection = param_values(run->params, layer->map_tensors[0]);
    real *threads = arena_take(run->scratch, (size_t)omp_get_max_threads() * thread_count(layer));
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < chunk_count(&run->span, longest); i++) {
        TokenChunk chunk = chunk_at(&run->span, longest, i);
        size_t rows = chunk.count * H, first_u = chunk.first * H * m;
        real *z = threads + (size_t)omp_get_thread_num() * thread_count(layer);
        real *d_z = z + rows * h, *e = d_z + rows * h;
        gather(layer, z, const_matrix_rows(run->x, chunk.first, chunk.count));
        chunk_backward(layer, projection, d_z, e, d_u + first_u, u + first_u, z, rows);
        scatter_add(layer, matrix_rows(d_x, chunk.first, chunk.count), d_z);
    }
    arena_release(run->scratch, mark);
}

static double performer_flops(const AttentionLayer *layer)
{
    return 2 * (double)layer->head_width * (double)performer_width(layer);
}

static const FeatureMap performer_map = {
    .normalised_input = false,
    .self_tensored = false,
    .scales_queries = true,
    .width = performer_width,
    .declare = add_projection,
    .plan = performer_plan,
    .forward = performer_forward,
    .backward = performer_backward,
    .flops = performer_flops,
};

static void performer_declare(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    layer->map = &performer_map;
    layer->map->declare(layer, table, prefix);
}

static const OptionRow *performer_options(int *count)
{
    static const OptionRow rows[] = {
        {"attention", "features", OPTION_INTEGER, offsetof(AttentionSpec, features), "256", 1, 1 << 20, "", true,
         "performer: random features, m"},
    };
    *count = sizeof rows / sizeof *rows;
    return rows;
}

const AttentionKind attention_performer = {
    .name = "performer",
    .summary = "positive random features of the softmax kernel; time linear in the context; a baseline",
    .options = performer_options,
    .declare = performer_declare,
    LINEAR_FUNCTIONS,
};
