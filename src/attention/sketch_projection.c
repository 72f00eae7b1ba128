/* Learned projection: a matrix of each head for queries and another for keys, before a layer norm that the heads share.

       u(q) = r^(-1/4) LN_q( W_q q ),   u(k) = r^(-1/4) LN_k( W_k k )      W (r, h) of each head

   q and k are those after the rotary embedding, as they are. The norm makes |LN|^2 = r, and the factor the products of
   unrelated queries and keys of order 1, whatever r. Nothing but u is kept: the products are computed again in the backward
   pass, chunk by chunk in cache. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "src/attention/kinds.h"
#include "src/tensor/layernorm.h"
#include "src/tensor/small_gemm.h"

enum { CHUNK_TOKENS = 64 };
enum { WEIGHT, NORM_WEIGHT, NORM_BIAS, SIDE_TENSORS }; /* of queries, then those of keys */

static size_t sketch_width(const AttentionLayer *layer) { return (size_t)layer->spec.sketch_size; }

static bool sketch_check(const AttentionSpec *spec, Message *problem)
{
    return spec->sketch_size >= 2 ||
           fail(problem, "attention.sketch_size = 1: the norm of a projection needs two numbers at least");
}

static void declare_side(AttentionLayer *layer, ParamTable *table, const char *prefix, const char *side, int *tensors)
{
    size_t H = layer->heads, h = layer->head_width, r = sketch_width(layer);
    char name[128];
    snprintf(name, sizeof name, "%s.sketch.projection.%s.weight", prefix, side);
    tensors[WEIGHT] = param_table_add_stack(table, name, H, r, h, INIT_NORMAL, sqrt(1.0 / (double)h));
    snprintf(name, sizeof name, "%s.sketch.projection.%s_norm.weight", prefix, side);
    tensors[NORM_WEIGHT] = param_table_add_vector(table, name, r, 1);
    snprintf(name, sizeof name, "%s.sketch.projection.%s_norm.bias", prefix, side);
    tensors[NORM_BIAS] = param_table_add_vector(table, name, r, 0);
}

static void sketch_declare(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    declare_side(layer, table, prefix, "query", layer->map_tensors);
    declare_side(layer, table, prefix, "key", layer->map_tensors + SIDE_TENSORS);
}

/* ---- memory --------------------------------------------------------------------------------------------------------- */

/* What all threads read: the tensors of queries or of keys, as the products want them. */
typedef struct Projection {
    const real *weight; /* (H, r, h) */
    real *transposed;   /* (H, h, r) */
    real *norm;         /* (2, r): weight and bias, times r^(-1/4) */
} Projection;

typedef struct ThreadBuffers {
    real *x;         /* (tokens, h), of one head */
    real *y, *d_y;   /* (tokens, r), before the norm */
    real *gradients; /* this thread's, tensor after tensor: (H, r, h), (r), (r); backward */
} ThreadBuffers;

static size_t weight_count(const AttentionLayer *layer)
{
    return layer->heads * sketch_width(layer) * layer->head_width;
}

static size_t gradient_count(const AttentionLayer *layer) { return weight_count(layer) + 2 * sketch_width(layer); }

static Projection take_projection(const AttentionLayer *layer, Arena *arena)
{
    return (Projection){.transposed = arena_take(arena, weight_count(layer)),
                        .norm = arena_take(arena, 2 * sketch_width(layer))};
}

static ThreadBuffers take_thread_buffers(const AttentionLayer *layer, Arena *arena)
{
    return (ThreadBuffers){.x = arena_take(arena, CHUNK_TOKENS * layer->head_width),
                           .y = arena_take(arena, CHUNK_TOKENS * sketch_width(layer)),
                           .d_y = arena_take(arena, CHUNK_TOKENS * sketch_width(layer))};
}

static size_t thread_bytes(const AttentionLayer *layer)
{
    Arena measure = arena_measure();
    take_thread_buffers(layer, &measure);
    return measure.peak;
}

static void sketch_plan(const AttentionLayer *layer, size_t tokens, Arena *scratch)
{
    (void)tokens;
    size_t mark = arena_mark(scratch);
    take_projection(layer, scratch);
    arena_take_bytes(scratch, (size_t)omp_get_max_threads() * thread_bytes(layer));
    map_gradients_take(gradient_count(layer), scratch);
    arena_release(scratch, mark);
}

/* ---- forward -------------------------------------------------------------------------------------------------------- */

static const int *tensors_of(const MapRun *run) { return run->layer->map_tensors + (run->keys ? SIDE_TENSORS : 0); }

static real output_factor(const AttentionLayer *layer) { return (real)pow((double)sketch_width(layer), -0.25); }

static Projection prepare_projection(const MapRun *run)
{
    const AttentionLayer *layer = run->layer;
    const int *tensors = tensors_of(run);
    size_t h = layer->head_width, r = sketch_width(layer);
    real factor = output_factor(layer);
    const real *norm_weight = param_values(run->params, tensors[NORM_WEIGHT]);
    const real *norm_bias = param_values(run->params, tensors[NORM_BIAS]);
    Projection p = take_projection(layer, run->scratch);
    p.weight = param_values(run->params, tensors[WEIGHT]);
    for (size_t head = 0; head < layer->heads; head++)
        transpose(p.transposed + head * h * r, r, p.weight + head * r * h, h, r, h);
    for (size_t c = 0; c < r; c++) p.norm[c] = factor * norm_weight[c], p.norm[r + c] = factor * norm_bias[c];
    return p;
}

/* y of one head, of x (tokens, H h) */
static void project_head(const MapRun *run, const Projection *p, ThreadBuffers *buffers, ConstMatrix x, size_t head)
{
    size_t h = run->layer->head_width, r = sketch_width(run->layer);
    gather_rows(buffers->x, const_matrix_columns(x, head * h, h));
    small_gemm_nn(buffers->y, r, buffers->x, h, p->transposed + head * h * r, r, x.rows, r, h, OVERWRITE);
}

/* u (tokens, H r) of x (tokens, H h) */
static void chunk_forward(const MapRun *run, const Projection *p, ThreadBuffers *buffers, Matrix u, ConstMatrix x)
{
    size_t r = sketch_width(run->layer);
    for (size_t head = 0; head < run->layer->heads; head++) {
        project_head(run, p, buffers, x, head);
        layernorm_forward(matrix_columns(u, head * r, r), const_matrix_dense(buffers->y, x.rows, r),
                          (NormWeights){p->norm, p->norm + r}, 1);
    }
}

static void sketch_forward(const MapRun *run, real *u, real *factors)
{
    (void)factors;
    const AttentionLayer *layer = run->layer;
    size_t mark = arena_mark(run->scratch), bytes = thread_bytes(layer);
    Projection projection = prepare_projection(run);
    Matrix all_u = matrix_dense(u, run->x.rows, layer->heads * sketch_width(layer));
    void *threads = arena_take_bytes(run->scratch, (size_t)omp_get_max_threads() * bytes);
#pragma omp parallel
    {
        Arena mine = arena_share(threads, (size_t)omp_get_thread_num(), bytes);
        ThreadBuffers buffers = take_thread_buffers(layer, &mine);
#pragma omp for schedule(static)
        for (size_t i = 0; i < chunk_count(&run->span, CHUNK_TOKENS); i++) {
            TokenChunk chunk = chunk_at(&run->span, CHUNK_TOKENS, i);
            chunk_forward(run, &projection, &buffers, matrix_rows(all_u, chunk.first, chunk.count),
                          const_matrix_rows(run->x, chunk.first, chunk.count));
        }
    }
    arena_release(run->scratch, mark);
}

/* ---- backward ------------------------------------------------------------------------------------------------------- */

/* d_x (tokens, H h) +=, and this thread's gradients, from d_u (tokens, H r) and x (tokens, H h). Those of the norm are still
   to be multiplied by r^(-1/4), which its weight here includes. */
static void chunk_backward(const MapRun *run, const Projection *p, ThreadBuffers *buffers, Matrix d_x, ConstMatrix d_u,
                           ConstMatrix x)
{
    size_t h = run->layer->head_width, r = sketch_width(run->layer), rows = x.rows;
    real *d_norm = buffers->gradients + weight_count(run->layer);
    for (size_t head = 0; head < run->layer->heads; head++) {
        project_head(run, p, buffers, x, head);
        memset(buffers->d_y, 0, rows * r * sizeof(real));
        layernorm_backward_rows(matrix_dense(buffers->d_y, rows, r), (NormGradients){d_norm, d_norm + r},
                                const_matrix_columns(d_u, head * r, r), const_matrix_dense(buffers->y, rows, r),
                                p->norm, 1);
        /* y = x W^T */
        small_gemm_nn(d_x.at + head * h, d_x.stride, buffers->d_y, r, p->weight + head * r * h, h, rows, h, r, ADD);
        small_gemm_tn(buffers->gradients + head * r * h, h, buffers->d_y, r, buffers->x, h, r, h, rows, ADD);
    }
}

static void sketch_backward(const MapRun *run, Matrix d_x, const real *d_u, const real *u)
{
    (void)u;
    const AttentionLayer *layer = run->layer;
    size_t mark = arena_mark(run->scratch), bytes = thread_bytes(layer), r = sketch_width(layer);
    real factor = output_factor(layer);
    Projection projection = prepare_projection(run);
    ConstMatrix all_d_u = const_matrix_dense(d_u, run->x.rows, layer->heads * r);
    void *threads = arena_take_bytes(run->scratch, (size_t)omp_get_max_threads() * bytes);
    MapGradients gradients = map_gradients_take(gradient_count(layer), run->scratch);
#pragma omp parallel
    {
        Arena mine = arena_share(threads, (size_t)omp_get_thread_num(), bytes);
        ThreadBuffers buffers = take_thread_buffers(layer, &mine);
        buffers.gradients = map_gradients_own(&gradients);
#pragma omp for schedule(static)
        for (size_t i = 0; i < chunk_count(&run->span, CHUNK_TOKENS); i++) {
            TokenChunk chunk = chunk_at(&run->span, CHUNK_TOKENS, i);
            chunk_backward(run, &projection, &buffers, matrix_rows(d_x, chunk.first, chunk.count),
                           const_matrix_rows(all_d_u, chunk.first, chunk.count),
                           const_matrix_rows(run->x, chunk.first, chunk.count));
        }
        for (size_t c = 0; c < 2 * r; c++) buffers.gradients[weight_count(layer) + c] *= factor;
    }
    map_gradients_add(&gradients, run->params, tensors_of(run), SIDE_TENSORS);
    arena_release(run->scratch, mark);
}

static double sketch_flops(const AttentionLayer *layer)
{
    return 2 * (double)layer->head_width * (double)sketch_width(layer);
}

const FeatureMap feature_map_sketch_projection = {
    .name = "projection",
    .check = sketch_check,
    .normalised_input = false,
    .self_tensored = true,
    .width = sketch_width,
    .declare = sketch_declare,
    .plan = sketch_plan,
    .forward = sketch_forward,
    .backward = sketch_backward,
    .flops = sketch_flops,
};
