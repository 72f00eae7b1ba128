#include "src/model/layer.h"

#include <string.h>

#include "src/attention/distance.h"
#include "src/attention/gate.h"
#include "src/attention/qk_norm.h"
#include "src/core/phase.h"
#include "src/tensor/activation.h"
#include "src/tensor/blas.h"
#include "src/tensor/dropout.h"
#include "src/tensor/layernorm.h"
#include "src/tensor/rotary.h"

static size_t token_count(const AttentionShape *shape) { return shape->sequences * shape->tokens; }

size_t layer_attention_count(const Layer *layer, const AttentionShape *shape)
{
    return layer->attention.kind->saved_count(&layer->attention, shape);
}

LayerSaved layer_take_saved(const Model *model, const Layer *layer, const AttentionShape *shape, real *attention,
                            bool shared, Arena *arena)
{
    size_t tokens = token_count(shape), C = model->width;
    LayerSaved saved;
    saved.qkv = arena_take(arena, tokens * 3 * C);
    saved.gate = attention_has_gate(&layer->attention) ? arena_take(arena, tokens * model->heads) : NULL;
    saved.raw_qk = layer->attention.norm_before_rotary ? arena_take(arena, tokens * 2 * C) : NULL;
    saved.attention = shared ? attention : arena_take(arena, layer_attention_count(layer, shape));
    saved.attention_out = arena_take(arena, tokens * C);
    saved.middle = arena_take(arena, tokens * C);
    saved.feedforward_in = arena_take(arena, tokens * model->feedforward_in_width);
    return saved;
}

/* ---- scratch: taken here by layer_plan() as by the passes themselves ---- */

/* (B, N, C) and (B, N, F) */
static real *take_normed(const Model *model, size_t tokens, Arena *scratch)
{
    return arena_take(scratch, tokens * model->width);
}
static real *take_active(const Model *model, size_t tokens, Arena *scratch)
{
    return arena_take(scratch, tokens * model->feedforward_width);
}

typedef struct FeedForwardBuffers {
    real *normed, *d_normed; /* (B, N, C) */
    real *active, *d_active; /* (B, N, F) */
    real *d_in;              /* (B, N, 2F or F) */
    real *norm_sums;
} FeedForwardBuffers;

static FeedForwardBuffers take_feedforward_backward(const Model *model, size_t tokens, Arena *scratch)
{
    size_t C = model->width, F = model->feedforward_width;
    return (FeedForwardBuffers){
        .normed = arena_take(scratch, tokens * C),
        .d_normed = arena_take(scratch, tokens * C),
        .active = arena_take(scratch, tokens * F),
        .d_active = arena_take(scratch, tokens * F),
        .d_in = arena_take(scratch, tokens * model->feedforward_in_width),
        .norm_sums = arena_take(scratch, layernorm_scratch(C)),
    };
}

typedef struct AttentionBuffers {
    real *normed, *d_out; /* (B, N, C) */
    real *d_qkv;          /* (B, N, 3C) */
    real *d_gate;         /* (B, H, N); NULL without a gate */
    real *norm_sums;
} AttentionBuffers;

static AttentionBuffers take_attention_backward(const Model *model, const Layer *layer, size_t tokens, Arena *scratch)
{
    size_t C = model->width;
    return (AttentionBuffers){
        .normed = arena_take(scratch, tokens * C),
        .d_out = arena_take(scratch, tokens * C),
        .d_qkv = arena_take(scratch, tokens * 3 * C),
        .d_gate = attention_has_gate(&layer->attention) ? arena_take(scratch, tokens * model->heads) : NULL,
        .norm_sums = arena_take(scratch, layernorm_scratch(C)),
    };
}

void layer_plan(const Model *model, const Layer *layer, const PassSpec *spec, const AttentionShape *shape,
                PassPurpose purpose, Arena *scratch)
{
    size_t tokens = token_count(shape), mark = arena_mark(scratch);
    take_normed(model, tokens, scratch);
    if (attention_has_gate(&layer->attention)) gate_plan(&layer->attention, shape, scratch);
    layer->attention.kind->plan(&layer->attention, shape, scratch);
    if (spec->distances) distance_plan(&layer->attention, shape, scratch);
    take_active(model, tokens, scratch);
    arena_release(scratch, mark);
    if (purpose != PASS_TRAIN) return;
    take_feedforward_backward(model, tokens, scratch);
    arena_release(scratch, mark);
    take_attention_backward(model, layer, tokens, scratch);
    layer->attention.kind->plan(&layer->attention, shape, scratch);
    if (attention_has_gate(&layer->attention)) gate_plan(&layer->attention, shape, scratch);
    if (layer->attention.norm_before_rotary) qk_norm_plan(&layer->attention, scratch);
    arena_release(scratch, mark);
}

/* Sequences one after another: each has its own stream, rows are positions in the sequence. */
static void dropout(const LayerRun *run, real *x, size_t layer, const char *site)
{
    size_t N = run->shape.tokens, C = run->model->width;
    if (run->dropout_rate <= 0) return;
    for (size_t s = 0; s < run->shape.sequences; s++) {
        RngStream step = rng_stream(run->dropout.seed, site, run->dropout.step);
        RngStream stream = rng_stream(step.key, "layer", layer);
        stream = rng_stream(stream.key, "sequence", run->dropout.first_sequence + s);
        dropout_apply(x + s * N * C, run->dropout_rate, stream, run->shape.first_token, N, C);
    }
}

static void add_residual(real *x, const real *residual, size_t count)
{
    phase_begin(PHASE_NORM);
#pragma omp parallel for simd schedule(static) if (parallel : count > 65536)
    for (size_t i = 0; i < count; i++) x[i] += residual[i];
}

static void norm_forward(const LayerRun *run, real *y, const real *x, const int norm[2])
{
    size_t tokens = token_count(&run->shape), C = run->model->width;
    NormWeights weights = {param_values(run->params, norm[0]), param_values(run->params, norm[1])};
    phase_begin(PHASE_NORM);
    layernorm_forward(matrix_dense(y, tokens, C), const_matrix_dense(x, tokens, C), weights, 1);
}

/* d_x += gradient through the norm; `sums`: layernorm_scratch() numbers */
static void norm_backward(const LayerRun *run, real *d_x, const real *d_y, const real *x, const int norm[2], real *sums)
{
    size_t tokens = token_count(&run->shape), C = run->model->width;
    NormGradients gradients = {param_gradient(run->params, norm[0]), param_gradient(run->params, norm[1])};
    phase_begin(PHASE_NORM);
    layernorm_backward(matrix_dense(d_x, tokens, C), gradients, const_matrix_dense(d_y, tokens, C),
                       const_matrix_dense(x, tokens, C), param_values(run->params, norm[0]), 1, sums);
}

/* Products are where a step spends its time: between them sums of gradients under way are looked after. */
static void product_forward(const LayerRun *run, real *y, const real *x, int weight, size_t out, size_t in)
{
    run->params->poll(run->params);
    phase_begin(PHASE_DENSE);
    dense_forward(y, x, param_values(run->params, weight), token_count(&run->shape), out, in);
}

static void product_backward(const LayerRun *run, real *d_x, const real *d_y, const real *x, int weight, size_t out,
                             size_t in)
{
    run->params->poll(run->params);
    phase_begin(PHASE_DENSE);
    dense_backward(d_x, param_gradient(run->params, weight), d_y, x, param_values(run->params, weight),
                   token_count(&run->shape), out, in);
}

static void activation_forward(const LayerRun *run, real *y, const real *x)
{
    size_t tokens = token_count(&run->shape), F = run->model->feedforward_width;
    phase_begin(PHASE_ACTIVATION);
    if (run->model->feedforward == FEEDFORWARD_GLU)
        glu_forward(y, x, tokens, F);
    else
        gelu_forward(y, x, tokens * F);
}

static void activation_backward(const LayerRun *run, real *d_x, const real *d_y, const real *x)
{
    size_t tokens = token_count(&run->shape), F = run->model->feedforward_width;
    phase_begin(PHASE_ACTIVATION);
    if (run->model->feedforward == FEEDFORWARD_GLU)
        glu_backward(d_x, d_y, x, tokens, F);
    else
        gelu_backward(d_x, d_y, x, tokens * F);
}

static void rotate(const LayerRun *run, real *qkv, int direction)
{
    const Model *model = run->model;
    phase_begin(PHASE_NORM);
    rotary_apply(qkv, 3 * model->width, run->rotary, run->shape.tokens, token_count(&run->shape), 2 * model->heads,
                 model->head_width, direction);
}

/* q and k become q' and k', where the layer wants them normed before the rotary embedding. */
static void qk_norm_of_layer(const LayerRun *run, const AttentionLayer *attention, const LayerSaved *saved)
{
    size_t tokens = token_count(&run->shape), C = run->model->width;
    if (!attention->norm_before_rotary) return;
    Matrix qkv = matrix_dense(saved->qkv, tokens, 3 * C);
    phase_begin(PHASE_NORM);
#pragma omp parallel for schedule(static) if (parallel : tokens * C > 16384)
    for (size_t t = 0; t < tokens; t++) memcpy(saved->raw_qk + t * 2 * C, matrix_row(qkv, t), 2 * C * sizeof(real));
    qk_norm_forward(attention, run->params, matrix_columns(qkv, 0, C), matrix_columns(qkv, C, C), saved->qkv);
}

/* In d_qkv the gradients of q' and k' become those of q and k. d_query, d_key: room for (B, N, C) each. */
static void qk_norm_of_layer_backward(const LayerRun *run, const AttentionLayer *attention, const LayerSaved *saved,
                                      real *d_qkv, real *d_query, real *d_key)
{
    size_t tokens = token_count(&run->shape), C = run->model->width;
    if (!attention->norm_before_rotary) return;
    phase_begin(PHASE_NORM);
#pragma omp parallel for schedule(static) if (parallel : tokens * C > 16384)
    for (size_t t = 0; t < tokens; t++) {
        real *row = d_qkv + t * 3 * C;
        memcpy(d_query + t * C, row, C * sizeof *row);
        memcpy(d_key + t * C, row + C, C * sizeof *row);
        memset(row, 0, 2 * C * sizeof *row);
    }
    qk_norm_backward(attention, run->params, matrix_dense(d_qkv, tokens, 3 * C), const_matrix_dense(d_query, tokens, C),
                     const_matrix_dense(d_key, tokens, C), const_matrix_dense(saved->raw_qk, tokens, 2 * C),
                     run->scratch);
}

static AttentionRun attention_run(const LayerRun *run, const Layer *layer, const LayerSaved *saved)
{
    return (AttentionRun){
        .layer = &layer->attention,
        .shape = run->shape,
        .link = run->link,
        .params = run->params,
        .qkv = saved->qkv,
        .gate = saved->gate,
        .document_starts = run->document_starts,
        .out = saved->attention_out,
        .saved = saved->attention,
        .clamped = run->clamped,
        .scratch = run->scratch,
    };
}

/* The layer's part of what is watched. */
static ShareWatch watch_of(const LayerRun *run, size_t index)
{
    ShareWatch watch = run->watch;
    size_t before = index * run->shape.sequences * run->model->heads;
    if (watch.heads) watch.heads += before;
    if (watch.distances) watch.distances += before;
    return watch;
}

void layer_attention_again(const LayerRun *run, size_t index, const LayerSaved *saved)
{
    const Layer *layer = &run->model->layers[index];
    AttentionRun attention = attention_run(run, layer, saved);
    run->params->acquire(run->params, layer->group);
    layer->attention.kind->forward(&attention);
    run->params->release(run->params, layer->group);
}

void layer_forward(const LayerRun *run, size_t index, const LayerSaved *saved, real *x_out, const real *x)
{
    const Model *model = run->model;
    const Layer *layer = &model->layers[index];
    size_t tokens = token_count(&run->shape), C = model->width, F = model->feedforward_width;
    size_t mark = arena_mark(run->scratch);
    real *normed = take_normed(model, tokens, run->scratch);
    run->params->acquire(run->params, layer->group);

    norm_forward(run, normed, x, layer->attention_norm);
    product_forward(run, saved->qkv, normed, layer->qkv, 3 * C, C);
    qk_norm_of_layer(run, &layer->attention, saved);
    rotate(run, saved->qkv, +1);
    if (attention_has_gate(&layer->attention))
        gate_forward(&layer->attention, run->params, saved->gate, const_matrix_dense(normed, tokens, C),
                     run->shape.sequences, run->scratch);
    AttentionRun attention = attention_run(run, layer, saved);
    attention.watch = watch_of(run, index);
    attention.state = run->states ? run->states[index] : NULL;
    attention.state_shape = run->state_shape;
    if (attention.watch.distances) distance_measure(&attention, saved->qkv, run->carried, model->layer_count);
    layer->attention.kind->forward(&attention);
    product_forward(run, saved->middle, saved->attention_out, layer->out, C, C);
    dropout(run, saved->middle, index, "dropout after attention");
    add_residual(saved->middle, x, tokens * C);

    real *active = take_active(model, tokens, run->scratch);
    norm_forward(run, normed, saved->middle, layer->feedforward_norm);
    product_forward(run, saved->feedforward_in, normed, layer->feedforward_in, model->feedforward_in_width, C);
    activation_forward(run, active, saved->feedforward_in);
    product_forward(run, x_out, active, layer->feedforward_out, C, F);
    dropout(run, x_out, index, "dropout after feedforward");
    add_residual(x_out, saved->middle, tokens * C);

    run->params->release(run->params, layer->group);
    arena_release(run->scratch, mark);
}

/* The gradient that enters a residual branch: d_x itself, or a masked copy. */
static const real *branch_gradient(const LayerRun *run, real *copy, const real *d_x, size_t index, const char *site)
{
    size_t count = token_count(&run->shape) * run->model->width;
    if (run->dropout_rate <= 0) return d_x;
    memcpy(copy, d_x, count * sizeof *copy);
    dropout(run, copy, index, site);
    return copy;
}

static void feedforward_backward(const LayerRun *run, size_t index, const LayerSaved *saved, real *d_x)
{
    const Model *model = run->model;
    const Layer *layer = &model->layers[index];
    size_t C = model->width, F = model->feedforward_width, mark = arena_mark(run->scratch);
    FeedForwardBuffers buffers = take_feedforward_backward(model, token_count(&run->shape), run->scratch);
    const real *d_branch = branch_gradient(run, buffers.d_normed, d_x, index, "dropout after feedforward");
    /* x_out = middle + dropout(active W_out^T) */
    activation_forward(run, buffers.active, saved->feedforward_in);
    product_backward(run, buffers.d_active, d_branch, buffers.active, layer->feedforward_out, C, F);
    /* active = GLU(normed W_in^T) */
    activation_backward(run, buffers.d_in, buffers.d_active, saved->feedforward_in);
    norm_forward(run, buffers.normed, saved->middle, layer->feedforward_norm);
    product_backward(run, buffers.d_normed, buffers.d_in, buffers.normed, layer->feedforward_in,
                     model->feedforward_in_width, C);
    norm_backward(run, d_x, buffers.d_normed, saved->middle, layer->feedforward_norm, buffers.norm_sums);
    arena_release(run->scratch, mark);
}

static void attention_backward(const LayerRun *run, size_t index, const LayerSaved *saved, real *d_x, const real *x)
{
    const Model *model = run->model;
    const Layer *layer = &model->layers[index];
    size_t C = model->width, tokens = token_count(&run->shape), mark = arena_mark(run->scratch);
    AttentionBuffers buffers = take_attention_backward(model, layer, tokens, run->scratch);
    const real *d_branch = branch_gradient(run, buffers.normed, d_x, index, "dropout after attention");
    /* middle = x + dropout(attention_out W_out^T) */
    product_backward(run, buffers.d_out, d_branch, saved->attention_out, layer->out, C, C);
    AttentionRun attention = attention_run(run, layer, saved);
    attention.d_out = buffers.d_out;
    attention.d_qkv = buffers.d_qkv;
    attention.d_gate = buffers.d_gate;
    layer->attention.kind->backward(&attention);
    rotate(run, buffers.d_qkv, -1);
    qk_norm_of_layer_backward(run, &layer->attention, saved, buffers.d_qkv, buffers.normed, buffers.d_out);
    /* qkv = normed W_qkv^T */
    norm_forward(run, buffers.normed, x, layer->attention_norm);
    real *d_normed = buffers.d_out;
    product_backward(run, d_normed, buffers.d_qkv, buffers.normed, layer->qkv, 3 * C, C);
    if (attention_has_gate(&layer->attention))
        gate_backward(&layer->attention, run->params, matrix_dense(d_normed, tokens, C), buffers.d_gate, saved->gate,
                      const_matrix_dense(buffers.normed, tokens, C), run->shape.sequences, run->scratch);
    norm_backward(run, d_x, d_normed, x, layer->attention_norm, buffers.norm_sums);
    arena_release(run->scratch, mark);
}

void layer_backward(const LayerRun *run, size_t index, const LayerSaved *saved, real *d_x, const real *x)
{
    int group = run->model->layers[index].group;
    run->params->acquire(run->params, group);
    feedforward_backward(run, index, saved, d_x);
    attention_backward(run, index, saved, d_x, x);
    run->params->release(run->params, group);
}
