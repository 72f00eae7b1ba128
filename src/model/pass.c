#include "src/model/pass.h"

#include <stdlib.h>
#include <string.h>

#include "src/attention/distance.h"
#include "src/base/memory.h"
#include "src/core/carried_link.h"
#include "src/core/phase.h"
#include "src/model/layer.h"
#include "src/model/output_layer.h"
#include "src/tensor/embedding.h"
#include "src/tensor/rotary.h"

/* ---- shapes --------------------------------------------------------------------------------------------------------- */

AttentionShape pass_shape(const PassSpec *spec, int position, int segments)
{
    TokenRange range = segment_range(spec->context_length, spec->block_length, position, segments);
    size_t blocks = (spec->context_length + spec->block_length - 1) / spec->block_length;
    return (AttentionShape){
        .sequences = spec->sequences,
        .tokens = range.count,
        .first_token = range.first,
        .context_length = spec->context_length,
        .block_length = spec->block_length,
        .least_blocks = blocks / spec->stretches / (size_t)segments,
        .position = position,
        .segments = segments,
        .documents = spec->documents,
    };
}

static TokenRange range_of(const PassSpec *spec, size_t stretch, int position, int segments)
{
    return stretch_range(spec->context_length, spec->block_length, stretch, spec->stretches, position, segments);
}

size_t pass_longest_range(const PassSpec *spec, int position, int segments)
{
    size_t longest = 0;
    for (size_t k = 0; k < spec->stretches; k++) {
        size_t count = range_of(spec, k, position, segments).count;
        if (count > longest) longest = count;
    }
    return longest;
}

/* ---- the memory of a pass ------------------------------------------------------------------------------------------- */

struct ModelPass {
    const Model *model;
    PassSpec spec;
    AttentionShape shape; /* of the stretch under way; N below is that of the longest stretch */
    SequenceLink *link;
    PassPurpose purpose;
    size_t tokens;       /* of a sequence, of all stretches */
    CarriedLink carried; /* in place of `link` where a sequence has several stretches ... */
    TokenBatch part;     /* (B, N) ... with the tokens of the present one */
    real *losses;        /* (B, N) */
    uint8_t *correct;    /* (B, N) */
    Arena activations, scratch;
    real *rotary;      /* (N, 2, h/2) */
    real **x;          /* (layers + 1) residual streams (B, N, C); evaluation alternates between two */
    LayerSaved *saved; /* one per layer, or one for all */
    int64_t clamped;   /* rows, since somebody last asked */
};

static size_t token_count(const ModelPass *pass) { return pass->shape.sequences * pass->shape.tokens; }

static bool recomputes(const ModelPass *pass, RecomputeKind kind) { return pass->spec.recompute == kind; }

static bool keeps_layers(const ModelPass *pass)
{
    return pass->purpose == PASS_TRAIN && !recomputes(pass, RECOMPUTE_LAYER);
}

static bool keeps_attention(const ModelPass *pass)
{
    return keeps_layers(pass) && !recomputes(pass, RECOMPUTE_ATTENTION);
}

/* What only sequences of several stretches need. */
static void take_stretch_buffers(ModelPass *pass, Arena *arena)
{
    const Model *model = pass->model;
    size_t layers = model->layer_count;
    if (pass->spec.distances) layers += layers * distance_passes(pass->spec.context_length, model->head_width);
    CarriedCounts *counts = checked_calloc(layers, sizeof *counts);
    for (size_t i = 0; i < layers; i++) {
        const AttentionLayer *attention = &model->layers[i % model->layer_count].attention;
        counts[i] = attention->kind->carried(attention, &pass->shape);
    }
    carried_link_take(&pass->carried, pass->link, pass->spec.stretches, layers, counts, pass->purpose == PASS_TRAIN,
                      arena);
    free(counts);
    size_t bytes = token_count(pass) * sizeof *pass->part.inputs;
    pass->part.inputs = arena_take_bytes(arena, bytes);
    pass->part.targets = arena_take_bytes(arena, bytes);
    if (pass->spec.documents) pass->part.document_starts = arena_take_bytes(arena, bytes);
    pass->losses = arena_take(arena, token_count(pass));
    pass->correct = arena_take_bytes(arena, token_count(pass));
}

/* Numbers that attention may leave where layers take turns with one memory: the most that any of them leaves. */
static size_t shared_attention_count(const ModelPass *pass)
{
    size_t most = 0;
    for (size_t i = 0; i < pass->model->layer_count; i++) {
        size_t count = layer_attention_count(&pass->model->layers[i], &pass->shape);
        if (count > most) most = count;
    }
    return most;
}

/* The layer whose LayerSaved serves all that take turns with it: one that keeps raw queries and keys, if there is one. Gates
   belong to all layers or to none. */
static const Layer *layer_to_share(const Model *model)
{
    size_t i = model->layer_count - 1;
    while (i > 0 && !model->layers[i].attention.norm_before_rotary) i--;
    return &model->layers[i];
}

static void take_activations(ModelPass *pass, Arena *arena)
{
    const Model *model = pass->model;
    if (pass->spec.stretches > 1) take_stretch_buffers(pass, arena);
    size_t residual = token_count(pass) * model->width;
    pass->rotary = arena_take(arena, pass->shape.tokens * model->head_width);
    for (size_t i = 0; i <= model->layer_count; i++)
        pass->x[i] = pass->purpose == PASS_TRAIN || i < 2 ? arena_take(arena, residual) : pass->x[i - 2];
    bool sharing = !keeps_attention(pass);
    real *attention = sharing ? arena_take(arena, shared_attention_count(pass)) : NULL;
    for (size_t i = 0; i < model->layer_count; i++) {
        const Layer *layer = keeps_layers(pass) ? &model->layers[i] : layer_to_share(model);
        pass->saved[i] = i == 0 || keeps_layers(pass)
                             ? layer_take_saved(model, layer, &pass->shape, attention, sharing, arena)
                             : pass->saved[0];
    }
}

/* ---- scratch: taken here by plan_scratch() as by the passes themselves ---- */

/* d_x (B, N, C) */
static real *take_residual(const ModelPass *pass, Arena *scratch)
{
    return arena_take(scratch, token_count(pass) * pass->model->width);
}

static void plan_scratch(const ModelPass *pass, Arena *scratch)
{
    const Model *model = pass->model;
    if (pass->purpose == PASS_TRAIN) take_residual(pass, scratch);
    if (pass->purpose != PASS_READ) output_layer_plan(model, token_count(pass), scratch);
    for (size_t i = 0; i < model->layer_count; i++)
        layer_plan(model, &model->layers[i], &pass->spec, &pass->shape, pass->purpose, scratch);
}

/* Without memory yet; `bytes` is what it needs. */
static ModelPass *plan_pass(const Model *model, const PassSpec *spec, int position, int segments, PassPurpose purpose,
                            PassBytes *bytes)
{
    ModelPass *pass = checked_calloc(1, sizeof *pass);
    *pass = (ModelPass){.model = model, .spec = *spec, .purpose = purpose};
    pass->shape = pass_shape(spec, position, segments);
    for (size_t k = 0; k < spec->stretches; k++) pass->tokens += model_pass_range(pass, k).count;
    pass->shape.tokens = pass_longest_range(spec, position, segments);
    if (purpose == PASS_READ) pass->shape.context_length = ATTENTION_NO_END;
    pass->x = checked_calloc(model->layer_count + 1, sizeof *pass->x);
    pass->saved = checked_calloc(model->layer_count, sizeof *pass->saved);
    Arena activations = arena_measure(), scratch = arena_measure();
    take_activations(pass, &activations);
    plan_scratch(pass, &scratch);
    *bytes = (PassBytes){activations.peak, scratch.peak};
    return pass;
}

ModelPass *model_pass_create(const Model *model, const PassSpec *spec, SequenceLink *link, PassPurpose purpose)
{
    PassBytes bytes;
    ModelPass *pass = plan_pass(model, spec, link->position, link->segments, purpose, &bytes);
    pass->link = link;
    pass->activations = arena_create(bytes.activations, "activations");
    pass->scratch = arena_create(bytes.scratch, "scratch memory");
    take_activations(pass, &pass->activations);
    if (spec->stretches == 1)
        rotary_fill_table(pass->rotary, pass->shape.first_token, pass->shape.tokens, model->rotary_turns,
                          model->head_width);
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

const Model *model_pass_model(const ModelPass *pass) { return pass->model; }

const PassSpec *model_pass_spec(const ModelPass *pass) { return &pass->spec; }

size_t model_pass_tokens(const ModelPass *pass) { return pass->tokens; }

TokenRange model_pass_range(const ModelPass *pass, size_t stretch)
{
    return range_of(&pass->spec, stretch, pass->shape.position, pass->shape.segments);
}

int64_t model_pass_take_clamped(ModelPass *pass)
{
    int64_t clamped = pass->clamped;
    pass->clamped = 0;
    return clamped;
}

PassBytes model_pass_bytes(const Model *model, const PassSpec *spec, int position, int segments, PassPurpose purpose)
{
    PassBytes bytes;
    model_pass_destroy(plan_pass(model, spec, position, segments, purpose, &bytes));
    return bytes;
}

/* ---- forward and backward ------------------------------------------------------------------------------------------- */

static LayerRun layer_run(ModelPass *pass, ParamStore *params, const TokenBatch *tokens)
{
    ASSERT(pass->spec.documents == (tokens->document_starts != NULL));
    return (LayerRun){
        .model = pass->model,
        .shape = pass->shape,
        .link = pass->spec.stretches > 1 ? &pass->carried.link : pass->link,
        .carried = pass->spec.stretches > 1 ? &pass->carried : NULL,
        .document_starts = tokens->document_starts,
        .rotary = pass->rotary,
        .params = params,
        .scratch = &pass->scratch,
        .clamped = &pass->clamped,
    };
}

static void layers_forward(ModelPass *pass, const LayerRun *run, const int32_t *inputs)
{
    const Model *model = pass->model;
    phase_begin(PHASE_EMBEDDING);
    run->params->acquire(run->params, model->embedding_group);
    embedding_forward(pass->x[0], param_values(run->params, model->embedding), inputs, token_count(pass), model->width);
    run->params->release(run->params, model->embedding_group);
    for (size_t i = 0; i < model->layer_count; i++) {
        pass->carried.layer = i;
        layer_forward(run, i, &pass->saved[i], pass->x[i + 1], pass->x[i]);
    }
}

/* ---- one stretch ----------------------------------------------------------------------------------------------------- */

/* The tokens of a stretch, or a number for each of them, between (B, all tokens) and (B, N). */
static size_t in_sequence(const ModelPass *pass, size_t sequence, size_t stretch)
{
    size_t before = 0;
    for (size_t k = 0; k < stretch; k++) before += model_pass_range(pass, k).count;
    return sequence * pass->tokens + before;
}

static TokenBatch stretch_tokens(const ModelPass *pass, const TokenBatch *batch, size_t stretch)
{
    size_t N = pass->shape.tokens, bytes = N * sizeof *batch->inputs;
    if (pass->spec.stretches == 1) return *batch;
    for (size_t s = 0; s < pass->shape.sequences; s++) {
        TokenBatch to = token_batch_from(&pass->part, s * N),
                   from = token_batch_from(batch, in_sequence(pass, s, stretch));
        memcpy(to.inputs, from.inputs, bytes);
        memcpy(to.targets, from.targets, bytes);
        if (to.document_starts) memcpy(to.document_starts, from.document_starts, bytes);
    }
    return pass->part;
}

/* Turns the pass to a stretch. */
static void select_stretch(ModelPass *pass, size_t stretch, bool recording)
{
    if (pass->spec.stretches == 1) return;
    TokenRange range = model_pass_range(pass, stretch);
    pass->shape.first_token = range.first;
    pass->shape.tokens = range.count;
    pass->carried.stretch = stretch;
    pass->carried.recording = recording;
    rotary_fill_table(pass->rotary, range.first, range.count, pass->model->rotary_turns, pass->model->head_width);
}

static OutputRun output_run(ModelPass *pass, ParamStore *params, const int32_t *targets)
{
    return (OutputRun){
        .model = pass->model,
        .params = params,
        .scratch = &pass->scratch,
        .x = pass->x[pass->model->layer_count],
        .targets = targets,
        .tokens = token_count(pass),
        .z_loss = (real)pass->spec.z_loss,
        .label_smoothing = (real)pass->spec.label_smoothing,
    };
}

static double evaluate_stretch(ModelPass *pass, const LayerRun *run, const TokenBatch *tokens, real *losses,
                               uint8_t *correct)
{
    layers_forward(pass, run, tokens->inputs);
    OutputRun output = output_run(pass, run->params, tokens->targets);
    output.correct = correct;
    return output_layer_loss(&output, losses);
}

static LayerRun train_run(ModelPass *pass, ParamStore *params, const TokenBatch *tokens, DropoutKey dropout)
{
    LayerRun run = layer_run(pass, params, tokens);
    run.dropout_rate = pass->spec.dropout;
    run.dropout = dropout;
    return run;
}

/* What recomputation did not keep of a layer; the last one's is still there. */
static void compute_again(ModelPass *pass, const LayerRun *run, size_t layer)
{
    const Model *model = pass->model;
    if (layer + 1 == model->layer_count) return;
    if (recomputes(pass, RECOMPUTE_LAYER)) /* the last residual stream is free by now: room for the repeated output */
        layer_forward(run, layer, &pass->saved[layer], pass->x[model->layer_count], pass->x[layer]);
    else if (recomputes(pass, RECOMPUTE_ATTENTION))
        layer_attention_again(run, layer, &pass->saved[layer]);
}

/* `last`: no other stretch of these sequences adds to the gradients. */
static double train_stretch(ModelPass *pass, const LayerRun *run, const TokenBatch *tokens, real loss_scale, bool last)
{
    const Model *model = pass->model;
    ParamStore *params = run->params;
    layers_forward(pass, run, tokens->inputs);
    size_t mark = arena_mark(&pass->scratch);
    real *d_x = take_residual(pass, &pass->scratch);
    OutputRun output = output_run(pass, params, tokens->targets);
    double sum = output_layer_backward(&output, d_x, loss_scale);
    params->gradients_added(params, model->output_group, last);
    for (size_t i = model->layer_count; i-- > 0;) {
        pass->carried.layer = i;
        compute_again(pass, run, i);
        layer_backward(run, i, &pass->saved[i], d_x, pass->x[i]);
        params->gradients_added(params, model->layers[i].group, last);
    }
    phase_begin(PHASE_EMBEDDING);
    embedding_backward(param_gradient(params, model->embedding), d_x, tokens->inputs, token_count(pass), model->width);
    params->gradients_added(params, model->embedding_group, last);
    arena_release(&pass->scratch, mark);
    return sum;
}

/* ---- whole sequences ------------------------------------------------------------------------------------------------- */

double model_evaluate(ModelPass *pass, ParamStore *params, const TokenBatch *batch, real *losses, uint8_t *correct,
                      const ShareWatch *watch)
{
    double sum = 0;
    if (pass->spec.stretches > 1) carried_link_start(&pass->carried, SCAN_FORWARD);
    for (size_t k = 0; k < pass->spec.stretches; k++) {
        select_stretch(pass, k, true);
        size_t N = pass->shape.tokens;
        real *part = losses && pass->spec.stretches > 1 ? pass->losses : losses;
        uint8_t *right = correct && pass->spec.stretches > 1 ? pass->correct : correct;
        TokenBatch tokens = stretch_tokens(pass, batch, k);
        LayerRun run = layer_run(pass, params, &tokens);
        if (watch) run.watch = *watch;
        sum += evaluate_stretch(pass, &run, &tokens, part, right);
        for (size_t s = 0; part != losses && s < pass->shape.sequences; s++)
            memcpy(losses + in_sequence(pass, s, k), part + s * N, N * sizeof *part);
        for (size_t s = 0; right != correct && s < pass->shape.sequences; s++)
            memcpy(correct + in_sequence(pass, s, k), right + s * N, N);
    }
    return sum;
}

/* The first time through, forward only, finds the sums with which each stretch begins; the last stretch needs no first
   time. */
static void record_stretches(ModelPass *pass, ParamStore *params, const TokenBatch *batch, DropoutKey dropout)
{
    carried_link_start(&pass->carried, SCAN_FORWARD);
    for (size_t k = 0; k + 1 < pass->spec.stretches; k++) {
        select_stretch(pass, k, true);
        TokenBatch tokens = stretch_tokens(pass, batch, k);
        LayerRun run = train_run(pass, params, &tokens, dropout);
        layers_forward(pass, &run, tokens.inputs);
    }
    carried_link_start(&pass->carried, SCAN_BACKWARD);
}

double model_train(ModelPass *pass, ParamStore *params, const TokenBatch *batch, real loss_scale, DropoutKey dropout)
{
    double sum = 0;
    if (pass->spec.stretches > 1) record_stretches(pass, params, batch, dropout);
    for (size_t k = pass->spec.stretches; k-- > 0;) {
        select_stretch(pass, k, false);
        TokenBatch tokens = stretch_tokens(pass, batch, k);
        LayerRun run = train_run(pass, params, &tokens, dropout);
        sum += train_stretch(pass, &run, &tokens, loss_scale, k == 0);
    }
    return sum;
}

/* ---- prompts --------------------------------------------------------------------------------------------------------- */

const real *model_read(ModelPass *pass, ParamStore *params, const int32_t *tokens, size_t count, size_t position,
                       real *const *states, DecodeShape state_shape)
{
    TokenBatch one_document = {0};
    pass->shape.first_token = position;
    pass->shape.tokens = count;
    rotary_fill_table(pass->rotary, position, count, pass->model->rotary_turns, pass->model->head_width);
    LayerRun run = layer_run(pass, params, &one_document);
    run.states = states;
    run.state_shape = state_shape;
    layers_forward(pass, &run, tokens);
    return pass->x[pass->model->layer_count] + (count - 1) * pass->model->width;
}
