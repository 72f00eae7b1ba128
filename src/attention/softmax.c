/* Softmax attention: weights exp(<q,k>/sqrt(h)), with the running maximum of each row (Milakov and Gimelshein 2018), so
   that nothing overflows and no row of weights is ever held whole. The baseline of every comparison. With attention.qk_norm
   the queries and keys come normed, see AttentionLayer.norm_before_rotary.

   Saved: log(sum of weights) per row, from which the backward pass has normalised weights in one exponential. */
#include <math.h>
#include <string.h>

#include "src/attention/exact.h"
#include "src/attention/kinds.h"
#include "src/attention/qk_norm.h"
#include "src/attention/ring.h"
#include "src/base/memory.h"

static real softmax_scale(const AttentionLayer *layer) { return 1 / real_sqrt((real)layer->head_width); }

static const OptionRow *softmax_options(int *count)
{
    static const OptionRow rows[] = {
        {"attention", "qk_norm", OPTION_BOOL, offsetof(AttentionSpec, qk_norm), "false", 0, 0, "", true,
         "layer norms of queries and keys, over the numbers of a head, before the rotary embedding (softmax)"},
    };
    *count = sizeof rows / sizeof *rows;
    return rows;
}

static void softmax_declare(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    layer->norm_before_rotary = layer->spec.qk_norm;
    if (layer->norm_before_rotary) qk_norm_declare(layer, table, prefix);
}

static void softmax_plan(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch)
{
    size_t mark = arena_mark(scratch);
    ring_take_buffers(layer, shape, BACKWARD, scratch);
    ring_plan(layer, shape, scratch);
    arena_take(scratch, ring_row_count(layer, shape));
    arena_release(scratch, mark);
}

static void softmax_forward(const AttentionRun *run)
{
    size_t C = run->layer->heads * run->layer->head_width, tokens = run->shape.sequences * run->shape.tokens;
    size_t rows = ring_row_count(run->layer, &run->shape);
    size_t mark = arena_mark(run->scratch);
    RingBuffers buffers = ring_take_buffers(run->layer, &run->shape, FORWARD, run->scratch);
    real *maxima = arena_take(run->scratch, rows), *sums = run->saved; /* (B, H, N) */
    ConstMatrix qkv = const_matrix_dense(run->qkv, tokens, 3 * C);
    for (size_t i = 0; i < rows; i++) maxima[i] = -INFINITY;
    memset(sums, 0, rows * sizeof *sums);
    clear_memory(run->out, tokens * C * sizeof *run->out);
    PairWeight weight = pair_weight_exponential(softmax_scale(run->layer));
    ring_pack(run, &buffers, const_matrix_columns(qkv, C, C));
    ring_forward(run, &buffers, &weight, const_matrix_columns(qkv, 0, C), sums, maxima);
    attention_divide(run, sums);
    ring_count_shares(run, sums, 0);
    for (size_t i = 0; i < rows; i++) sums[i] = maxima[i] + real_log(sums[i]);
    arena_release(run->scratch, mark);
}

static void softmax_backward(const AttentionRun *run)
{
    size_t C = run->layer->heads * run->layer->head_width, tokens = run->shape.sequences * run->shape.tokens;
    size_t mark = arena_mark(run->scratch);
    RingBuffers buffers = ring_take_buffers(run->layer, &run->shape, BACKWARD, run->scratch);
    PairWeight weight = pair_weight_exponential(softmax_scale(run->layer));
    ConstMatrix qkv = const_matrix_dense(run->qkv, tokens, 3 * C);
    Matrix d_qkv = matrix_dense(run->d_qkv, tokens, 3 * C);
    clear_memory(run->d_qkv, tokens * 3 * C * sizeof *run->d_qkv);
    ring_pack(run, &buffers, const_matrix_columns(qkv, C, C));
    ring_backward(run, &buffers, &weight, const_matrix_columns(qkv, 0, C), run->saved, 0, matrix_columns(d_qkv, 0, C));
    ring_unpack(run, &buffers, matrix_columns(d_qkv, C, C));
    arena_release(run->scratch, mark);
}

static void softmax_decode(const DecodeRun *run)
{
    const AttentionLayer *layer = run->layer;
    size_t h = layer->head_width, C = layer->heads * h, position = run->position;
    real scale = softmax_scale(layer);
    memcpy(run->state + position * 2 * C, run->qkv + C, 2 * C * sizeof(real)); /* row: k, v */
    for (size_t j = 0; j < layer->heads; j++) {
        real largest = -INFINITY, sum = 0, *o = run->out + j * h;
        const real *ages = ring_decode_ages(run, j);
        memset(o, 0, h * sizeof *o);
        for (size_t t = 0; t <= position; t++) {
            const real *key = run->state + t * 2 * C + j * h, *value = key + C;
            real score = 0;
            for (size_t c = 0; c < h; c++) score += run->qkv[j * h + c] * key[c];
            score = scale * score + (ages ? ages[t] : 0);
            real new_largest = score > largest ? score : largest;
            real factor = real_exp(largest - new_largest), weight = real_exp(score - new_largest);
            sum = sum * factor + weight;
            for (size_t c = 0; c < h; c++) o[c] = o[c] * factor + weight * value[c];
            largest = new_largest;
        }
        for (size_t c = 0; c < h; c++) o[c] /= sum;
    }
}

static void softmax_plan_decode(const AttentionLayer *layer, const DecodeShape *shape, Arena *scratch)
{
    (void)layer, (void)shape, (void)scratch;
}

const AttentionKind attention_softmax = {
    .name = "softmax",
    .summary = "exp(<q,k>/sqrt(h)), time quadratic in the context; the baseline",
    .options = softmax_options,
    .declare = softmax_declare,
    .saved_count = ring_row_count,
    .plan = softmax_plan,
    .forward = softmax_forward,
    .backward = softmax_backward,
    .decode_state_count = ring_decode_state_count,
    .decode_state_parts = ring_decode_state_parts,
    .decode = softmax_decode,
    .plan_decode = softmax_plan_decode,
    .cost = ring_cost,
};
