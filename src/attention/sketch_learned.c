/* Learned polynomial sketch (Kacham, Mirrokni, Zhong 2024): the two Gaussian factors of a degree-2 sketch become small
   networks, trained with the model; one network per layer, for queries, keys and all heads.

       u(x) = sqrt(r) tanh( y1 * y2 / sqrt(r) ),   y_J = level_JL( ... level_J1(x) )
       level(z) = GELU( LN(z) W_in^T ) W_out^T     W_in (Er, h or r), W_out (r, Er)

   with L = attention.sketch_levels and E = attention.sketch_expansion, in the paper 2 and 8. x is q or k after the rotary
   embedding, as it is: the first level has its own layer norm. The backward pass computes all of it again, chunk by
   chunk: with the paper's numbers in cache (0.9 MB at h = 64, r = 32), not with many wide levels (26 MB at L = 8, E = 64). */
#include <assert.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "src/attention/kinds.h"
#include "src/tensor/activation.h"
#include "src/tensor/layernorm.h"
#include "src/tensor/small_gemm.h"
#include "src/tensor/vector_math.h"

enum { BRANCHES = 2, MAX_LEVELS = ATTENTION_MAX_SKETCH_LEVELS, TARGET_ROWS = 96 };
enum { NORM_WEIGHT, NORM_BIAS, IN_WEIGHT, OUT_WEIGHT, LEVEL_TENSORS };
static_assert(BRANCHES * MAX_LEVELS * LEVEL_TENSORS <= ATTENTION_MAX_TENSORS, "a layer has room for all tensors");

static int level_count(const AttentionLayer *layer) { return (int)layer->spec.sketch_levels; }
static size_t sketch_width(const AttentionLayer *layer) { return (size_t)layer->spec.sketch_size; }

/* Hidden numbers of a level, Er. */
static size_t hidden_width(const AttentionLayer *layer)
{
    return (size_t)layer->spec.sketch_expansion * sketch_width(layer);
}

static size_t level_inputs(const AttentionLayer *layer, int level)
{
    return level == 0 ? layer->head_width : sketch_width(layer);
}

/* The first of a level's tensors in map_tensors. */
static int level_start(const AttentionLayer *layer, int branch, int level)
{
    return (branch * level_count(layer) + level) * LEVEL_TENSORS;
}

static int tensor_of(const AttentionLayer *layer, int branch, int level, int which)
{
    return layer->map_tensors[level_start(layer, branch, level) + which];
}

static void declare_level(AttentionLayer *layer, ParamTable *table, const char *prefix, int branch, int level)
{
    size_t r = sketch_width(layer), inputs = level_inputs(layer, level), wide = hidden_width(layer);
    int *tensors = layer->map_tensors + level_start(layer, branch, level);
    char start[96], name[128];
    snprintf(start, sizeof start, "%s.sketch.learned.branch%d.level%d", prefix, branch + 1, level + 1);
    snprintf(name, sizeof name, "%s.norm.weight", start);
    tensors[NORM_WEIGHT] = param_table_add_vector(table, name, inputs, 1);
    snprintf(name, sizeof name, "%s.norm.bias", start);
    tensors[NORM_BIAS] = param_table_add_vector(table, name, inputs, 0);
    snprintf(name, sizeof name, "%s.in.weight", start);
    tensors[IN_WEIGHT] = param_table_add_matrix(table, name, wide, inputs, INIT_NORMAL, sqrt(1.0 / (double)inputs));
    snprintf(name, sizeof name, "%s.out.weight", start);
    tensors[OUT_WEIGHT] = param_table_add_matrix(table, name, r, wide, INIT_NORMAL, sqrt(1.0 / (double)wide));
}

static void sketch_declare(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    for (int branch = 0; branch < BRANCHES; branch++)
        for (int level = 0; level < level_count(layer); level++) declare_level(layer, table, prefix, branch, level);
}

/* ---- one chunk of rows ---------------------------------------------------------------------------------------------- */

/* Of rows of hidden values. A power of two would put them all into a few sets of the cache. */
static size_t hidden_stride(const AttentionLayer *layer)
{
    size_t width = hidden_width(layer);
    return (width & (width - 1)) == 0 ? width + 16 : width;
}

/* What one level leaves in cache for its backward pass. The forward pass alone needs nothing of a level but its output:
   there all levels share the rest, which then stays in cache. */
typedef struct LevelBuffers {
    real *normed; /* (rows, inputs) */
    real *hidden; /* (rows, Er), rows hidden_stride() apart: before the GELU; for the backward pass its slope */
    real *active; /* likewise, after it; the same memory in the forward pass */
    real *out;    /* (rows, r) */
} LevelBuffers;

typedef struct ChunkBuffers {
    real *x; /* (rows, h), gathered */
    LevelBuffers levels[BRANCHES][MAX_LEVELS];
    real *d_hidden;  /* (rows, Er), rows hidden_stride() apart */
    real *d_normed;  /* (rows, max(h, r)) */
    real *d_outs[2]; /* (rows, r), of the outputs of a level and the one below, which take turns */
    real *gradients; /* this thread's, of all the network */
} ChunkBuffers;

/* Numbers in the tensors of the first `levels` levels of a branch. */
static size_t numbers_in_levels(const AttentionLayer *layer, int levels)
{
    size_t r = sketch_width(layer), wide = hidden_width(layer), count = 0;
    for (int level = 0; level < levels; level++) {
        size_t inputs = level_inputs(layer, level);
        count += 2 * inputs + wide * inputs + r * wide;
    }
    return count;
}

/* Gradients of the network in one piece: tensor after tensor. */
static size_t gradient_count(const AttentionLayer *layer)
{
    return BRANCHES * numbers_in_levels(layer, level_count(layer));
}

static ChunkBuffers take_chunk_buffers(const AttentionLayer *layer, bool backward, Arena *arena)
{
    size_t r = sketch_width(layer), h = layer->head_width, rows = chunk_rows(layer, TARGET_ROWS),
           wide = rows * hidden_stride(layer);
    ChunkBuffers buffers = {.x = arena_take(arena, rows * h)};
    LevelBuffers shared = {0};
    if (!backward) {
        shared.normed = arena_take(arena, rows * larger(h, r));
        shared.hidden = shared.active = arena_take(arena, wide);
    }
    for (int branch = 0; branch < BRANCHES; branch++)
        for (int level = 0; level < level_count(layer); level++) {
            LevelBuffers *b = &buffers.levels[branch][level];
            *b = shared;
            b->out = arena_take(arena, rows * r);
            if (!backward) continue;
            b->normed = arena_take(arena, rows * level_inputs(layer, level));
            b->hidden = arena_take(arena, wide);
            b->active = arena_take(arena, wide);
        }
    if (!backward) return buffers;
    buffers.d_hidden = arena_take(arena, wide);
    buffers.d_normed = arena_take(arena, rows * larger(h, r));
    for (int i = 0; i < 2; i++) buffers.d_outs[i] = arena_take(arena, rows * r);
    return buffers;
}

static size_t thread_bytes(const AttentionLayer *layer, bool backward)
{
    Arena measure = arena_measure();
    take_chunk_buffers(layer, backward, &measure);
    return measure.peak;
}

/* The matrices of a pass, transposed for the products with rows: in (inputs, Er), its rows hidden_stride() apart, and out
   (Er, r) of each level. */
typedef struct Transposed {
    real *in[BRANCHES][MAX_LEVELS], *out[BRANCHES][MAX_LEVELS];
} Transposed;

static Transposed take_transposed(const AttentionLayer *layer, Arena *arena)
{
    size_t r = sketch_width(layer);
    Transposed t;
    for (int branch = 0; branch < BRANCHES; branch++)
        for (int level = 0; level < level_count(layer); level++) {
            t.in[branch][level] = arena_take(arena, level_inputs(layer, level) * hidden_stride(layer));
            t.out[branch][level] = arena_take(arena, hidden_width(layer) * r);
        }
    return t;
}

static void sketch_plan(const AttentionLayer *layer, size_t tokens, Arena *scratch)
{
    (void)tokens;
    size_t mark = arena_mark(scratch);
    take_transposed(layer, scratch);
    arena_take_bytes(scratch, (size_t)omp_get_max_threads() * thread_bytes(layer, true));
    map_gradients_take(gradient_count(layer), scratch);
    arena_release(scratch, mark);
}

static Transposed transpose_matrices(const AttentionLayer *layer, ParamStore *params, Arena *arena)
{
    size_t r = sketch_width(layer), wide = hidden_width(layer);
    Transposed t = take_transposed(layer, arena);
    for (int branch = 0; branch < BRANCHES; branch++)
        for (int level = 0; level < level_count(layer); level++) {
            size_t inputs = level_inputs(layer, level);
            const real *in = param_values(params, tensor_of(layer, branch, level, IN_WEIGHT));
            const real *out = param_values(params, tensor_of(layer, branch, level, OUT_WEIGHT));
            transpose(t.in[branch][level], hidden_stride(layer), in, inputs, wide, inputs);
            transpose(t.out[branch][level], r, out, wide, r, wide);
        }
    return t;
}

/* b->out of z (rows, inputs) */
static void level_forward(const MapRun *run, const Transposed *matrices, int branch, int level, LevelBuffers *b,
                          const real *z, size_t rows)
{
    const AttentionLayer *layer = run->layer;
    size_t r = sketch_width(layer), inputs = level_inputs(layer, level);
    size_t wide = hidden_width(layer), stride = hidden_stride(layer);
    NormWeights norm = {
        .weight = param_values(run->params, tensor_of(layer, branch, level, NORM_WEIGHT)),
        .bias = param_values(run->params, tensor_of(layer, branch, level, NORM_BIAS)),
    };
    layernorm_forward(matrix_dense(b->normed, rows, inputs), const_matrix_dense(z, rows, inputs), norm, 1);
    small_gemm_nn(b->hidden, stride, b->normed, inputs, matrices->in[branch][level], stride, rows, wide, inputs,
                  OVERWRITE);
    for (size_t i = 0; i < rows; i++)
        if (b->active == b->hidden)
            gelu_forward(b->active + i * stride, b->hidden + i * stride, wide);
        else
            gelu_forward_with_slope(b->active + i * stride, b->hidden + i * stride, wide);
    small_gemm_nn(b->out, r, b->active, stride, matrices->out[branch][level], r, rows, r, wide, OVERWRITE);
}

static void chunk_forward(const MapRun *run, const Transposed *matrices, ChunkBuffers *buffers, size_t rows)
{
    const AttentionLayer *layer = run->layer;
    for (int branch = 0; branch < BRANCHES; branch++) {
        const real *z = buffers->x;
        for (int level = 0; level < level_count(layer); level++) {
            level_forward(run, matrices, branch, level, &buffers->levels[branch][level], z, rows);
            z = buffers->levels[branch][level].out;
        }
    }
}

/* y of a branch, (rows, r). */
static const real *branch_output(const AttentionLayer *layer, const ChunkBuffers *buffers, int branch)
{
    return buffers->levels[branch][level_count(layer) - 1].out;
}

static void output_features(real *u, const real *y1, const real *y2, size_t count, size_t r)
{
    real root = real_sqrt((real)r), inverse = 1 / root;
#pragma omp simd
    for (size_t i = 0; i < count; i++) u[i] = root * real_tanh(y1[i] * y2[i] * inverse);
}

static void sketch_forward(const MapRun *run, real *u, real *factors)
{
    (void)factors;
    const AttentionLayer *layer = run->layer;
    size_t mark = arena_mark(run->scratch), H = layer->heads, r = sketch_width(layer);
    size_t longest = chunk_tokens(layer, TARGET_ROWS), bytes = thread_bytes(layer, false);
    Transposed matrices = transpose_matrices(layer, run->params, run->scratch);
    void *threads = arena_take_bytes(run->scratch, (size_t)omp_get_max_threads() * bytes);
#pragma omp parallel
    {
        Arena mine = arena_share(threads, (size_t)omp_get_thread_num(), bytes);
        ChunkBuffers buffers = take_chunk_buffers(layer, false, &mine);
#pragma omp for schedule(static)
        for (size_t i = 0; i < chunk_count(&run->span, longest); i++) {
            TokenChunk chunk = chunk_at(&run->span, longest, i);
            gather_rows(buffers.x, const_matrix_rows(run->x, chunk.first, chunk.count));
            chunk_forward(run, &matrices, &buffers, chunk.count * H);
            output_features(u + chunk.first * H * r, branch_output(layer, &buffers, 0),
                            branch_output(layer, &buffers, 1), chunk.count * H * r, r);
        }
    }
    arena_release(run->scratch, mark);
}

/* ---- backward ------------------------------------------------------------------------------------------------------- */

/* This thread's gradients of one level, in the order of its tensors. */
typedef struct LevelGradients {
    NormGradients norm;
    real *in_weight, *out_weight;
} LevelGradients;

static LevelGradients level_gradients(const AttentionLayer *layer, real *gradients, int branch, int level)
{
    size_t of_branch = numbers_in_levels(layer, level_count(layer)), inputs = level_inputs(layer, level);
    real *start = gradients + (size_t)branch * of_branch + numbers_in_levels(layer, level);
    return (LevelGradients){
        .norm = {start, start + inputs},
        .in_weight = start + 2 * inputs,
        .out_weight = start + 2 * inputs + hidden_width(layer) * inputs,
    };
}

/* d_z (tokens, H inputs) += gradient through the level; d_out (tokens, H, r), z (tokens, H, inputs) the level's input. */
static void level_backward(const MapRun *run, ChunkBuffers *buffers, int branch, int level, Matrix d_z,
                           const real *d_out, const real *z)
{
    const AttentionLayer *layer = run->layer;
    size_t r = sketch_width(layer), inputs = level_inputs(layer, level), rows = d_z.rows * layer->heads;
    size_t wide = hidden_width(layer), stride = hidden_stride(layer);
    LevelBuffers *b = &buffers->levels[branch][level];
    LevelGradients d = level_gradients(layer, buffers->gradients, branch, level);
    const real *in_weight = param_values(run->params, tensor_of(layer, branch, level, IN_WEIGHT));
    const real *out_weight = param_values(run->params, tensor_of(layer, branch, level, OUT_WEIGHT));
    const real *norm_weight = param_values(run->params, tensor_of(layer, branch, level, NORM_WEIGHT));
    /* out = active W_out^T */
    small_gemm_nn(buffers->d_hidden, stride, d_out, r, out_weight, wide, rows, wide, r, OVERWRITE);
    small_gemm_tn(d.out_weight, wide, d_out, r, b->active, stride, r, wide, rows, ADD);
    for (size_t i = 0; i < rows; i++) {
        real *d_hidden = buffers->d_hidden + i * stride;
        const real *slope = b->hidden + i * stride;
#pragma omp simd
        for (size_t c = 0; c < wide; c++) d_hidden[c] *= slope[c];
    }
    /* hidden = normed W_in^T */
    small_gemm_nn(buffers->d_normed, inputs, buffers->d_hidden, stride, in_weight, inputs, rows, inputs, wide,
                  OVERWRITE);
    small_gemm_tn(d.in_weight, inputs, buffers->d_hidden, stride, b->normed, inputs, wide, inputs, rows, ADD);
    layernorm_backward_rows(d_z, d.norm, const_matrix_dense(buffers->d_normed, d_z.rows, d_z.columns),
                            const_matrix_dense(z, d_z.rows, d_z.columns), norm_weight, layer->heads);
}

/* d_x (tokens, H h) += through the levels of a branch, from the gradient of its y in buffers->d_outs[0]. */
static void branch_backward(const MapRun *run, ChunkBuffers *buffers, int branch, Matrix d_x)
{
    size_t columns = run->layer->heads * sketch_width(run->layer);
    real *d_out = buffers->d_outs[0], *d_below = buffers->d_outs[1];
    for (int level = level_count(run->layer) - 1; level > 0; level--) {
        memset(d_below, 0, d_x.rows * columns * sizeof(real));
        level_backward(run, buffers, branch, level, matrix_dense(d_below, d_x.rows, columns), d_out,
                       buffers->levels[branch][level - 1].out);
        real *done = d_out;
        d_out = d_below;
        d_below = done;
    }
    level_backward(run, buffers, branch, 0, d_x, d_out, buffers->x);
}

/* d_x (tokens, H h) += for the tokens of one chunk, whose forward pass has just been repeated; d_u and u (tokens, H, r). */
static void chunk_backward(const MapRun *run, ChunkBuffers *buffers, Matrix d_x, const real *d_u, const real *u)
{
    size_t r = sketch_width(run->layer), count = d_x.rows * run->layer->heads * r;
    real inverse_r = 1 / (real)r;
    for (int branch = 0; branch < BRANCHES; branch++) {
        const real *other = branch_output(run->layer, buffers, 1 - branch);
        /* u = sqrt(r) tanh(y1 y2 / sqrt(r)):  du/dy1 = (1 - u^2/r) y2 */
#pragma omp simd
        for (size_t i = 0; i < count; i++) buffers->d_outs[0][i] = d_u[i] * (1 - u[i] * u[i] * inverse_r) * other[i];
        branch_backward(run, buffers, branch, d_x);
    }
}

static void sketch_backward(const MapRun *run, Matrix d_x, const real *d_u, const real *u)
{
    const AttentionLayer *layer = run->layer;
    size_t mark = arena_mark(run->scratch), H = layer->heads, r = sketch_width(layer);
    size_t longest = chunk_tokens(layer, TARGET_ROWS), bytes = thread_bytes(layer, true);
    Transposed matrices = transpose_matrices(layer, run->params, run->scratch);
    void *threads = arena_take_bytes(run->scratch, (size_t)omp_get_max_threads() * bytes);
    MapGradients gradients = map_gradients_take(gradient_count(layer), run->scratch);
#pragma omp parallel
    {
        Arena mine = arena_share(threads, (size_t)omp_get_thread_num(), bytes);
        ChunkBuffers buffers = take_chunk_buffers(layer, true, &mine);
        buffers.gradients = map_gradients_own(&gradients);
#pragma omp for schedule(static)
        for (size_t i = 0; i < chunk_count(&run->span, longest); i++) {
            TokenChunk chunk = chunk_at(&run->span, longest, i);
            size_t first_u = chunk.first * H * r;
            gather_rows(buffers.x, const_matrix_rows(run->x, chunk.first, chunk.count));
            chunk_forward(run, &matrices, &buffers, chunk.count * H);
            chunk_backward(run, &buffers, matrix_rows(d_x, chunk.first, chunk.count), d_u + first_u, u + first_u);
        }
    }
    map_gradients_add(&gradients, run->params, layer->map_tensors, level_start(layer, BRANCHES, 0));
    arena_release(run->scratch, mark);
}

static double sketch_flops(const AttentionLayer *layer)
{
    double r = (double)sketch_width(layer), wide = (double)hidden_width(layer), products = 0;
    for (int level = 0; level < level_count(layer); level++)
        products += wide * (double)level_inputs(layer, level) + wide * r;
    return BRANCHES * 2 * products;
}

const FeatureMap feature_map_sketch_learned = {
    .name = "learned",
    .normalised_input = false,
    .self_tensored = true,
    .width = sketch_width,
    .declare = sketch_declare,
    .plan = sketch_plan,
    .forward = sketch_forward,
    .backward = sketch_backward,
    .flops = sketch_flops,
};
