#include "src/model/decode.h"

#include <stdlib.h>
#include <string.h>

#include "src/attention/gate.h"
#include "src/attention/qk_norm.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/tensor/activation.h"
#include "src/tensor/blas.h"
#include "src/tensor/cross_entropy.h"
#include "src/tensor/layernorm.h"
#include "src/tensor/rotary.h"

struct Decoder {
    const Model *model;
    ParamStore *params;
    size_t position;
    DecodeShape shape;
    Arena memory, scratch;
    real **states;                   /* per layer: AttentionKind.decode_state_count() */
    real *x, *normed, *out, *branch; /* (C) */
    real *qkv;                       /* (3C) */
    real *hidden, *active;           /* (2F or F), (F) */
    real *logits;                    /* (V) */
    real *rotary;                    /* (h) */
    real *gate;                      /* (H) */
    size_t state_bytes;
};

static void take_memory(Decoder *decoder, Arena *arena)
{
    const Model *model = decoder->model;
    for (size_t i = 0; i < model->layer_count; i++) {
        const AttentionLayer *layer = &model->layers[i].attention;
        decoder->states[i] = arena_take(arena, layer->kind->decode_state_count(layer, &decoder->shape));
    }
    decoder->state_bytes = arena->used;
    decoder->x = arena_take(arena, model->width);
    decoder->normed = arena_take(arena, model->width);
    decoder->out = arena_take(arena, model->width);
    decoder->branch = arena_take(arena, model->width);
    decoder->qkv = arena_take(arena, 3 * model->width);
    decoder->hidden = arena_take(arena, model->feedforward_in_width);
    decoder->active = arena_take(arena, model->feedforward_width);
    decoder->logits = arena_take(arena, model->vocab_size);
    decoder->rotary = arena_take(arena, model->head_width);
    decoder->gate = arena_take(arena, model->heads);
}

Decoder *decoder_create(const Model *model, ParamStore *params, DecodeShape shape)
{
    Decoder *decoder = checked_calloc(1, sizeof *decoder);
    *decoder = (Decoder){.model = model, .params = params};
    decoder->shape = shape;
    decoder->states = checked_calloc(model->layer_count, sizeof *decoder->states);
    Arena memory = arena_measure(), scratch = arena_measure();
    take_memory(decoder, &memory);
    for (size_t i = 0; i < model->layer_count; i++) {
        const AttentionLayer *layer = &model->layers[i].attention;
        layer->kind->plan_decode(layer, &decoder->shape, &scratch);
        if (attention_has_gate(layer)) gate_plan(layer, &(AttentionShape){.sequences = 1, .tokens = 1}, &scratch);
    }
    decoder->memory = arena_create(memory.peak, "recurrent state");
    decoder->scratch = arena_create(scratch.peak, "scratch memory");
    take_memory(decoder, &decoder->memory);
    memset(decoder->memory.base, 0, decoder->state_bytes);
    return decoder;
}

void decoder_destroy(Decoder *decoder)
{
    if (!decoder) return;
    arena_destroy(&decoder->memory);
    arena_destroy(&decoder->scratch);
    free(decoder->states);
    free(decoder);
}

void decoder_seek(Decoder *decoder, size_t position) { decoder->position = position; }

size_t decoder_state_bytes(const Decoder *decoder) { return decoder->state_bytes; }

static void norm(const Decoder *decoder, real *y, const real *x, const int index[2])
{
    size_t C = decoder->model->width;
    NormWeights weights = {param_values(decoder->params, index[0]), param_values(decoder->params, index[1])};
    layernorm_forward(matrix_dense(y, 1, C), const_matrix_dense(x, 1, C), weights, 1);
}

/* q and k become q' and k' in place, where they are normed before the rotary embedding. */
static void qk_norm_of_layer(Decoder *decoder, const AttentionLayer *attention)
{
    size_t C = decoder->model->width;
    if (!attention->norm_before_rotary) return;
    qk_norm_forward(attention, decoder->params, matrix_dense(decoder->qkv, 1, C), matrix_dense(decoder->qkv + C, 1, C),
                    decoder->qkv);
}

static void add_branch(Decoder *decoder)
{
    for (size_t c = 0; c < decoder->model->width; c++) decoder->x[c] += decoder->branch[c];
}

static void attend(Decoder *decoder, size_t index)
{
    const AttentionLayer *layer = &decoder->model->layers[index].attention;
    DecodeRun run = {
        .layer = layer,
        .shape = decoder->shape,
        .params = decoder->params,
        .state = decoder->states[index],
        .position = decoder->position,
        .qkv = decoder->qkv,
        .out = decoder->out,
        .scratch = &decoder->scratch,
    };
    if (attention_has_gate(layer)) {
        ConstMatrix x = const_matrix_dense(decoder->normed, 1, decoder->model->width);
        gate_forward(layer, decoder->params, decoder->gate, x, 1, &decoder->scratch);
        run.gate = decoder->gate;
    }
    layer->kind->decode(&run);
}

static void step_layer(Decoder *decoder, size_t index)
{
    const Model *model = decoder->model;
    const Layer *layer = &model->layers[index];
    size_t C = model->width, F = model->feedforward_width;
    norm(decoder, decoder->normed, decoder->x, layer->attention_norm);
    matvec(decoder->qkv, param_values(decoder->params, layer->qkv), decoder->normed, 3 * C, C);
    qk_norm_of_layer(decoder, &layer->attention);
    rotary_apply(decoder->qkv, 3 * C, decoder->rotary, 1, 1, 2 * model->heads, model->head_width, +1);
    attend(decoder, index);
    matvec(decoder->branch, param_values(decoder->params, layer->out), decoder->out, C, C);
    add_branch(decoder);
    norm(decoder, decoder->normed, decoder->x, layer->feedforward_norm);
    matvec(decoder->hidden, param_values(decoder->params, layer->feedforward_in), decoder->normed,
           model->feedforward_in_width, C);
    if (model->feedforward == FEEDFORWARD_GLU)
        glu_forward(decoder->active, decoder->hidden, 1, F);
    else
        gelu_forward(decoder->active, decoder->hidden, F);
    matvec(decoder->branch, param_values(decoder->params, layer->feedforward_out), decoder->active, C, F);
    add_branch(decoder);
}

const real *decoder_step(Decoder *decoder, int32_t token)
{
    const Model *model = decoder->model;
    CHECK(decoder->position < decoder->shape.max_tokens, "internal error: the decoder was made for %zu tokens",
          decoder->shape.max_tokens);
    rotary_fill_table(decoder->rotary, decoder->position, 1, model->head_width, model->rotary_pairs);
    memcpy(decoder->x, param_values(decoder->params, model->embedding) + (size_t)token * model->width,
           model->width * sizeof(real));
    for (size_t i = 0; i < model->layer_count; i++) step_layer(decoder, i);
    norm(decoder, decoder->normed, decoder->x, model->final_norm);
    matvec(decoder->logits, param_values(decoder->params, model->embedding), decoder->normed, model->vocab_size,
           model->width);
    finish_logits(decoder->logits, param_values(decoder->params, model->logit_bias), model->vocab_size,
                  (real)model->logit_soft_cap);
    decoder->position++;
    return decoder->logits;
}
