/* Linear attention token by token: the prefix state of complete blocks, and the rows of the block under way. */
#include <string.h>

#include "src/attention/linear_parts.h"
#include "src/attention/qk_norm.h"

/* The recurrent state of one head: the prefix state of all complete blocks, and the rows of the block under way. Neither
   grows with the position. */
typedef struct DecodeState {
    real *state;  /* (m (h + 1)) */
    real *lost;   /* (m (h + 1)): what rounding has taken from it so far (Kahan) */
    real *local;  /* (block, w): what the local part multiplies, k' or u(k); block = b, or fewer if tokens are fewer */
    real *values; /* (block, h) */
    real *u;      /* (block, r) */
} DecodeState;

static size_t decode_block(const Sizes *z, const DecodeShape *shape)
{
    return z->b < shape->max_tokens ? z->b : shape->max_tokens;
}

static size_t decode_head_count(const AttentionLayer *layer, const Sizes *z, const DecodeShape *shape)
{
    return 2 * z->state + decode_block(z, shape) * (linear_local_width(layer, z) + z->h + z->r);
}

static Sizes decode_sizes(const AttentionLayer *layer, const DecodeShape *shape)
{
    AttentionShape one = {
        .sequences = 1, .tokens = 1, .context_length = 1, .block_length = shape->block_length, .segments = 1};
    return linear_sizes(layer, &one);
}

size_t linear_decode_state_count(const AttentionLayer *layer, const DecodeShape *shape)
{
    Sizes z = decode_sizes(layer, shape);
    return z.H * decode_head_count(layer, &z, shape);
}

static DecodeState decode_state_at(const AttentionLayer *layer, const Sizes *z, const DecodeShape *shape, real *state,
                                   size_t j)
{
    size_t block = decode_block(z, shape);
    real *first = state + j * decode_head_count(layer, z, shape);
    real *local = first + 2 * z->state, *values = local + block * linear_local_width(layer, z);
    return (DecodeState){first, first + z->state, local, values, values + block * z->h};
}

typedef struct DecodeBuffers {
    PowerScale powers;
    real *query, *key;     /* (C) */
    real *u_query, *u_key; /* (H, r) */
    real *query_factors;   /* (H) */
    real *block_sum;       /* (state) */
    Panel panel;
} DecodeBuffers;

static DecodeBuffers take_decode_buffers(const Sizes *z, Arena *scratch)
{
    DecodeBuffers buffers = {0};
    buffers.query = arena_take(scratch, z->C);
    buffers.key = arena_take(scratch, z->C);
    buffers.u_query = arena_take(scratch, z->H * z->r);
    buffers.u_key = arena_take(scratch, z->H * z->r);
    buffers.query_factors = arena_take(scratch, z->H);
    buffers.block_sum = arena_take(scratch, z->state);
    buffers.panel = panel_in(z, arena_take(scratch, panel_count(z)));
    return buffers;
}

void linear_plan_decode(const AttentionLayer *layer, const DecodeShape *shape, Arena *scratch)
{
    Sizes z = decode_sizes(layer, shape);
    size_t mark = arena_mark(scratch);
    take_decode_buffers(&z, scratch);
    layer->map->plan(layer, 1, scratch);
    arena_release(scratch, mark);
}

/* state += x; what the sum cannot hold is kept for the next time. */
static void add_compensated(real *state, real *lost, const real *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        real term = x[i] - lost[i], sum = state[i] + term;
        lost[i] = (sum - state[i]) - term;
        state[i] = sum;
    }
}

/* A block is complete: its rows become part of the prefix state. */
static void fold_block(const AttentionLayer *layer, const Sizes *z, const DecodeState *state,
                       const DecodeBuffers *buffers)
{
    Panel panel = buffers->panel;
    real *sum = buffers->block_sum;
    memset(sum, 0, z->state * sizeof *sum);
    for (size_t i = 0; i < z->b; i += z->panel_rows) {
        size_t count = panel_rows_from(z, i, z->b);
        panel_expand(layer->map, &panel, const_matrix_dense(state->u + i * z->r, count, z->r));
        gather_rows(panel.values, const_matrix_dense(state->values + i * z->h, count, z->h));
        panel_add_to_state(z, sum, &panel, count, ADD);
        panel_add_rows(&panel, sum + z->m * z->h, NULL, count, z->m);
    }
    add_compensated(state->state, state->lost, sum, z->state);
}

/* (numerator, denominator) of the pairs of the block under way, whose last row is the token itself. */
static real decode_pairs(const PairWeight *weight, const DecodeState *state, const real *query, size_t rows,
                         size_t width, size_t h, real *out)
{
    real sum = 0;
    for (size_t t = 0; t < rows; t++) {
        const real *other = state->local + t * width, *v = state->values + t * h;
        real score = 0;
        for (size_t c = 0; c < width; c++) score += query[c] * other[c];
        real w = power_of(weight->scale * score, weight->degree);
        sum += w;
        for (size_t c = 0; c < h; c++) out[c] += w * v[c];
    }
    return sum;
}

/* The same of earlier blocks: phi(q) Z. */
static real decode_prefix(const AttentionLayer *layer, const Sizes *z, const DecodeState *state,
                          const DecodeBuffers *buffers, size_t j, real *out)
{
    real *features = buffers->panel.features, factor = buffers->powers.factor;
    panel_expand(layer->map, &buffers->panel, const_matrix_dense(buffers->u_query + j * z->r, 1, z->r));
    small_gemm_nn(out, z->h, features, z->m, state->state, z->h, 1, z->h, z->m, OVERWRITE);
    real sum = linear_sketched_sum(layer->map, z, features, normaliser_of(z, state->state), &factor);
    for (size_t c = 0; c < z->h; c++) out[c] *= factor;
    return factor * sum;
}

static void decode_head(const AttentionLayer *layer, const Sizes *z, const DecodeState *state,
                        const DecodeBuffers *buffers, size_t j, size_t position, const real *value, real *out)
{
    size_t row = position % z->b, width = linear_local_width(layer, z);
    bool exact = linear_exact_local(layer);
    PairWeight weight = linear_pair_weight(layer, &buffers->powers);
    const real *query = exact ? buffers->query + j * z->h : buffers->u_query + j * z->r;
    const real *key = exact ? buffers->key + j * z->h : buffers->u_key + j * z->r;
    if (row == 0 && position > 0) fold_block(layer, z, state, buffers);
    memcpy(state->local + row * width, key, width * sizeof *key);
    memcpy(state->values + row * z->h, value, z->h * sizeof *value);
    memcpy(state->u + row * z->r, buffers->u_key + j * z->r, z->r * sizeof *key);
    real sum = buffers->powers.one * (layer->map->scales_queries ? buffers->query_factors[j] : 1);
    sum += decode_prefix(layer, z, state, buffers, j, out);
    sum += decode_pairs(&weight, state, query, row + 1, width, z->h, out);
    if (sum < LEAST_NORMALISER) sum = LEAST_NORMALISER;
    for (size_t c = 0; c < z->h; c++) out[c] /= sum;
}

/* q', k', where they are used, and u of the token. */
static void decode_features(const AttentionLayer *layer, const Sizes *z, ParamStore *params,
                            const DecodeBuffers *buffers, const real *qkv, Arena *scratch)
{
    const FeatureMap *map = layer->map;
    Matrix query = matrix_dense(buffers->query, 1, z->C), key = matrix_dense(buffers->key, 1, z->C);
    if (linear_uses_qk_norm(layer)) qk_norm_forward(layer, params, query, key, qkv);
    MapRun one = {
        .layer = layer,
        .params = params,
        .span = {.sequences = 1, .tokens = 1, .first = 0, .end = 1},
        .scratch = scratch,
    };
    one.x = map->normalised_input ? matrix_const(query) : const_matrix_dense(qkv, 1, z->C);
    map->forward(&one, buffers->u_query, map->scales_queries ? buffers->query_factors : NULL);
    one.keys = true;
    one.x = map->normalised_input ? matrix_const(key) : const_matrix_dense(qkv + z->C, 1, z->C);
    map->forward(&one, buffers->u_key, NULL);
}

void linear_decode(const AttentionLayer *layer, const DecodeShape *shape, ParamStore *params, real *state,
                   size_t position, const real *qkv, real *out, Arena *scratch)
{
    Sizes z = decode_sizes(layer, shape);
    size_t mark = arena_mark(scratch);
    DecodeBuffers buffers = take_decode_buffers(&z, scratch);
    buffers.powers = linear_powers(layer, params);
    decode_features(layer, &z, params, &buffers, qkv, scratch);
    for (size_t j = 0; j < z.H; j++) {
        DecodeState head = decode_state_at(layer, &z, shape, state, j);
        decode_head(layer, &z, &head, &buffers, j, position, qkv + 2 * z.C + j * z.h, out + j * z.h);
    }
    arena_release(scratch, mark);
}
