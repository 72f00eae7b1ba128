#include "src/model/decode.h"

#include <stdlib.h>
#include <string.h>

#include "src/attention/gate.h"
#include "src/attention/qk_norm.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/model/pass.h"
#include "src/tensor/activation.h"
#include "src/tensor/blas.h"
#include "src/tensor/cross_entropy.h"
#include "src/tensor/embedding.h"
#include "src/tensor/layernorm.h"
#include "src/tensor/rotary.h"

/* Tokens of a prompt that are computed at a time, or a block if that is longer: enough to keep products busy, few enough for
   their activations to be small beside the weights. */
enum { READ_TOKENS = 2048 };

/* Buffers have rows for S sequences, of which a step uses as many as it takes tokens, R. */
struct Decoder {
    const Model *model;
    ParamStore *params;
    DecodeShape shape;
    size_t sequences; /* S */
    size_t rows;      /* R of the step under way */
    Arena memory, scratch;
    real **states;                   /* (S, layers): AttentionKind.decode_state_count() each */
    size_t *positions;               /* (S) */
    real *x, *normed, *out, *branch; /* (R, C) */
    real *qkv;                       /* (R, 3C) */
    real *hidden, *active;           /* (R, 2F or F), (R, F) */
    real *logits;                    /* (R, V) */
    real *rotary;                    /* (R, h) */
    real *gate;                      /* (R, H) */
    size_t state_bytes;              /* of all sequences */
    SequenceLink link;
    ModelPass *reader; /* of prompts; made when it is needed */
    size_t reader_tokens;
};

static real **states_of(const Decoder *decoder, size_t sequence)
{
    return decoder->states + sequence * decoder->model->layer_count;
}

static void take_memory(Decoder *decoder, Arena *arena)
{
    const Model *model = decoder->model;
    size_t S = decoder->sequences, C = model->width;
    for (size_t s = 0; s < S; s++)
        for (size_t i = 0; i < model->layer_count; i++) {
            const AttentionLayer *layer = &model->layers[i].attention;
            states_of(decoder, s)[i] = arena_take(arena, layer->kind->decode_state_count(layer, &decoder->shape));
        }
    decoder->state_bytes = arena->used;
    decoder->x = arena_take(arena, S * C);
    decoder->normed = arena_take(arena, S * C);
    decoder->out = arena_take(arena, S * C);
    decoder->branch = arena_take(arena, S * C);
    decoder->qkv = arena_take(arena, S * 3 * C);
    decoder->hidden = arena_take(arena, S * model->feedforward_in_width);
    decoder->active = arena_take(arena, S * model->feedforward_width);
    decoder->logits = arena_take(arena, S * model->vocab_size);
    decoder->rotary = arena_take(arena, S * model->head_width);
    decoder->gate = arena_take(arena, S * model->heads);
}

/* Without memory yet; the arenas measure what it needs. */
static Decoder *plan_decoder(const Model *model, DecodeShape shape, size_t sequences)
{
    Decoder *decoder = checked_calloc(1, sizeof *decoder);
    *decoder = (Decoder){.model = model, .shape = shape, .sequences = sequences};
    decoder->states = checked_calloc(sequences * model->layer_count, sizeof *decoder->states);
    decoder->positions = checked_calloc(sequences, sizeof *decoder->positions);
    decoder->memory = arena_measure();
    decoder->scratch = arena_measure();
    take_memory(decoder, &decoder->memory);
    for (size_t i = 0; i < model->layer_count; i++) {
        const AttentionLayer *layer = &model->layers[i].attention;
        layer->kind->plan_decode(layer, &decoder->shape, &decoder->scratch);
        if (attention_has_gate(layer))
            gate_plan(layer, &(AttentionShape){.sequences = sequences, .tokens = 1}, &decoder->scratch);
    }
    return decoder;
}

Decoder *decoder_create(const Model *model, ParamStore *params, DecodeShape shape, size_t sequences)
{
    Decoder *decoder = plan_decoder(model, shape, sequences);
    decoder->params = params;
    decoder->link = sequence_link_single();
    decoder->memory = arena_create(decoder->memory.peak, "recurrent state");
    decoder->scratch = arena_create(decoder->scratch.peak, "scratch memory");
    take_memory(decoder, &decoder->memory);
    memset(decoder->memory.base, 0, decoder->state_bytes);
    return decoder;
}

void decoder_destroy(Decoder *decoder)
{
    if (!decoder) return;
    model_pass_destroy(decoder->reader);
    arena_destroy(&decoder->memory);
    arena_destroy(&decoder->scratch);
    free(decoder->states);
    free(decoder->positions);
    free(decoder);
}

void decoder_restart(Decoder *decoder, size_t sequence)
{
    for (size_t i = 0; i < decoder->model->layer_count; i++) {
        const AttentionLayer *layer = &decoder->model->layers[i].attention;
        real *state = states_of(decoder, sequence)[i];
        memset(state, 0, layer->kind->decode_state_count(layer, &decoder->shape) * sizeof *state);
    }
    decoder->positions[sequence] = 0;
}

void decoder_seek(Decoder *decoder, size_t sequence, size_t position) { decoder->positions[sequence] = position; }

size_t decoder_position(const Decoder *decoder, size_t sequence) { return decoder->positions[sequence]; }

size_t decoder_state_bytes(const Decoder *decoder) { return decoder->state_bytes / decoder->sequences; }

int decoder_state_parts(const Decoder *decoder, size_t sequence, size_t layer, StatePart parts[ATTENTION_STATE_PARTS])
{
    const AttentionLayer *attention = &decoder->model->layers[layer].attention;
    StatePart used[ATTENTION_STATE_PARTS];
    DecodeShape so_far = {decoder->positions[sequence], decoder->shape.block_length};
    int count =
        attention->kind->decode_state_parts(attention, &decoder->shape, states_of(decoder, sequence)[layer], parts);
    attention->kind->decode_state_parts(attention, &so_far, NULL, used);
    for (int i = 0; i < count; i++) parts[i].rows = used[i].rows;
    return count;
}

/* ---- one token of each of some sequences ----------------------------------------------------------------------------- */

/* y (R, out) = x (R, in) w^T, w (out, in): row `param` of the table. */
static void product(const Decoder *decoder, real *y, int param, const real *x, size_t out, size_t in)
{
    const real *w = param_values(decoder->params, param);
    if (decoder->rows == 1)
        matvec(y, w, x, out, in);
    else
        dense_forward(y, x, w, decoder->rows, out, in);
}

static void norm(const Decoder *decoder, real *y, const real *x, const int index[2])
{
    size_t C = decoder->model->width;
    NormWeights weights = {param_values(decoder->params, index[0]), param_values(decoder->params, index[1])};
    layernorm_forward(matrix_dense(y, decoder->rows, C), const_matrix_dense(x, decoder->rows, C), weights, 1);
}

/* q and k become q' and k' in place, where they are normed before the rotary embedding. */
static void qk_norm_of_layer(Decoder *decoder, const AttentionLayer *attention)
{
    size_t C = decoder->model->width;
    if (!attention->norm_before_rotary) return;
    Matrix qkv = matrix_dense(decoder->qkv, decoder->rows, 3 * C);
    qk_norm_forward(attention, decoder->params, matrix_columns(qkv, 0, C), matrix_columns(qkv, C, C), decoder->qkv);
}

static void add_branch(Decoder *decoder)
{
    size_t count = decoder->rows * decoder->model->width;
    for (size_t c = 0; c < count; c++) decoder->x[c] += decoder->branch[c];
}

static void attend(Decoder *decoder, const size_t *sequences, size_t index)
{
    const AttentionLayer *layer = &decoder->model->layers[index].attention;
    size_t C = decoder->model->width, H = decoder->model->heads;
    if (attention_has_gate(layer))
        gate_forward(layer, decoder->params, decoder->gate, const_matrix_dense(decoder->normed, decoder->rows, C),
                     decoder->rows, &decoder->scratch);
    for (size_t row = 0; row < decoder->rows; row++)
        layer->kind->decode(&(DecodeRun){
            .layer = layer,
            .shape = decoder->shape,
            .params = decoder->params,
            .state = states_of(decoder, sequences[row])[index],
            .position = decoder->positions[sequences[row]],
            .qkv = decoder->qkv + row * 3 * C,
            .gate = attention_has_gate(layer) ? decoder->gate + row * H : NULL,
            .out = decoder->out + row * C,
            .scratch = &decoder->scratch,
        });
}

static void step_layer(Decoder *decoder, const size_t *sequences, size_t index)
{
    const Model *model = decoder->model;
    const Layer *layer = &model->layers[index];
    size_t C = model->width, F = model->feedforward_width, R = decoder->rows;
    norm(decoder, decoder->normed, decoder->x, layer->attention_norm);
    product(decoder, decoder->qkv, layer->qkv, decoder->normed, 3 * C, C);
    qk_norm_of_layer(decoder, &layer->attention);
    rotary_apply(decoder->qkv, 3 * C, decoder->rotary, R, R, 2 * model->heads, model->head_width, +1);
    attend(decoder, sequences, index);
    product(decoder, decoder->branch, layer->out, decoder->out, C, C);
    add_branch(decoder);
    norm(decoder, decoder->normed, decoder->x, layer->feedforward_norm);
    product(decoder, decoder->hidden, layer->feedforward_in, decoder->normed, model->feedforward_in_width, C);
    if (model->feedforward == FEEDFORWARD_GLU)
        glu_forward(decoder->active, decoder->hidden, R, F);
    else
        gelu_forward(decoder->active, decoder->hidden, R * F);
    product(decoder, decoder->branch, layer->feedforward_out, decoder->active, C, F);
    add_branch(decoder);
}

/* The logits of x (R, C), the last residual stream. */
static const real *finish(Decoder *decoder)
{
    const Model *model = decoder->model;
    size_t V = model->vocab_size;
    norm(decoder, decoder->normed, decoder->x, model->final_norm);
    product(decoder, decoder->logits, model->embedding, decoder->normed, V, model->width);
    for (size_t row = 0; row < decoder->rows; row++)
        finish_logits(decoder->logits + row * V, param_values(decoder->params, model->logit_bias), V,
                      (real)model->logit_soft_cap);
    return decoder->logits;
}

static void require_room(const Decoder *decoder, size_t sequence, size_t count)
{
    CHECK(decoder->positions[sequence] + count <= decoder->shape.max_tokens,
          "internal error: the decoder was made for %zu tokens", decoder->shape.max_tokens);
}

const real *decoder_step_all(Decoder *decoder, const size_t *sequences, const int32_t *tokens, size_t count)
{
    const Model *model = decoder->model;
    decoder->rows = count;
    for (size_t row = 0; row < count; row++) {
        require_room(decoder, sequences[row], 1);
        rotary_fill_table(decoder->rotary + row * model->head_width, decoder->positions[sequences[row]], 1,
                          model->rotary_turns, model->head_width);
    }
    embedding_forward(decoder->x, param_values(decoder->params, model->embedding), tokens, count, model->width);
    for (size_t i = 0; i < model->layer_count; i++) step_layer(decoder, sequences, i);
    for (size_t row = 0; row < count; row++) decoder->positions[sequences[row]]++;
    return finish(decoder);
}

const real *decoder_step(Decoder *decoder, int32_t token) { return decoder_step_all(decoder, &(size_t){0}, &token, 1); }

/* ---- prompts --------------------------------------------------------------------------------------------------------- */

/* Of the first of `count` tokens, as many as are read at a time. */
static PassSpec read_spec(DecodeShape shape, size_t count)
{
    size_t b = shape.block_length, most = larger(READ_TOKENS / b, 1) * b;
    return (PassSpec){.sequences = 1, .context_length = count < most ? count : most, .block_length = b, .stretches = 1};
}

size_t decoder_bytes(const Model *model, DecodeShape shape, size_t sequences, size_t prompt_tokens)
{
    Decoder *decoder = plan_decoder(model, shape, sequences);
    size_t bytes = decoder->memory.peak + decoder->scratch.peak;
    decoder_destroy(decoder);
    if (prompt_tokens == 0) return bytes;
    PassSpec spec = read_spec(shape, prompt_tokens);
    PassBytes reader = model_pass_bytes(model, &spec, 0, 1, PASS_READ);
    return bytes + reader.activations + reader.scratch;
}

/* How many of `count` tokens are read next; the reader has room for them. */
static size_t prepare_reader(Decoder *decoder, size_t count)
{
    PassSpec spec = read_spec(decoder->shape, count);
    count = spec.context_length;
    if (decoder->reader && decoder->reader_tokens >= count) return count;
    model_pass_destroy(decoder->reader);
    decoder->reader = model_pass_create(decoder->model, &spec, &decoder->link, PASS_READ);
    decoder->reader_tokens = count;
    return count;
}

const real *decoder_read(Decoder *decoder, size_t sequence, const int32_t *tokens, size_t count)
{
    size_t *position = &decoder->positions[sequence], C = decoder->model->width, b = decoder->shape.block_length;
    const real *logits = NULL, *last = NULL;
    require_room(decoder, sequence, count);
    for (; count > 0 && *position % b != 0; tokens++, count--) /* to the end of the block under way */
        logits = decoder_step_all(decoder, &sequence, tokens, 1);
    while (count > 0) {
        size_t part = prepare_reader(decoder, count);
        last = model_read(decoder->reader, decoder->params, tokens, part, *position, states_of(decoder, sequence),
                          decoder->shape);
        *position += part;
        tokens += part;
        count -= part;
    }
    if (!last) return logits;
    decoder->rows = 1;
    memcpy(decoder->x, last, C * sizeof *last);
    return finish(decoder);
}
