/* Linear attention token by token: the prefix state of complete blocks behind the window, and the rows of the window and of the
   block under way. */
#include <math.h>
#include <string.h>

#include "src/attention/gate.h"
#include "src/attention/linear_parts.h"
#include "src/attention/qk_norm.h"

/* The rows of the ring that are near: from 0 to the token's own, and from the block after it to the end. Those between are of a
   block that has left the window. */
typedef struct NearRows {
    size_t own, resume, end;
} NearRows;

static NearRows near_rows(const Sizes *z, size_t position)
{
    size_t ring = z->before + z->b, own = position % ring;
    return (NearRows){own, (own / z->b + 1) * z->b, position < ring ? own + 1 : ring};
}

static size_t next_row(const NearRows *near, size_t row) { return row == near->own ? near->resume : row + 1; }

size_t linear_ring_rows(const Sizes *z, const DecodeShape *shape)
{
    size_t rows = z->before + z->b;
    return rows < shape->max_tokens ? rows : shape->max_tokens;
}

static size_t decode_head_count(const AttentionLayer *layer, const Sizes *z, const DecodeShape *shape)
{
    size_t rows = linear_ring_rows(z, shape), ages = attention_has_gate(layer) ? rows + 1 : 0;
    return 2 * z->state + rows * (linear_local_width(layer, z) + z->h + z->r) + ages;
}

Sizes linear_decode_sizes(const AttentionLayer *layer, const DecodeShape *shape)
{
    AttentionShape one = {.sequences = 1, .tokens = 1, .segments = 1};
    one.context_length = shape->max_tokens;
    one.block_length = shape->block_length;
    return linear_sizes(layer, &one);
}

size_t linear_decode_state_count(const AttentionLayer *layer, const DecodeShape *shape)
{
    Sizes z = linear_decode_sizes(layer, shape);
    return z.H * decode_head_count(layer, &z, shape);
}

/* The parts of a head, one behind the other. `state` of the first head, or NULL. */
int linear_decode_state_parts(const AttentionLayer *layer, const DecodeShape *shape, real *state,
                              StatePart parts[ATTENTION_STATE_PARTS])
{
    Sizes z = linear_decode_sizes(layer, shape);
    size_t rows = linear_ring_rows(&z, shape), stride = decode_head_count(layer, &z, shape), used = 0;
    const StatePart all[] = {
        {"state", NULL, z.H, z.m, z.h, stride},
        {"state_normaliser", NULL, z.H, z.m, 1, stride},
        {"state_lost", NULL, z.H, z.m, z.h + 1, stride},
        {"near_keys", NULL, z.H, rows, linear_local_width(layer, &z), stride},
        {"near_values", NULL, z.H, rows, z.h, stride},
        {"near_features", NULL, z.H, rows, z.r, stride},
        {"near_ages", NULL, z.H, rows, 1, stride},
        {"state_age", NULL, z.H, 1, 1, stride},
    };
    int count = attention_has_gate(layer) ? 8 : 6;
    for (int i = 0; i < count; i++) {
        parts[i] = all[i];
        parts[i].at = state ? state + used : NULL;
        used += all[i].rows * all[i].width;
    }
    return count;
}

DecodeState linear_decode_state_at(const AttentionLayer *layer, const Sizes *z, const DecodeShape *shape, real *state,
                                   size_t j)
{
    size_t rows = linear_ring_rows(z, shape);
    DecodeState head = {.state = state + j * decode_head_count(layer, z, shape)};
    head.lost = head.state + z->state;
    head.local = head.lost + z->state;
    head.values = head.local + rows * linear_local_width(layer, z);
    head.u = head.values + rows * z->h;
    if (!attention_has_gate(layer)) return head;
    head.ages = head.u + rows * z->r;
    head.age = head.ages + rows;
    return head;
}

typedef struct DecodeBuffers {
    Scales scales;
    real *query, *key;     /* (C) */
    real *u_query, *u_key; /* (H, r) */
    real *query_factors;   /* (H) */
    real *block_sum;       /* (state) */
    real *weights;         /* (rows) of near pairs */
    Panel panel;
} DecodeBuffers;

static DecodeBuffers take_decode_buffers(const Sizes *z, const DecodeShape *shape, Arena *scratch)
{
    DecodeBuffers buffers = {0};
    buffers.query = arena_take(scratch, z->C);
    buffers.key = arena_take(scratch, z->C);
    buffers.u_query = arena_take(scratch, z->H * z->r);
    buffers.u_key = arena_take(scratch, z->H * z->r);
    buffers.query_factors = arena_take(scratch, z->H);
    buffers.block_sum = arena_take(scratch, z->state);
    buffers.weights = arena_take(scratch, linear_ring_rows(z, shape));
    buffers.panel = panel_in(z, arena_take(scratch, panel_count(z)));
    return buffers;
}

void linear_plan_decode(const AttentionLayer *layer, const DecodeShape *shape, Arena *scratch)
{
    Sizes z = linear_decode_sizes(layer, shape);
    size_t mark = arena_mark(scratch);
    take_decode_buffers(&z, shape, scratch);
    layer->map->plan(layer, 1, scratch);
    arena_release(scratch, mark);
}

/* state = kept state + x; what the sum cannot hold is kept for the next time. */
static void add_compensated(real *state, real *lost, real kept, const real *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        real before = kept * state[i], term = x[i] - kept * lost[i], sum = before + term;
        lost[i] = (sum - before) - term;
        state[i] = sum;
    }
}

void linear_fold_block(const AttentionLayer *layer, const Sizes *z, const DecodeState *state, const Panel *panel,
                       real *sum, size_t first_row)
{
    real end = state->age ? state->ages[first_row + z->b - 1] : 0, kept = state->age ? real_exp(*state->age - end) : 1;
    memset(sum, 0, z->state * sizeof *sum);
    for (size_t i = 0; i < z->b; i += z->panel_rows) {
        size_t count = panel_rows_from(z, i, z->b), row = first_row + i;
        for (size_t t = 0; state->age && t < count; t++) panel->normaliser[t] = real_exp(state->ages[row + t] - end);
        const real *factors = state->age ? panel->normaliser : NULL;
        panel_expand(layer->map, panel, const_matrix_dense(state->u + row * z->r, count, z->r));
        gather_rows(panel->values, const_matrix_dense(state->values + row * z->h, count, z->h));
        panel_scale_values(z, panel, factors, count);
        panel_add_to_state(z, sum, panel, count, ADD);
        panel_add_rows(panel, sum + z->m * z->h, factors, count, z->m);
    }
    add_compensated(state->state, state->lost, kept, sum, z->state);
    if (state->age) *state->age = end;
}

/* Weights of the near pairs. Exponential ones are on the scale of the largest, whose logarithm, at least `largest`, is returned;
   it is 0 for the others. */
static real near_weights(const PairWeight *weight, const DecodeState *state, const real *query, size_t width,
                         real *weights, const NearRows *near, real largest)
{
    for (size_t t = 0; t < near->end; t = next_row(near, t)) {
        const real *key = state->local + t * width;
        real score = 0, age = state->ages ? state->ages[t] : 0;
        for (size_t c = 0; c < width; c++) score += query[c] * key[c];
        if (weight->degree)
            weights[t] = power_of(weight->scale * score, weight->degree) * (state->ages ? real_exp(age) : 1);
        else
            weights[t] = weight->scale * score + age;
        if (weights[t] > largest) largest = weights[t];
    }
    if (weight->degree) return 0;
    for (size_t t = 0; t < near->end; t = next_row(near, t)) weights[t] = real_exp(weights[t] - largest);
    return largest;
}

/* out = numerator of the sketched sums phi(q) Z times `factor`; returns their normaliser. */
static real decode_prefix(const AttentionLayer *layer, const Sizes *z, const DecodeState *state,
                          const DecodeBuffers *buffers, size_t j, real factor, real *out)
{
    real *features = buffers->panel.features;
    panel_expand(layer->map, &buffers->panel, const_matrix_dense(buffers->u_query + j * z->r, 1, z->r));
    small_gemm_nn(out, z->h, features, z->m, state->state, z->h, 1, z->h, z->m, OVERWRITE);
    real sum = linear_sketched_sum(layer->map, z, features, normaliser_of(z, state->state), &factor);
    for (size_t c = 0; c < z->h; c++) out[c] *= factor;
    return factor * sum;
}

/* The token's row goes into the ring; the block in whose place its own begins has left the window and is folded first. */
static void enter_row(const DecodeRun *run, const Sizes *z, const DecodeState *state, const DecodeBuffers *buffers,
                      size_t j, const NearRows *near)
{
    size_t row = near->own, ring = z->before + z->b, width = linear_local_width(run->layer, z);
    const real *key = linear_exact_local(run->layer) ? buffers->key + j * z->h : buffers->u_key + j * z->r;
    if (run->position >= ring && row % z->b == 0)
        linear_fold_block(run->layer, z, state, &buffers->panel, buffers->block_sum, row);
    if (state->ages) {
        gate_age(state->ages, near->end, row, run->gate[j]);
        *state->age += run->gate[j];
    }
    memcpy(state->local + row * width, key, width * sizeof *key);
    memcpy(state->values + row * z->h, run->qkv + 2 * z->C + j * z->h, z->h * sizeof *key);
    memcpy(state->u + row * z->r, buffers->u_key + j * z->r, z->r * sizeof *key);
}

static void decode_head(const DecodeRun *run, const Sizes *z, const DecodeBuffers *buffers, size_t j)
{
    const AttentionLayer *layer = run->layer;
    const Scales *scales = &buffers->scales;
    DecodeState state = linear_decode_state_at(layer, z, &run->shape, run->state, j);
    NearRows near = near_rows(z, run->position);
    bool reads = run->position >= z->before + z->b;
    real log_far = linear_log_far_scale(layer, run->params, j), one = scales->powers.one, *out = run->out + j * z->h;
    PairWeight weight = linear_pair_weight(layer, scales, log_far);
    const real *query = linear_exact_local(layer) ? buffers->query + j * z->h : buffers->u_query + j * z->r;
    enter_row(run, z, &state, buffers, j, &near);
    real largest = near_weights(&weight, &state, query, linear_local_width(layer, z), buffers->weights, &near,
                                one > 0 || reads ? 0 : -INFINITY);
    real log_factor = scales->log_far + log_far + (state.age && reads ? *state.age : 0) - largest;
    if (scales->exponential && one > 0) one *= real_exp(-largest);
    real sum = one * (layer->map->scales_queries ? buffers->query_factors[j] : 1);
    sum += decode_prefix(layer, z, &state, buffers, j, linear_far_factor(scales, log_factor), out);
    for (size_t t = 0; t < near.end; t = next_row(&near, t)) {
        sum += buffers->weights[t];
        add_times(out, buffers->weights[t], state.values + t * z->h, z->h);
    }
    if (sum < LEAST_NORMALISER) sum = LEAST_NORMALISER;
    for (size_t c = 0; c < z->h; c++) out[c] /= sum;
}

/* q', k', where they are used, and u of the token. */
static void decode_features(const DecodeRun *run, const Sizes *z, const DecodeBuffers *buffers)
{
    const AttentionLayer *layer = run->layer;
    const FeatureMap *map = layer->map;
    Matrix query = matrix_dense(buffers->query, 1, z->C), key = matrix_dense(buffers->key, 1, z->C);
    if (linear_uses_qk_norm(layer)) qk_norm_forward(layer, run->params, query, key, run->qkv);
    MapRun one = {
        .layer = layer,
        .params = run->params,
        .span = {.sequences = 1, .tokens = 1, .first = 0, .end = 1},
        .scratch = run->scratch,
    };
    one.x = map->normalised_input ? matrix_const(query) : const_matrix_dense(run->qkv, 1, z->C);
    map->forward(&one, buffers->u_query, map->scales_queries ? buffers->query_factors : NULL);
    one.keys = true;
    one.x = map->normalised_input ? matrix_const(key) : const_matrix_dense(run->qkv + z->C, 1, z->C);
    map->forward(&one, buffers->u_key, NULL);
}

void linear_decode(const DecodeRun *run)
{
    Sizes z = linear_decode_sizes(run->layer, &run->shape);
    size_t mark = arena_mark(run->scratch);
    DecodeBuffers buffers = take_decode_buffers(&z, &run->shape, run->scratch);
    buffers.scales = linear_scales(run->layer, run->params);
    decode_features(run, &z, &buffers);
    for (size_t j = 0; j < z.H; j++) decode_head(run, &z, &buffers, j);
    arena_release(run->scratch, mark);
}
