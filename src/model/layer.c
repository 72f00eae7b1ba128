#include "src/model/layer.h"

#include <string.h>

#include "src/base/phase.h"
#include "src/tensor/activation.h"
#include "src/tensor/blas.h"
#include "src/tensor/dropout.h"
#include "src/tensor/layernorm.h"
#include "src/tensor/rotary.h"

static const real *values(const LayerRun *run, int index)
{
    return run->params + run->model->table.params[index].offset;
}
static real *gradients(const LayerRun *run, int index) { return run->grads + run->model->table.params[index].offset; }

static size_t token_count(const AttentionShape *shape) { return shape->sequences * shape->tokens; }

LayerSaved layer_take_saved(const Model *model, const Layer *layer, const AttentionShape *shape,
                            const LayerSaved *shared, Arena *arena)
{
    size_t tokens = token_count(shape), C = model->width;
    LayerSaved saved;
    saved.qkv = arena_take(arena, tokens * 3 * C);
    saved.attention =
        shared ? shared->attention : arena_take(arena, layer->attention.kind->saved_count(&layer->attention, shape));
    saved.attention_out = arena_take(arena, tokens * C);
    saved.middle = arena_take(arena, tokens * C);
    saved.feedforward_in = arena_take(arena, tokens * model->feedforward_in_width);
    return saved;
}

/* The largest sets of scratch that are in use at a time; layer_forward() and layer_backward() take the same. */
void layer_plan(const Model *model, const Layer *layer, const AttentionShape *shape, PassPurpose purpose,
                Arena *scratch)
{
    size_t tokens = token_count(shape), C = model->width, mark = arena_mark(scratch);
    arena_take(scratch, tokens * C); /* normed, or d_attention_out */
    layer->attention.kind->plan(&layer->attention, shape, scratch);
    if (purpose == PASS_TRAIN) {
        arena_take(scratch, tokens * C);
        arena_take(scratch, tokens * 3 * C); /* d_qkv */
        layer->attention.kind->plan(&layer->attention, shape, scratch);
    }
    arena_release(scratch, mark);
    arena_take(scratch, tokens * C);
    arena_take(scratch, tokens * model->feedforward_width);
    if (purpose == PASS_TRAIN) {
        arena_take(scratch, tokens * C);
        arena_take(scratch, tokens * model->feedforward_width);
        arena_take(scratch, tokens * model->feedforward_in_width);
        arena_take(scratch, layernorm_scratch(C));
    }
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
    phase_begin(PHASE_NORM);
    layernorm_forward(y, run->model->width, x, run->model->width, values(run, norm[0]), values(run, norm[1]),
                      token_count(&run->shape), 1, run->model->width);
}

/* d_x += gradient through the norm */
static void norm_backward(const LayerRun *run, real *d_x, const real *d_y, const real *x, const int norm[2])
{
    size_t C = run->model->width, mark = arena_mark(run->scratch);
    phase_begin(PHASE_NORM);
    layernorm_backward(d_x, C, gradients(run, norm[0]), gradients(run, norm[1]), d_y, C, x, C, values(run, norm[0]),
                       token_count(&run->shape), 1, C, arena_take(run->scratch, layernorm_scratch(C)));
    arena_release(run->scratch, mark);
}

static void product_forward(real *y, const real *x, const real *w, size_t tokens, size_t out, size_t in)
{
    phase_begin(PHASE_DENSE);
    dense_forward(y, x, w, tokens, out, in);
}

static void product_backward(real *d_x, real *d_w, const real *d_y, const real *x, const real *w, size_t tokens,
                             size_t out, size_t in)
{
    phase_begin(PHASE_DENSE);
    dense_backward(d_x, d_w, d_y, x, w, tokens, out, in);
}

static void activation_forward(const LayerRun *run, real *y, const real *x)
{
    size_t tokens = token_count(&run->shape), F = run->model->feedforward_width;
    phase_begin(PHASE_ACTIVATION);
    if (run->model->config.model.feedforward == FEEDFORWARD_GLU)
        glu_forward(y, x, tokens, F);
    else
        gelu_forward(y, x, tokens * F);
}

static void activation_backward(const LayerRun *run, real *d_x, const real *d_y, const real *x)
{
    size_t tokens = token_count(&run->shape), F = run->model->feedforward_width;
    phase_begin(PHASE_ACTIVATION);
    if (run->model->config.model.feedforward == FEEDFORWARD_GLU)
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

static AttentionRun attention_run(const LayerRun *run, const Layer *layer, const LayerSaved *saved)
{
    return (AttentionRun){
        .layer = &layer->attention,
        .shape = run->shape,
        .link = run->link,
        .params = run->params,
        .grads = run->grads,
        .qkv = saved->qkv,
        .out = saved->attention_out,
        .saved = saved->attention,
        .clamped = run->clamped,
        .scratch = run->scratch,
    };
}

void layer_attention_again(const LayerRun *run, size_t index, const LayerSaved *saved)
{
    const Layer *layer = &run->model->layers[index];
    AttentionRun attention = attention_run(run, layer, saved);
    layer->attention.kind->forward(&attention);
}

void layer_forward(const LayerRun *run, size_t index, const LayerSaved *saved, real *x_out, const real *x)
{
    const Model *model = run->model;
    const Layer *layer = &model->layers[index];
    size_t tokens = token_count(&run->shape), C = model->width, F = model->feedforward_width;
    size_t mark = arena_mark(run->scratch);
    real *normed = arena_take(run->scratch, tokens * C);

    norm_forward(run, normed, x, layer->attention_norm);
    product_forward(saved->qkv, normed, values(run, layer->qkv), tokens, 3 * C, C);
    rotate(run, saved->qkv, +1);
    AttentionRun attention = attention_run(run, layer, saved);
    layer->attention.kind->forward(&attention);
    product_forward(saved->middle, saved->attention_out, values(run, layer->out), tokens, C, C);
    dropout(run, saved->middle, index, "dropout after attention");
    add_residual(saved->middle, x, tokens * C);

    real *active = arena_take(run->scratch, tokens * F);
    norm_forward(run, normed, saved->middle, layer->feedforward_norm);
    product_forward(saved->feedforward_in, normed, values(run, layer->feedforward_in), tokens,
                    model->feedforward_in_width, C);
    activation_forward(run, active, saved->feedforward_in);
    product_forward(x_out, active, values(run, layer->feedforward_out), tokens, C, F);
    dropout(run, x_out, index, "dropout after feedforward");
    add_residual(x_out, saved->middle, tokens * C);
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
    size_t tokens = token_count(&run->shape), C = model->width, F = model->feedforward_width;
    size_t mark = arena_mark(run->scratch);
    real *normed = arena_take(run->scratch, tokens * C), *d_normed = arena_take(run->scratch, tokens * C);
    real *active = arena_take(run->scratch, tokens * F), *d_active = arena_take(run->scratch, tokens * F);
    real *d_in = arena_take(run->scratch, tokens * model->feedforward_in_width);
    const real *d_branch = branch_gradient(run, d_normed, d_x, index, "dropout after feedforward");
    /* x_out = middle + dropout(active W_out^T) */
    activation_forward(run, active, saved->feedforward_in);
    product_backward(d_active, gradients(run, layer->feedforward_out), d_branch, active,
                     values(run, layer->feedforward_out), tokens, C, F);
    /* active = GLU(normed W_in^T) */
    activation_backward(run, d_in, d_active, saved->feedforward_in);
    norm_forward(run, normed, saved->middle, layer->feedforward_norm);
    product_backward(d_normed, gradients(run, layer->feedforward_in), d_in, normed, values(run, layer->feedforward_in),
                     tokens, model->feedforward_in_width, C);
    norm_backward(run, d_x, d_normed, saved->middle, layer->feedforward_norm);
    arena_release(run->scratch, mark);
}

static void attention_backward(const LayerRun *run, size_t index, const LayerSaved *saved, real *d_x, const real *x)
{
    const Model *model = run->model;
    const Layer *layer = &model->layers[index];
    size_t tokens = token_count(&run->shape), C = model->width, mark = arena_mark(run->scratch);
    real *normed = arena_take(run->scratch, tokens * C), *d_out = arena_take(run->scratch, tokens * C);
    real *d_qkv = arena_take(run->scratch, tokens * 3 * C);
    const real *d_branch = branch_gradient(run, normed, d_x, index, "dropout after attention");
    /* middle = x + dropout(attention_out W_out^T) */
    product_backward(d_out, gradients(run, layer->out), d_branch, saved->attention_out, values(run, layer->out), tokens,
                     C, C);
    AttentionRun attention = attention_run(run, layer, saved);
    attention.d_out = d_out;
    attention.d_qkv = d_qkv;
    layer->attention.kind->backward(&attention);
    rotate(run, d_qkv, -1);
    /* qkv = normed W_qkv^T */
    norm_forward(run, normed, x, layer->attention_norm);
    real *d_normed = d_out;
    product_backward(d_normed, gradients(run, layer->qkv), d_qkv, normed, values(run, layer->qkv), tokens, 3 * C, C);
    norm_backward(run, d_x, d_normed, x, layer->attention_norm);
    arena_release(run->scratch, mark);
}

void layer_backward(const LayerRun *run, size_t index, const LayerSaved *saved, real *d_x, const real *x)
{
    feedforward_backward(run, index, saved, d_x);
    attention_backward(run, index, saved, d_x, x);
}
