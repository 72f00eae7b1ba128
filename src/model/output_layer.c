#include "src/model/output_layer.h"

#include <string.h>

#include "src/core/phase.h"
#include "src/tensor/blas.h"
#include "src/tensor/cross_entropy.h"
#include "src/tensor/greedy.h"
#include "src/tensor/layernorm.h"

/* So many logits at a time. The more rows, the less often the embedding is brought into the form that BLAS multiplies: with 83
   rows of 50,304 that took a fifth of a step. */
enum { LOGIT_NUMBERS = 32 << 20, LEAST_LOGIT_ROWS = 64 };

static size_t chunk_rows(const Model *model, size_t tokens)
{
    size_t rows = LOGIT_NUMBERS / model->vocab_size;
    if (rows < LEAST_LOGIT_ROWS) rows = LEAST_LOGIT_ROWS;
    return rows < tokens ? rows : tokens;
}

typedef struct Buffers {
    real *normed;    /* (tokens, C), then its gradient */
    real *losses;    /* (tokens) */
    real *logits;    /* (chunk_rows(), V) */
    real *norm_sums; /* of the backward pass through the norm */
} Buffers;

static Buffers take_buffers(const Model *model, size_t tokens, Arena *scratch)
{
    return (Buffers){
        .normed = arena_take(scratch, tokens * model->width),
        .losses = arena_take(scratch, tokens),
        .logits = arena_take(scratch, chunk_rows(model, tokens) * model->vocab_size),
        .norm_sums = arena_take(scratch, layernorm_scratch(model->width)),
    };
}

void output_layer_plan(const Model *model, size_t tokens, Arena *scratch)
{
    size_t mark = arena_mark(scratch);
    take_buffers(model, tokens, scratch);
    arena_release(scratch, mark);
}

static void final_norm(const OutputRun *run, real *normed)
{
    size_t C = run->model->width;
    const int *norm = run->model->final_norm;
    NormWeights weights = {param_values(run->params, norm[0]), param_values(run->params, norm[1])};
    phase_begin(PHASE_NORM);
    layernorm_forward(matrix_dense(normed, run->tokens, C), const_matrix_dense(run->x, run->tokens, C), weights, 1);
}

/* Returns the sum of the losses. In `training`, normed becomes its own gradient, and those of embedding and bias are added. */
static double logits_and_loss(const OutputRun *run, const Buffers *buffers, real *losses, bool training,
                              real loss_scale)
{
    const Model *model = run->model;
    ParamStore *params = run->params;
    size_t C = model->width, V = model->vocab_size, step = chunk_rows(model, run->tokens);
    const real *embedding = param_values(params, model->embedding), *bias = param_values(params, model->logit_bias);
    LossSpec spec = {.soft_cap = (real)model->logit_soft_cap,
                     .gradient_scale = training ? loss_scale : 0,
                     .z_loss = run->z_loss,
                     .label_smoothing = run->label_smoothing};
    real *logits = buffers->logits;
    double sum = 0;
    phase_begin(PHASE_OUTPUT);
    for (size_t first = 0; first < run->tokens; first += step) {
        size_t rows = run->tokens - first < step ? run->tokens - first : step;
        real *normed = buffers->normed + first * C;
        dense_forward(logits, normed, embedding, rows, V, C);
        if (run->correct) greedy_correct(run->correct + first, logits, bias, run->targets + first, rows, V);
        cross_entropy(losses + first, logits, bias, run->targets + first, rows, V, &spec);
        for (size_t i = 0; i < rows; i++) sum += (double)losses[first + i];
        if (!training) continue;
        /* logits = normed E^T + bias, before any cap */
        add_column_sums(param_gradient(params, model->logit_bias), logits, rows, V);
        gemm_tn(param_gradient(params, model->embedding), C, logits, V, normed, C, V, C, rows, 1, 1);
        gemm_nn(normed, C, logits, V, embedding, C, rows, C, V, 1, 0);
    }
    return sum;
}

/* The output layer reads the embedding too. */
static void acquire(const OutputRun *run)
{
    run->params->acquire(run->params, run->model->embedding_group);
    run->params->acquire(run->params, run->model->output_group);
}

static void release(const OutputRun *run)
{
    run->params->release(run->params, run->model->output_group);
    run->params->release(run->params, run->model->embedding_group);
}

double output_layer_loss(const OutputRun *run, real *losses)
{
    size_t mark = arena_mark(run->scratch);
    Buffers buffers = take_buffers(run->model, run->tokens, run->scratch);
    acquire(run);
    final_norm(run, buffers.normed);
    double sum = logits_and_loss(run, &buffers, losses ? losses : buffers.losses, false, 0);
    release(run);
    arena_release(run->scratch, mark);
    return sum;
}

/* d_x = gradient through the norm */
static void final_norm_backward(const OutputRun *run, real *d_x, const real *d_normed, real *sums)
{
    size_t tokens = run->tokens, C = run->model->width;
    const int *norm = run->model->final_norm;
    NormGradients gradients = {param_gradient(run->params, norm[0]), param_gradient(run->params, norm[1])};
    phase_begin(PHASE_NORM);
    memset(d_x, 0, tokens * C * sizeof *d_x);
    layernorm_backward(matrix_dense(d_x, tokens, C), gradients, const_matrix_dense(d_normed, tokens, C),
                       const_matrix_dense(run->x, tokens, C), param_values(run->params, norm[0]), 1, sums);
}

double output_layer_backward(const OutputRun *run, real *d_x, real loss_scale)
{
    size_t mark = arena_mark(run->scratch);
    Buffers buffers = take_buffers(run->model, run->tokens, run->scratch);
    acquire(run);
    final_norm(run, buffers.normed);
    double sum = logits_and_loss(run, &buffers, buffers.losses, true, loss_scale);
    final_norm_backward(run, d_x, buffers.normed, buffers.norm_sums);
    release(run);
    arena_release(run->scratch, mark);
    return sum;
}
