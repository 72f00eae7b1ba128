#include "src/model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/carried_link.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/phase.h"
#include "src/model/layer.h"
#include "src/tensor/blas.h"
#include "src/tensor/cross_entropy.h"
#include "src/tensor/embedding.h"
#include "src/tensor/layernorm.h"
#include "src/tensor/rotary.h"

/* The output layer works on so many logits at a time: (rows, V) never exists for all tokens. The more rows, the less often
   the embedding is brought into the form that BLAS multiplies: with 83 rows of 50,304 that took a fifth of a step. */
enum { LOGIT_NUMBERS = 32 << 20, LEAST_LOGIT_ROWS = 64 };

/* ---- the plan ------------------------------------------------------------------------------------------------------- */

static void add_norm(ParamTable *table, int norm[2], const char *prefix, const char *which, size_t width)
{
    char name[128];
    snprintf(name, sizeof name, "%s%s.weight", prefix, which);
    norm[0] = param_table_add_vector(table, name, width, 1);
    snprintf(name, sizeof name, "%s%s.bias", prefix, which);
    norm[1] = param_table_add_vector(table, name, width, 0);
}

static int add_dense(ParamTable *table, const char *prefix, const char *which, size_t out, size_t in, double deviation)
{
    char name[128];
    snprintf(name, sizeof name, "%s%s.weight", prefix, which);
    return param_table_add_matrix(table, name, out, in, INIT_NORMAL, deviation);
}

static void declare_layer(Model *model, size_t index)
{
    /* The projections that end a residual branch start smaller: the sum over layers keeps its size. */
    const double deviation = 0.02, ending = 0.02 / sqrt(2.0 * (double)model->layer_count);
    Layer *layer = &model->layers[index];
    ParamTable *table = &model->table;
    size_t C = model->width;
    char prefix[64], attention_prefix[80];
    snprintf(prefix, sizeof prefix, "layers.%zu.", index);
    snprintf(attention_prefix, sizeof attention_prefix, "%sattention", prefix);
    add_norm(table, layer->attention_norm, prefix, "attention_norm", C);
    layer->qkv = add_dense(table, prefix, "attention.qkv", 3 * C, C, deviation);
    layer->attention = attention_declare(&model->config, table, attention_prefix);
    layer->out = add_dense(table, prefix, "attention.out", C, C, ending);
    add_norm(table, layer->feedforward_norm, prefix, "feedforward_norm", C);
    layer->feedforward_in = add_dense(table, prefix, "feedforward.in", model->feedforward_in_width, C, deviation);
    layer->feedforward_out = add_dense(table, prefix, "feedforward.out", C, model->feedforward_width, ending);
}

Model *model_create(const Config *config)
{
    Model *model = checked_calloc(1, sizeof *model);
    model->config = *config;
    model->layer_count = (size_t)config->model.layers;
    model->width = (size_t)config->model.width;
    model->heads = (size_t)config->model.heads;
    model->head_width = model->width / model->heads;
    model->feedforward_width = (size_t)config->model.feedforward_width;
    model->feedforward_in_width = model->feedforward_width * (config->model.feedforward == FEEDFORWARD_GLU ? 2 : 1);
    model->vocab_size = (size_t)config->model.vocab_size;
    model->layers = checked_calloc(model->layer_count, sizeof *model->layers);
    model->embedding = param_table_add_matrix(&model->table, "token_embedding.weight", model->vocab_size, model->width,
                                              INIT_NORMAL, 0.02);
    param_table_no_decay(&model->table, model->embedding);
    for (size_t i = 0; i < model->layer_count; i++) declare_layer(model, i);
    add_norm(&model->table, model->final_norm, "", "final_norm", model->width);
    model->logit_bias = param_table_add_vector(&model->table, "logit_bias", model->vocab_size, 0);
    param_table_seal(&model->table);
    return model;
}

void model_destroy(Model *model)
{
    if (!model) return;
    param_table_destroy(&model->table);
    free(model->layers);
    free(model);
}

AttentionShape model_shape(const Config *config, size_t sequences, size_t context_length, int position, int segments)
{
    size_t block = (size_t)config->block_length;
    TokenRange range = segment_range(context_length, block, position, segments);
    return (AttentionShape){
        .sequences = sequences,
        .tokens = range.count,
        .first_token = range.first,
        .context_length = context_length,
        .block_length = block,
        .position = position,
        .segments = segments,
    };
}

size_t model_longest_range(const Config *config, size_t context_length, int position, int segments)
{
    size_t block = (size_t)config->block_length, stretches = (size_t)config_stretches(config), longest = 0;
    for (size_t k = 0; k < stretches; k++) {
        size_t count = stretch_range(context_length, block, k, stretches, position, segments).count;
        if (count > longest) longest = count;
    }
    return longest;
}

double model_train_flops(const Model *model, size_t context_length)
{
    AttentionShape shape = model_shape(&model->config, 1, context_length, 0, 1);
    double C = (double)model->width, F = (double)model->feedforward_width, T = (double)context_length;
    double dense = 2 * T * C * (4 * C + (double)model->feedforward_in_width + F), forward = 0;
    for (size_t i = 0; i < model->layer_count; i++) {
        const AttentionLayer *attention = &model->layers[i].attention;
        forward += dense + attention->kind->cost(attention, &shape).forward_flops;
    }
    forward += 2 * T * C * (double)model->vocab_size;
    return 3 * forward;
}

/* ---- the memory of a pass ------------------------------------------------------------------------------------------- */

struct ModelPass {
    const Model *model;
    AttentionShape shape; /* of the stretch under way; N below is that of the longest stretch */
    SequenceLink *link;
    PassPurpose purpose;
    size_t stretches;
    size_t tokens;             /* of a sequence, of all stretches */
    CarriedLink carried;       /* in place of `link` where a sequence has several stretches ... */
    int32_t *inputs, *targets; /* (B, N) ... with the tokens of the present one */
    real *losses;              /* (B, N) */
    Arena activations, scratch;
    real *rotary;      /* (N, 2, h/2) */
    real **x;          /* (layers + 1) residual streams (B, N, C); evaluation alternates between two */
    LayerSaved *saved; /* one per layer, or one for all */
    int64_t clamped;   /* rows, since somebody last asked */
};

static size_t token_count(const ModelPass *pass) { return pass->shape.sequences * pass->shape.tokens; }

static bool recomputes(const ModelPass *pass, RecomputeKind kind)
{
    return (RecomputeKind)pass->model->config.train.recompute == kind;
}

static bool keeps_layers(const ModelPass *pass)
{
    return pass->purpose == PASS_TRAIN && !recomputes(pass, RECOMPUTE_LAYER);
}

/* What only sequences of several stretches need. */
static void take_stretch_buffers(ModelPass *pass, Arena *arena)
{
    const Model *model = pass->model;
    const AttentionLayer *attention = &model->layers[0].attention;
    carried_link_take(&pass->carried, pass->link, pass->stretches, model->layer_count,
                      attention->kind->state_count(attention, &pass->shape), pass->purpose == PASS_TRAIN, arena);
    pass->inputs = arena_take_bytes(arena, token_count(pass) * sizeof *pass->inputs);
    pass->targets = arena_take_bytes(arena, token_count(pass) * sizeof *pass->targets);
    pass->losses = arena_take(arena, token_count(pass));
}

static void take_activations(ModelPass *pass, Arena *arena)
{
    const Model *model = pass->model;
    if (pass->stretches > 1) take_stretch_buffers(pass, arena);
    size_t residual = token_count(pass) * model->width;
    pass->rotary = arena_take(arena, pass->shape.tokens * model->head_width);
    for (size_t i = 0; i <= model->layer_count; i++)
        pass->x[i] = pass->purpose == PASS_TRAIN || i < 2 ? arena_take(arena, residual) : pass->x[i - 2];
    for (size_t i = 0; i < model->layer_count; i++) {
        const LayerSaved *shared = i > 0 && recomputes(pass, RECOMPUTE_ATTENTION) ? &pass->saved[0] : NULL;
        pass->saved[i] = i == 0 || keeps_layers(pass)
                             ? layer_take_saved(model, &model->layers[i], &pass->shape, shared, arena)
                             : pass->saved[0];
    }
}

static size_t logit_rows(const Model *model)
{
    size_t rows = LOGIT_NUMBERS / model->vocab_size;
    return rows > LEAST_LOGIT_ROWS ? rows : LEAST_LOGIT_ROWS;
}

static void plan_scratch(const ModelPass *pass, Arena *scratch)
{
    const Model *model = pass->model;
    size_t residual = token_count(pass) * model->width;
    size_t rows = logit_rows(model) < token_count(pass) ? logit_rows(model) : token_count(pass);
    if (pass->purpose == PASS_TRAIN) arena_take(scratch, residual); /* d_x */
    size_t mark = arena_mark(scratch);
    arena_take(scratch, residual);                 /* normed, then d_normed */
    arena_take(scratch, token_count(pass));        /* losses */
    arena_take(scratch, rows * model->vocab_size); /* logits */
    arena_take(scratch, layernorm_scratch(model->width));
    arena_release(scratch, mark);
    for (size_t i = 0; i < model->layer_count; i++)
        layer_plan(model, &model->layers[i], &pass->shape, pass->purpose, scratch);
}

static ModelPass *pass_create(const Model *model, AttentionShape shape, SequenceLink *link, PassPurpose purpose,
                              PassBytes *bytes)
{
    ModelPass *pass = checked_calloc(1, sizeof *pass);
    *pass = (ModelPass){.model = model, .shape = shape, .link = link, .purpose = purpose};
    pass->stretches = (size_t)config_stretches(&model->config);
    for (size_t k = 0; k < pass->stretches; k++) pass->tokens += model_pass_range(pass, k).count;
    pass->shape.tokens = model_longest_range(&model->config, shape.context_length, shape.position, shape.segments);
    pass->x = checked_calloc(model->layer_count + 1, sizeof *pass->x);
    pass->saved = checked_calloc(model->layer_count, sizeof *pass->saved);
    Arena activations = arena_measure(), scratch = arena_measure();
    take_activations(pass, &activations);
    plan_scratch(pass, &scratch);
    *bytes = (PassBytes){activations.peak, scratch.peak};
    return pass;
}

ModelPass *model_pass_create(const Model *model, AttentionShape shape, SequenceLink *link, PassPurpose purpose)
{
    PassBytes bytes;
    ModelPass *pass = pass_create(model, shape, link, purpose, &bytes);
    pass->activations = arena_create(bytes.activations, "activations");
    pass->scratch = arena_create(bytes.scratch, "scratch memory");
    take_activations(pass, &pass->activations);
    if (pass->stretches == 1) rotary_fill_table(pass->rotary, shape.first_token, shape.tokens, model->head_width);
    return pass;
}

void model_pass_destroy(ModelPass *pass)
{
    if (!pass) return;
    arena_destroy(&pass->activations);
    arena_destroy(&pass->scratch);
    free(pass->x);
    free(pass->saved);
    free(pass);
}

AttentionShape model_pass_shape(const ModelPass *pass) { return pass->shape; }

size_t model_pass_stretches(const ModelPass *pass) { return pass->stretches; }

size_t model_pass_tokens(const ModelPass *pass) { return pass->tokens; }

TokenRange model_pass_range(const ModelPass *pass, size_t stretch)
{
    const AttentionShape *shape = &pass->shape;
    return stretch_range(shape->context_length, shape->block_length, stretch, pass->stretches, shape->position,
                         shape->segments);
}

int64_t model_pass_take_clamped(ModelPass *pass)
{
    int64_t clamped = pass->clamped;
    pass->clamped = 0;
    return clamped;
}

PassBytes model_pass_bytes(const Model *model, AttentionShape shape, PassPurpose purpose)
{
    PassBytes bytes;
    model_pass_destroy(pass_create(model, shape, NULL, purpose, &bytes));
    return bytes;
}

/* ---- forward and backward ------------------------------------------------------------------------------------------- */

static LayerRun layer_run(ModelPass *pass, const real *params, real *grads)
{
    return (LayerRun){
        .model = pass->model,
        .shape = pass->shape,
        .link = pass->stretches > 1 ? &pass->carried.link : pass->link,
        .rotary = pass->rotary,
        .params = params,
        .grads = grads,
        .scratch = &pass->scratch,
        .clamped = &pass->clamped,
    };
}

static const real *values(const ModelPass *pass, const real *params, int index)
{
    return params + pass->model->table.params[index].offset;
}

static real *gradients(const ModelPass *pass, real *grads, int index)
{
    return grads + pass->model->table.params[index].offset;
}

static void layers_forward(ModelPass *pass, const LayerRun *run, const int32_t *inputs)
{
    const Model *model = pass->model;
    phase_begin(PHASE_EMBEDDING);
    embedding_forward(pass->x[0], values(pass, run->params, model->embedding), inputs, token_count(pass), model->width);
    for (size_t i = 0; i < model->layer_count; i++) {
        pass->carried.layer = i;
        layer_forward(run, i, &pass->saved[i], pass->x[i + 1], pass->x[i]);
    }
}

/* Loss of the final residual stream, chunk of rows by chunk of rows. With `grads`, normed becomes its own gradient and
   the output layer's gradients are added. Returns the sum of the losses. */
static double output_layer(ModelPass *pass, const real *params, real *grads, real *normed, real *losses,
                           const int32_t *targets, real loss_scale)
{
    const Model *model = pass->model;
    size_t C = model->width, V = model->vocab_size, tokens = token_count(pass), step = logit_rows(model);
    const real *embedding = values(pass, params, model->embedding), *bias = values(pass, params, model->logit_bias);
    size_t mark = arena_mark(&pass->scratch);
    real *logits = arena_take(&pass->scratch, (step < tokens ? step : tokens) * V); /* (rows, V) */
    double sum = 0;
    phase_begin(PHASE_OUTPUT);
    for (size_t first = 0; first < tokens; first += step) {
        size_t rows = tokens - first < step ? tokens - first : step;
        real *rows_in = normed + first * C;
        dense_forward(logits, rows_in, embedding, rows, V, C);
        cross_entropy(losses + first, logits, bias, targets + first, rows, V, grads ? loss_scale : 0);
        for (size_t i = 0; i < rows; i++) sum += (double)losses[first + i];
        if (!grads) continue;
        /* logits = normed E^T + bias */
        add_column_sums(gradients(pass, grads, model->logit_bias), logits, rows, V);
        gemm_tn(gradients(pass, grads, model->embedding), C, logits, V, rows_in, C, V, C, rows, 1, 1);
        gemm_nn(rows_in, C, logits, V, embedding, C, rows, C, V, 1, 0);
    }
    arena_release(&pass->scratch, mark);
    return sum;
}

static void final_norm(ModelPass *pass, const real *params, real *normed)
{
    const Model *model = pass->model;
    phase_begin(PHASE_NORM);
    layernorm_forward(normed, model->width, pass->x[model->layer_count], model->width,
                      values(pass, params, model->final_norm[0]), values(pass, params, model->final_norm[1]),
                      token_count(pass), 1, model->width);
}

/* ---- one stretch ----------------------------------------------------------------------------------------------------- */

/* The tokens of a stretch, or a number for each of them, between (B, all tokens) and (B, N). */
static size_t in_sequence(const ModelPass *pass, size_t sequence, size_t stretch)
{
    size_t before = 0;
    for (size_t k = 0; k < stretch; k++) before += model_pass_range(pass, k).count;
    return sequence * pass->tokens + before;
}

static const int32_t *stretch_tokens(const ModelPass *pass, int32_t *part, const int32_t *tokens, size_t stretch)
{
    size_t N = pass->shape.tokens;
    if (pass->stretches == 1) return tokens;
    for (size_t s = 0; s < pass->shape.sequences; s++)
        memcpy(part + s * N, tokens + in_sequence(pass, s, stretch), N * sizeof *part);
    return part;
}

/* Turns the pass to a stretch. */
static void select_stretch(ModelPass *pass, size_t stretch, bool recording)
{
    if (pass->stretches == 1) return;
    TokenRange range = model_pass_range(pass, stretch);
    pass->shape.first_token = range.first;
    pass->shape.tokens = range.count;
    pass->carried.stretch = stretch;
    pass->carried.recording = recording;
    rotary_fill_table(pass->rotary, range.first, range.count, pass->model->head_width);
}

static double evaluate_stretch(ModelPass *pass, const real *params, const int32_t *inputs, const int32_t *targets,
                               real *losses)
{
    size_t tokens = token_count(pass), mark = arena_mark(&pass->scratch);
    LayerRun run = layer_run(pass, params, NULL);
    layers_forward(pass, &run, inputs);
    real *normed = arena_take(&pass->scratch, tokens * pass->model->width);
    real *own_losses = arena_take(&pass->scratch, tokens);
    final_norm(pass, params, normed);
    double sum = output_layer(pass, params, NULL, normed, losses ? losses : own_losses, targets, 0);
    arena_release(&pass->scratch, mark);
    return sum;
}

/* Loss, and d_x (B, N, C) = gradient of the last residual stream. */
static double loss_backward(ModelPass *pass, const real *params, real *grads, real *d_x, const int32_t *targets,
                            real loss_scale)
{
    const Model *model = pass->model;
    size_t tokens = token_count(pass), C = model->width, mark = arena_mark(&pass->scratch);
    real *normed = arena_take(&pass->scratch, tokens * C), *losses = arena_take(&pass->scratch, tokens);
    final_norm(pass, params, normed);
    double sum = output_layer(pass, params, grads, normed, losses, targets, loss_scale);
    phase_begin(PHASE_NORM);
    memset(d_x, 0, tokens * C * sizeof *d_x);
    layernorm_backward(d_x, C, gradients(pass, grads, model->final_norm[0]),
                       gradients(pass, grads, model->final_norm[1]), normed, C, pass->x[model->layer_count], C,
                       values(pass, params, model->final_norm[0]), tokens, 1, C,
                       arena_take(&pass->scratch, layernorm_scratch(C)));
    arena_release(&pass->scratch, mark);
    return sum;
}

static LayerRun train_run(ModelPass *pass, const real *params, real *grads, DropoutKey dropout)
{
    LayerRun run = layer_run(pass, params, grads);
    run.dropout_rate = pass->model->config.model.dropout;
    run.dropout = dropout;
    return run;
}

static double train_stretch(ModelPass *pass, const LayerRun *run, const int32_t *inputs, const int32_t *targets,
                            real loss_scale)
{
    const Model *model = pass->model;
    layers_forward(pass, run, inputs);
    size_t mark = arena_mark(&pass->scratch);
    real *d_x = arena_take(&pass->scratch, token_count(pass) * model->width);
    double sum = loss_backward(pass, run->params, run->grads, d_x, targets, loss_scale);
    real *recomputed = pass->x[model->layer_count]; /* free by now: room for the output of a repeated layer */
    for (size_t i = model->layer_count; i-- > 0;) {
        pass->carried.layer = i;
        bool again = i + 1 < model->layer_count; /* what the last layer left is still there */
        if (again && recomputes(pass, RECOMPUTE_LAYER))
            layer_forward(run, i, &pass->saved[i], recomputed, pass->x[i]);
        else if (again && recomputes(pass, RECOMPUTE_ATTENTION))
            layer_attention_again(run, i, &pass->saved[i]);
        layer_backward(run, i, &pass->saved[i], d_x, pass->x[i]);
    }
    phase_begin(PHASE_EMBEDDING);
    embedding_backward(gradients(pass, run->grads, model->embedding), d_x, inputs, token_count(pass), model->width);
    arena_release(&pass->scratch, mark);
    return sum;
}

/* ---- whole sequences ------------------------------------------------------------------------------------------------- */

double model_evaluate(ModelPass *pass, const real *params, const int32_t *inputs, const int32_t *targets, real *losses)
{
    double sum = 0;
    if (pass->stretches > 1) carried_link_start(&pass->carried, SCAN_FORWARD);
    for (size_t k = 0; k < pass->stretches; k++) {
        select_stretch(pass, k, true);
        size_t N = pass->shape.tokens;
        real *part = losses && pass->stretches > 1 ? pass->losses : losses;
        sum += evaluate_stretch(pass, params, stretch_tokens(pass, pass->inputs, inputs, k),
                                stretch_tokens(pass, pass->targets, targets, k), part);
        for (size_t s = 0; part != losses && s < pass->shape.sequences; s++)
            memcpy(losses + in_sequence(pass, s, k), part + s * N, N * sizeof *part);
    }
    return sum;
}

/* The first time through, forward only, finds the sums with which each stretch begins; the last stretch needs no first
   time. */
static void record_stretches(ModelPass *pass, const real *params, const int32_t *inputs, DropoutKey dropout)
{
    carried_link_start(&pass->carried, SCAN_FORWARD);
    for (size_t k = 0; k + 1 < pass->stretches; k++) {
        select_stretch(pass, k, true);
        LayerRun run = train_run(pass, params, NULL, dropout);
        layers_forward(pass, &run, stretch_tokens(pass, pass->inputs, inputs, k));
    }
    carried_link_start(&pass->carried, SCAN_BACKWARD);
}

double model_train(ModelPass *pass, const real *params, real *grads, const int32_t *inputs, const int32_t *targets,
                   real loss_scale, DropoutKey dropout)
{
    double sum = 0;
    if (pass->stretches > 1) record_stretches(pass, params, inputs, dropout);
    for (size_t k = pass->stretches; k-- > 0;) {
        select_stretch(pass, k, false);
        LayerRun run = train_run(pass, params, grads, dropout);
        sum += train_stretch(pass, &run, stretch_tokens(pass, pass->inputs, inputs, k),
                             stretch_tokens(pass, pass->targets, targets, k), loss_scale);
    }
    return sum;
}
