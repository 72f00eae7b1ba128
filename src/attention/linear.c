/* Causal attention in linear time for any feature map: block lower-triangular multiplication.

   Within a block of b tokens the pairs are computed one by one, exactly (exact.c); everything earlier is summed up in a
   prefix state. For one head, with features phi (m numbers) and v~ = (v, 1) (h + 1 numbers):

       block sums      H_l = sum of phi(k_j) v~_j^T over the tokens of block l
       prefix states   Z_l = sum of H_l' over earlier blocks, on this rank and on earlier ranks
       output          (numerator_i, denominator_i) = local part + phi(q_i) Z_l;   o_i = numerator_i / denominator_i

   A state is two pieces of memory, the values' (m, h) and behind them the normaliser's (m): products of h columns fill
   vectors, those of h + 1 would not, and the normaliser costs no product of its own while features are at hand.

   The sum of this rank's blocks goes into an exclusive scan over the ranks of the sequence. The scan is begun before the
   local part and finished after it.

   Self-tensored maps have phi = u (x) u, symmetric, in packed form (packed_features.h): r(r+1)/2 numbers whose inner product is
   <u, u'>^2 (Kacham, Mirrokni, Zhong 2024, section 2.2, use all r^2).

   Backward, with g_i the gradient of o_i and dR_i = (g_i, -<g_i, o_i>) / denominator_i the gradient of (numerator,
   denominator):

       query side, in any order:  d_phi(q_i) = Z_l dR_i;      adjoint block sums  G_l = sum of phi(q_i) dR_i^T
       adjoint states             Y_l = sum of G_l' over LATER blocks: the reversed scan
       key side:                  d_phi(k_j) = Y_l v~_j;      d_v~_j = Y_l^T phi(k_j), of which the value columns count

   Prefix states are kept from the forward to the backward pass. What becomes one is summed in double: a float that grows by
   thousands of blocks would lose their last bits. The sketched sums of a row whose normaliser cannot be told from rounding
   (is_noise()) are left out of it, forward and backward. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "src/attention/linear_parts.h"
#include "src/attention/qk_norm.h"
#include "src/core/phase.h"

/* A panel of features is formed in cache, multiplied and dropped: at most about this many numbers. */
enum { PANEL_NUMBERS = 72 * 1024 };

/* ---- sizes and memory --------------------------------------------------------------------------------------------- */

bool linear_exact_local(const AttentionLayer *layer)
{
    return layer->map->self_tensored && layer->spec.local == LOCAL_EXACT;
}

bool linear_uses_qk_norm(const AttentionLayer *layer)
{
    return layer->map->normalised_input || linear_exact_local(layer);
}

Sizes linear_sizes(const AttentionLayer *layer, const AttentionShape *shape)
{
    Sizes z = {.B = shape->sequences, .N = shape->tokens, .H = layer->heads, .h = layer->head_width};
    z.C = z.H * z.h;
    z.b = shape->block_length;
    z.r = layer->map->width(layer);
    z.m = layer->map->self_tensored ? packed_feature_count(z.r) : z.r;
    z.state = z.m * (z.h + 1);
    z.blocks = (z.N + z.b - 1) / z.b;
    z.first_block = shape->first_token / z.b;
    z.all_blocks = (shape->context_length + z.b - 1) / z.b;
    size_t panels = (z.b * z.m + PANEL_NUMBERS - 1) / PANEL_NUMBERS; /* equal parts of a block */
    z.panel_rows = panels < z.b ? (z.b + panels - 1) / panels : 1;
    return z;
}

Saved linear_saved_parts(const Sizes *z, real *saved)
{
    size_t u = z->B * z->N * z->H * z->r, rows = z->B * z->H * z->N;
    return (Saved){saved, saved + u, saved + 2 * u, saved + 2 * u + rows, saved + 2 * u + 2 * rows};
}

size_t linear_saved_count(const AttentionLayer *layer, const AttentionShape *shape)
{
    Sizes z = linear_sizes(layer, shape);
    return 2 * z.B * z.N * z.H * z.r + 2 * z.B * z.H * z.N + z.B * z.H * z.blocks * z.state;
}

/* Features of q' and k' are on the scale of the powers already (sketch_random.c); those of q and k are brought to it where
   they stand beside powers. */
PowerScale linear_powers(const AttentionLayer *layer, ParamStore *params)
{
    if (!linear_uses_qk_norm(layer)) return power_scale_free(layer);
    PowerScale powers = power_scale(layer, params);
    if (layer->map->normalised_input) powers.factor = 1;
    return powers;
}

/* The pairs of a block: exact polynomial of q', k', or the features' own inner products. */
PairWeight linear_pair_weight(const AttentionLayer *layer, const PowerScale *powers)
{
    if (linear_exact_local(layer)) return pair_weight_power(powers->scale, (int)layer->spec.degree);
    return pair_weight_power(1, layer->map->self_tensored ? 2 : 1);
}

static Buffers take_buffers(const AttentionLayer *layer, const Sizes *z, Direction pass, Arena *scratch)
{
    Buffers buffers = {0};
    size_t tokens = z->B * z->N;
    size_t width = linear_local_width(layer, z);
    size_t local = pass == FORWARD ? exact_forward_scratch(width, z->h) : exact_backward_scratch(width, z->h);
    if (linear_uses_qk_norm(layer)) {
        buffers.query = arena_take(scratch, tokens * z->C);
        buffers.key = arena_take(scratch, tokens * z->C);
    }
    buffers.total = arena_take(scratch, z->B * z->H * z->state);
    buffers.incoming = arena_take(scratch, z->B * z->H * z->state);
    buffers.per_thread = larger(local, panel_count(z));
    buffers.threads = arena_take(scratch, (size_t)omp_get_max_threads() * buffers.per_thread);
    buffers.running = arena_take_bytes(scratch, (size_t)omp_get_max_threads() * z->state * sizeof *buffers.running);
    if (pass == FORWARD) {
        if (layer->map->scales_queries) buffers.query_factors = arena_take(scratch, tokens * z->H);
        return buffers;
    }
    if (linear_uses_qk_norm(layer)) {
        buffers.d_query = arena_take(scratch, tokens * z->C);
        buffers.d_key = arena_take(scratch, tokens * z->C);
    }
    buffers.d_u_query = arena_take(scratch, tokens * z->H * z->r);
    buffers.d_u_key = arena_take(scratch, tokens * z->H * z->r);
    buffers.delta = arena_take(scratch, tokens * z->H);
    buffers.adjoint = arena_take(scratch, z->B * z->H * z->blocks * z->state);
    return buffers;
}

void linear_plan(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch)
{
    Sizes z = linear_sizes(layer, shape);
    for (Direction pass = FORWARD; pass <= BACKWARD; pass++) {
        size_t mark = arena_mark(scratch);
        take_buffers(layer, &z, pass, scratch);
        layer->map->plan(layer, z.B * z.N, scratch);
        if (linear_uses_qk_norm(layer)) qk_norm_plan(layer, scratch);
        arena_release(scratch, mark);
    }
}

/* ---- features of all heads ------------------------------------------------------------------------------------------ */

/* The queries, or keys, whose u is read. With exact pairs, queries of the first block have no prefix state, and no later
   token reads keys of the last one: a sequence of a single block needs no features at all. */
static TokenSpan mapped_tokens(const AttentionLayer *layer, const Sizes *z, bool keys)
{
    TokenSpan span = {.sequences = z->B, .tokens = z->N, .first = 0, .end = z->N};
    if (!linear_exact_local(layer) || z->blocks == 0) return span;
    if (keys && is_last_block(z, z->blocks - 1)) span.end = (z->blocks - 1) * z->b;
    if (!keys && is_first_block(z, 0)) span.first = linear_block_rows(z, 0);
    return span;
}

/* u of queries and keys, which are q' and k' or lie among the columns of qkv; or the gradients that come from d_u. */
static void map_pass(const AttentionRun *run, const Sizes *z, const Buffers *buffers, Direction pass)
{
    const FeatureMap *map = run->layer->map;
    Saved saved = linear_saved_parts(z, run->saved);
    size_t tokens = z->B * z->N;
    for (int keys = 0; keys < 2; keys++) {
        size_t column = keys ? z->C : 0;
        real *u = keys ? saved.u_key : saved.u_query;
        MapRun one = {
            .layer = run->layer,
            .params = run->params,
            .span = mapped_tokens(run->layer, z, keys),
            .x = const_matrix_columns(const_matrix_dense(run->qkv, tokens, 3 * z->C), column, z->C),
            .scratch = run->scratch,
        };
        if (map->normalised_input) one.x = const_matrix_dense(keys ? buffers->key : buffers->query, tokens, z->C);
        if (pass == FORWARD) {
            map->forward(&one, u, keys ? NULL : buffers->query_factors);
            continue;
        }
        Matrix d_x = matrix_columns(matrix_dense(run->d_qkv, tokens, 3 * z->C), column, z->C);
        if (map->normalised_input) d_x = matrix_dense(keys ? buffers->d_key : buffers->d_query, tokens, z->C);
        map->backward(&one, d_x, keys ? buffers->d_u_key : buffers->d_u_query, u);
    }
}

/* q' and k' of the pass. */
static void norm_queries_and_keys(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    size_t tokens = z->B * z->N;
    qk_norm_forward(run->layer, run->params, matrix_dense(buffers->query, tokens, z->C),
                    matrix_dense(buffers->key, tokens, z->C), run->qkv);
}

/* A sum moves on during the local part only when somebody looks after it. */
static void poll_link(const AttentionRun *run)
{
    if (omp_get_thread_num() == 0) run->link->exclusive_sum_poll(run->link);
}

/* ---- forward -------------------------------------------------------------------------------------------------------- */

/* Heads of all sequences are shared out among the threads; `sums` (B, H, state) or NULL. */
static void for_each_head(const AttentionRun *run, const Sizes *z, const Buffers *buffers, HeadWork *work, real *sums)
{
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (size_t s = 0; s < z->B; s++)
        for (size_t j = 0; j < z->H; j++) {
            Head head = linear_head_at(run, z, buffers, s, j);
            HeadGradients gradients = {0};
            if (buffers->delta) gradients = linear_gradients_at(run, z, buffers, s, j);
            work(run, z, &head, &gradients, sums ? sums + head.index * z->state : NULL);
            poll_link(run);
        }
}

void linear_forward(const AttentionRun *run)
{
    Sizes z = linear_sizes(run->layer, &run->shape);
    size_t mark = arena_mark(run->scratch);
    Buffers buffers = take_buffers(run->layer, &z, FORWARD, run->scratch);
    buffers.powers = linear_powers(run->layer, run->params);
    phase_begin(PHASE_FEATURES);
    if (linear_uses_qk_norm(run->layer)) norm_queries_and_keys(run, &z, &buffers);
    map_pass(run, &z, &buffers, FORWARD);
    phase_begin(PHASE_KEYS);
    for_each_head(run, &z, &buffers, linear_head_keys, buffers.total);
    run->link->exclusive_sum_begin(run->link, SCAN_FORWARD, buffers.total, buffers.incoming, z.B * z.H * z.state);
    phase_begin(PHASE_PAIRS);
    for_each_head(run, &z, &buffers, linear_head_local, NULL);
    run->link->exclusive_sum_finish(run->link);
    phase_begin(PHASE_QUERIES);
    for_each_head(run, &z, &buffers, linear_head_queries, buffers.incoming);
    arena_release(run->scratch, mark);
}

/* ---- backward ------------------------------------------------------------------------------------------------------- */

void linear_backward(const AttentionRun *run)
{
    const AttentionLayer *layer = run->layer;
    Sizes z = linear_sizes(layer, &run->shape);
    size_t mark = arena_mark(run->scratch), tokens = z.B * z.N;
    Buffers buffers = take_buffers(layer, &z, BACKWARD, run->scratch);
    buffers.powers = linear_powers(layer, run->params);
    phase_begin(PHASE_FEATURES);
    memset(run->d_qkv, 0, tokens * 3 * z.C * sizeof(real));
    memset(buffers.d_u_query, 0, tokens * z.H * z.r * sizeof(real));
    memset(buffers.d_u_key, 0, tokens * z.H * z.r * sizeof(real));
    if (linear_uses_qk_norm(layer)) {
        norm_queries_and_keys(run, &z, &buffers);
        memset(buffers.d_query, 0, tokens * z.C * sizeof(real));
        memset(buffers.d_key, 0, tokens * z.C * sizeof(real));
    }
    phase_begin(PHASE_QUERIES);
    for_each_head(run, &z, &buffers, linear_head_queries_backward, buffers.total);
    run->link->exclusive_sum_begin(run->link, SCAN_BACKWARD, buffers.total, buffers.incoming, z.B * z.H * z.state);
    phase_begin(PHASE_PAIRS);
    for_each_head(run, &z, &buffers, linear_head_local_backward, NULL);
    run->link->exclusive_sum_finish(run->link);
    phase_begin(PHASE_KEYS);
    for_each_head(run, &z, &buffers, linear_head_keys_backward, buffers.incoming);
    phase_begin(PHASE_FEATURES);
    map_pass(run, &z, &buffers, BACKWARD);
    if (linear_uses_qk_norm(layer))
        qk_norm_backward(layer, run->params, matrix_dense(run->d_qkv, tokens, 3 * z.C),
                         const_matrix_dense(buffers.d_query, tokens, z.C),
                         const_matrix_dense(buffers.d_key, tokens, z.C), const_matrix_dense(run->qkv, tokens, 3 * z.C),
                         run->scratch);
    arena_release(run->scratch, mark);
}

/* ---- for others ----------------------------------------------------------------------------------------------------- */

size_t linear_state_count(const AttentionLayer *layer, const AttentionShape *shape)
{
    Sizes z = linear_sizes(layer, shape);
    return z.B * z.H * z.state;
}

AttentionCost linear_cost(const AttentionLayer *layer, const AttentionShape *shape)
{
    Sizes z = linear_sizes(layer, shape);
    double T = (double)shape->context_length, pairs = 0, b = (double)z.b;
    double whole = floor(T / b), rest = T - whole * b;
    pairs = whole * b * (b + 1) / 2 + rest * (rest + 1) / 2;
    double local = pairs * 2 * (double)(linear_local_width(layer, &z) + z.h);
    double last = rest > 0 ? rest : b;
    double crossing = T - last + (T > b ? T - b : 0); /* keys and queries that meet a state */
    double states = 2 * crossing * (double)z.state;
    double features = (linear_exact_local(layer) ? crossing : 2 * T) * layer->map->flops(layer);
    AttentionMessages scan = {0};
    if (shape->segments > 1) scan = (AttentionMessages){1, z.B * z.H * z.state};
    return (AttentionCost){
        .forward_flops = (double)z.H * (local + states + features),
        .forward = scan,
        .backward = scan,
    };
}
