/* Exact polynomial attention: weights (scale <q',k'>)^p, q' and k' layer-normed, normaliser one + their sum.

   Quadratic in the context like softmax; what the sketches approximate. Saved: the normaliser per row. */
#include <string.h>

#include "src/attention/exact.h"
#include "src/attention/kinds.h"
#include "src/attention/power_scale.h"
#include "src/attention/qk_norm.h"
#include "src/attention/ring.h"
#include "src/base/memory.h"

static void polynomial_plan(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch)
{
    size_t mark = arena_mark(scratch), C = layer->heads * layer->head_width;
    ring_take_buffers(layer, shape, BACKWARD, scratch);
    for (int i = 0; i < 3; i++) arena_take(scratch, shape->sequences * shape->tokens * C); /* q', its gradient, k' */
    ring_plan(layer, shape, scratch);
    qk_norm_plan(layer, scratch);
    arena_release(scratch, mark);
}

/* (B N, C): q', k' or a gradient of theirs */
static Matrix take_rows(const AttentionRun *run)
{
    size_t C = run->layer->heads * run->layer->head_width, tokens = run->shape.sequences * run->shape.tokens;
    return matrix_dense(arena_take(run->scratch, tokens * C), tokens, C);
}

static void polynomial_forward(const AttentionRun *run)
{
    size_t C = run->layer->heads * run->layer->head_width, tokens = run->shape.sequences * run->shape.tokens;
    size_t rows = ring_row_count(run->layer, &run->shape), mark = arena_mark(run->scratch);
    RingBuffers buffers = ring_take_buffers(run->layer, &run->shape, FORWARD, run->scratch);
    Matrix queries = take_rows(run), keys = take_rows(run);
    real *sums = run->saved; /* (B, H, N) */
    PowerScale powers = power_scale(run->layer, run->params);
    PairWeight weight = pair_weight_power(powers.scale, (int)run->layer->spec.degree);
    for (size_t i = 0; i < rows; i++) sums[i] = powers.one;
    clear_memory(run->out, tokens * C * sizeof *run->out);
    qk_norm_forward(run->layer, run->params, queries, keys, run->qkv);
    ring_pack(run, &buffers, matrix_const(keys));
    ring_forward(run, &buffers, &weight, matrix_const(queries), sums, NULL);
    attention_divide(run, sums);
    ring_count_shares(run, sums, powers.one);
    arena_release(run->scratch, mark);
}

static void polynomial_backward(const AttentionRun *run)
{
    size_t C = run->layer->heads * run->layer->head_width, tokens = run->shape.sequences * run->shape.tokens;
    size_t mark = arena_mark(run->scratch);
    RingBuffers buffers = ring_take_buffers(run->layer, &run->shape, BACKWARD, run->scratch);
    Matrix queries = take_rows(run), d_queries = take_rows(run);
    Matrix keys = take_rows(run), d_keys = keys; /* the keys are in the packet by then */
    PowerScale powers = power_scale(run->layer, run->params);
    PairWeight weight = pair_weight_power(powers.scale, (int)run->layer->spec.degree);
    clear_memory(d_queries.at, tokens * C * sizeof *d_queries.at);
    clear_memory(run->d_qkv, tokens * 3 * C * sizeof *run->d_qkv);
    qk_norm_forward(run->layer, run->params, queries, keys, run->qkv);
    ring_pack(run, &buffers, matrix_const(keys));
    ring_backward(run, &buffers, &weight, matrix_const(queries), run->saved, powers.one, d_queries);
    ring_unpack(run, &buffers, d_keys);
    qk_norm_backward(run->layer, run->params, matrix_dense(run->d_qkv, tokens, 3 * C), matrix_const(d_queries),
                     matrix_const(d_keys), const_matrix_dense(run->qkv, tokens, 3 * C), run->scratch);
    arena_release(run->scratch, mark);
}

static void polynomial_decode(const DecodeRun *run)
{
    const AttentionLayer *layer = run->layer;
    size_t h = layer->head_width, C = layer->heads * h, mark = arena_mark(run->scratch), position = run->position;
    real *query = arena_take(run->scratch, C), *row = run->state + position * 2 * C; /* k', v */
    PowerScale powers = power_scale(layer, run->params);
    qk_norm_forward(layer, run->params, matrix_dense(query, 1, C), matrix_dense(row, 1, C), run->qkv);
    memcpy(row + C, run->qkv + 2 * C, C * sizeof *row);
    for (size_t j = 0; j < layer->heads; j++) {
        real sum = powers.one, *o = run->out + j * h;
        const real *ages = ring_decode_ages(run, j);
        memset(o, 0, h * sizeof *o);
        for (size_t t = 0; t <= position; t++) {
            const real *key = run->state + t * 2 * C + j * h, *value = key + C;
            real score = 0;
            for (size_t c = 0; c < h; c++) score += query[j * h + c] * key[c];
            real weight = power_of(powers.scale * score, (int)layer->spec.degree);
            if (ages) weight *= real_exp(ages[t]);
            sum += weight;
            for (size_t c = 0; c < h; c++) o[c] += weight * value[c];
        }
        for (size_t c = 0; c < h; c++) o[c] /= sum < LEAST_NORMALISER ? LEAST_NORMALISER : sum;
    }
    arena_release(run->scratch, mark);
}

static void polynomial_plan_decode(const AttentionLayer *layer, const DecodeShape *shape, Arena *scratch)
{
    (void)shape;
    size_t mark = arena_mark(scratch);
    arena_take(scratch, layer->heads * layer->head_width);
    arena_release(scratch, mark);
}

const AttentionKind attention_polynomial = {
    .name = "polynomial",
    .summary = "exact (scale <q',k'>)^p, time quadratic in the context",
    .check = power_degree_check,
    .declare = qk_norm_declare,
    .saved_count = ring_row_count,
    .plan = polynomial_plan,
    .forward = polynomial_forward,
    .backward = polynomial_backward,
    .decode_state_count = ring_decode_state_count,
    .decode_state_parts = ring_decode_state_parts,
    .decode = polynomial_decode,
    .plan_decode = polynomial_plan_decode,
    .cost = ring_cost,
};
