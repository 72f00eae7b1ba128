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

   With a window the state of a block holds the keys of blocks before l - W alone, and those of blocks l - W ... l are near: a
   key block joins the states W blocks later (reads_state()). With a gate G of a head (gate.h), weights carry exp(G_i - G_j):
   keys join with what the later gates of their block leave of them, states lose what the gates of a block take, queries read with
   what has gone since; the scan over the ranks is one of states with a log decay.

   Self-tensored maps have phi = u (x) u, symmetric, in packed form (packed_features.h): r(r+1)/2 numbers whose inner product is
   <u, u'>^2 (Kacham, Mirrokni, Zhong 2024, section 2.2, use all r^2).

   Backward, with g_i the gradient of o_i and dR_i = (g_i, -<g_i, o_i>) / denominator_i the gradient of (numerator,
   denominator):

       query side, in any order:  d_phi(q_i) = Z_l dR_i;      adjoint block sums  A_l = sum of phi(q_i) dR_i^T
       adjoint states             Y_l = sum of A_l' over LATER blocks: the reversed scan
       key side:                  d_phi(k_j) = Y_l v~_j;      d_v~_j = Y_l^T phi(k_j), of which the value columns count
       gates                      dG_t = d_t - e_t,  d_i = sum over j of w_ij dw_ij,  e_j = sum over i of w_ij dw_ij

   Both need no sums of their own: d_i = <g_i, o_i> times the constant's share of the normaliser, since all else of it scales with
   exp(G_i) (rows whose normaliser was clamped count for nothing); and of sketched weights, which are of degree 2 in u(k_j),
   e_j = <u(k_j), d_u(k_j)> / 2. In the same way the gradient of the log far scale is the sum of <u(q_i), d_u(q_i)> / 2.

   Prefix states are kept from the forward to the backward pass. What becomes one is summed in double: a float that grows by
   thousands of blocks would lose their last bits. The sketched sums of a row whose normaliser cannot be told from rounding
   (is_noise()) are left out of it, forward and backward. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "src/attention/gate.h"
#include "src/attention/linear_parts.h"
#include "src/attention/qk_norm.h"
#include "src/base/memory.h"
#include "src/core/phase.h"

/* ---- scales --------------------------------------------------------------------------------------------------------- */

/* Features of q' and k' are on the scale of the powers already (sketch_random.c); those of q and k are brought to it where
   they stand beside powers. Beside exponentials nothing else is on that scale, and sketched weights are taken off it. */
Scales linear_scales(const AttentionLayer *layer, ParamStore *params)
{
    Scales scales = {.powers = power_scale_free(layer), .exponential = linear_is_exponential(layer)};
    if (!linear_uses_qk_norm(layer)) return scales;
    PowerScale powers = power_scale(layer, params);
    if (scales.exponential) {
        scales.log_far = layer->map->normalised_input ? -powers.log_factor : 0;
        return scales;
    }
    scales.powers = powers;
    if (layer->map->normalised_input) scales.powers.factor = 1;
    return scales;
}

real linear_log_far_scale(const AttentionLayer *layer, ParamStore *params, size_t j)
{
    return layer->far_scale >= 0 ? param_values(params, layer->far_scale)[j] : 0;
}

/* Near pairs: power or exponential of q', k', or the features' own inner products. */
PairWeight linear_pair_weight(const AttentionLayer *layer, const Scales *scales, real log_far_scale)
{
    if (scales->exponential) return pair_weight_exponential(scales->powers.scale);
    if (linear_exact_local(layer)) return pair_weight_power(scales->powers.scale, (int)layer->spec.degree);
    int degree = layer->map->self_tensored ? 2 : 1;
    return pair_weight_power(log_far_scale == 0 ? 1 : real_exp(log_far_scale / (real)degree), degree);
}

/* Within bounds: rows whose near weights vanish beside it still get numbers, and 0 stands for sums that are left out. */
real linear_far_factor(const Scales *scales, real log_factor)
{
    const real least = (real)0x1p-120, most = 60;
    if (log_factor == 0) return scales->powers.factor;
    real factor = scales->powers.factor * real_exp(log_factor < most ? log_factor : most);
    return factor > least ? factor : least;
}

/* ---- features of all heads ------------------------------------------------------------------------------------------ */

/* Of `blocks` of this rank, those up to block `end` of the sequence. */
static size_t blocks_until(const Sizes *z, size_t end)
{
    return end > z->first_block ? smaller(end - z->first_block, z->blocks) : 0;
}

TokenSpan linear_mapped_tokens(const AttentionLayer *layer, const Sizes *z, bool keys)
{
    TokenSpan span = {.sequences = z->B, .tokens = z->N, .first = 0, .end = z->N};
    if (!linear_exact_local(layer)) return span;
    size_t near = 1 + z->window;
    if (keys)
        span.end = smaller(blocks_until(z, z->all_blocks > near ? z->all_blocks - near : 0) * z->b, z->N);
    else
        span.first = smaller(blocks_until(z, near) * z->b, z->N);
    return span;
}

/* u of queries or of keys, which are q' and k' or lie among the columns of qkv; or the gradients that come from d_u. */
static void map_pass(const AttentionRun *run, const Sizes *z, const Buffers *buffers, PassDirection pass, bool keys)
{
    const FeatureMap *map = run->layer->map;
    Saved saved = linear_saved_parts(run->layer, z, run->saved);
    size_t tokens = z->B * z->N, column = keys ? z->C : 0;
    real *u = keys ? saved.u_key : saved.u_query;
    MapRun one = {
        .layer = run->layer,
        .params = run->params,
        .span = linear_mapped_tokens(run->layer, z, keys),
        .keys = keys,
        .x = const_matrix_columns(const_matrix_dense(run->qkv, tokens, 3 * z->C), column, z->C),
        .scratch = run->scratch,
    };
    if (map->normalised_input) one.x = const_matrix_dense(keys ? buffers->key : buffers->query, tokens, z->C);
    if (pass == FORWARD) {
        map->forward(&one, u, keys ? NULL : buffers->query_factors);
        return;
    }
    Matrix d_x = matrix_columns(matrix_dense(run->d_qkv, tokens, 3 * z->C), column, z->C);
    if (map->normalised_input) d_x = matrix_dense(keys ? buffers->d_key : buffers->d_query, tokens, z->C);
    map->backward(&one, d_x, keys ? buffers->d_u_key : buffers->d_u_query, u);
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

/* ---- the work of a pass, divided among threads ------------------------------------------------------------------------- */

static HeadGradients gradients_of(const AttentionRun *run, const Sizes *z, const Buffers *buffers, size_t s, size_t j)
{
    return buffers->delta ? linear_gradients_at(run, z, buffers, s, j) : (HeadGradients){0};
}

/* Blocks first, first + step, ... of all heads of all sequences. */
static void for_blocks_from(const AttentionRun *run, const Sizes *z, const Buffers *buffers, BlockWork *work,
                            size_t first, size_t step)
{
    size_t count = z->blocks > first ? (z->blocks - first + step - 1) / step : 0;
#pragma omp parallel for collapse(3) schedule(dynamic)
    for (size_t s = 0; s < z->B; s++)
        for (size_t j = 0; j < z->H; j++)
            for (size_t i = 0; i < count; i++) {
                Head head = linear_head_at(run, z, buffers, s, j);
                HeadGradients gradients = gradients_of(run, z, buffers, s, j);
                work(run, z, &head, &gradients, first + i * step);
                poll_link(run);
            }
}

static void for_each_block(const AttentionRun *run, const Sizes *z, const Buffers *buffers, BlockWork *work)
{
    for_blocks_from(run, z, buffers, work, 0, 1);
}

/* `sums` (B, H, group). */
static void for_each_slice(const AttentionRun *run, const Sizes *z, const Buffers *buffers, SliceWork *work, real *sums)
{
    size_t slices = (z->state + LINEAR_SLICE - 1) / LINEAR_SLICE;
#pragma omp parallel for collapse(3) schedule(static)
    for (size_t s = 0; s < z->B; s++)
        for (size_t j = 0; j < z->H; j++)
            for (size_t i = 0; i < slices; i++) {
                Head head = linear_head_at(run, z, buffers, s, j);
                HeadGradients gradients = gradients_of(run, z, buffers, s, j);
                size_t first = i * LINEAR_SLICE;
                StateSlice slice = {first, smaller(z->state - first, LINEAR_SLICE)};
                work(z, &head, &gradients, sums + head.index * z->group, slice);
            }
}

/* `sums` (B, H, group) or NULL. */
static void for_each_head(const AttentionRun *run, const Sizes *z, const Buffers *buffers, HeadWork *work, real *sums)
{
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t s = 0; s < z->B; s++)
        for (size_t j = 0; j < z->H; j++) {
            Head head = linear_head_at(run, z, buffers, s, j);
            work(run, z, &head, sums ? sums + head.index * z->group : NULL);
        }
}

/* ---- forward -------------------------------------------------------------------------------------------------------- */

static void begin_scan(const AttentionRun *run, const Sizes *z, const Buffers *buffers, ScanDirection direction)
{
    ExclusiveSum sum = {.direction = direction, .local = buffers->total, .incoming = buffers->incoming};
    sum.count = z->B * z->H * z->group;
    sum.groups = z->decays ? z->B * z->H : 0;
    run->link->exclusive_sum_begin(run->link, &sum);
}

/* sums (W b) of the gates of the window's rows, from the start of the document on that the rank's first token belongs to: nobody
   sees what is before it. Returns the last. */
static double sum_window_gates(const AttentionRun *run, const Sizes *z, double *sums, Matrix window, size_t s)
{
    const int32_t *starts = attention_document_starts(run, s);
    double sum = 0;
    for (size_t i = 0; i < z->before; i++) {
        bool begins = starts && (size_t)starts[0] + z->before == z->first_token + i;
        sum = begins ? 0 : sum + (double)matrix_row(window, i)[window_gate_column(z)];
        sums[i] = sum;
    }
    return sum;
}

/* The sums of the gates, once those of the window are there. */
static void sum_gates(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    Saved saved = linear_saved_parts(run->layer, z, run->saved);
    if (!run->gate) return;
#pragma omp parallel for schedule(static)
    for (size_t index = 0; index < z->B * z->H; index++) {
        double *gates = buffers->gates + index * (z->before + z->N);
        double before = sum_window_gates(run, z, gates, linear_window_of(z, saved.window, index), index / z->H);
        gate_sum(gates + z->before, run->gate + index * z->N, run, index / z->H, before);
    }
}

static size_t share_count(const AttentionRun *run, const Sizes *z)
{
    return run->watch.heads ? z->B * z->H * z->blocks : 0;
}

/* Block by block: the same sums on any number of threads. */
static void add_up_shares(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    for (size_t i = 0; i < share_count(run, z); i++) shares_add(&run->watch.heads[i / z->blocks], &buffers->shares[i]);
}

void linear_forward(const AttentionRun *run)
{
    Sizes z = linear_sizes(run->layer, &run->shape);
    size_t mark = arena_mark(run->scratch);
    Buffers buffers = linear_take_buffers(run->layer, &z, FORWARD, run->scratch);
    buffers.scales = linear_scales(run->layer, run->params);
    phase_begin(PHASE_FEATURES);
    if (linear_uses_qk_norm(run->layer)) norm_queries_and_keys(run, &z, &buffers);
    map_pass(run, &z, &buffers, FORWARD, true);
    linear_window_begin(run, &z, &buffers);
    map_pass(run, &z, &buffers, FORWARD, false);
    linear_window_finish(run, &z, &buffers);
    if (run->state) for_each_head(run, &z, &buffers, linear_head_enter, buffers.total);
    sum_gates(run, &z, &buffers);
    phase_begin(PHASE_KEYS);
    for_each_block(run, &z, &buffers, linear_slot_keys_forward);
    for_each_slice(run, &z, &buffers, linear_total_of_keys, buffers.total);
    begin_scan(run, &z, &buffers, SCAN_FORWARD);
    phase_begin(PHASE_PAIRS);
    for_each_block(run, &z, &buffers, linear_block_local);
    run->link->exclusive_sum_finish(run->link);
    phase_begin(PHASE_QUERIES);
    if (run->state) for_each_head(run, &z, &buffers, linear_head_take_state, buffers.incoming);
    for_each_slice(run, &z, &buffers, linear_prefixes_of_keys, buffers.incoming);
    memset(buffers.shares, 0, share_count(run, &z) * sizeof *buffers.shares);
    for_each_block(run, &z, &buffers, linear_block_queries);
    add_up_shares(run, &z, &buffers);
    if (run->state) for_each_head(run, &z, &buffers, linear_head_leave, NULL);
    arena_release(run->scratch, mark);
}

/* ---- backward ------------------------------------------------------------------------------------------------------- */

/* Everything that is added to. */
static void clear_gradients(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    size_t tokens = z->B * z->N, heads = z->B * z->H;
    clear_memory(run->d_qkv, tokens * 3 * z->C * sizeof(real));
    clear_memory(buffers->d_u_query, tokens * z->H * z->r * sizeof(real));
    clear_memory(buffers->d_u_key, tokens * z->H * z->r * sizeof(real));
    if (linear_uses_qk_norm(run->layer)) {
        clear_memory(buffers->d_query, tokens * z->C * sizeof(real));
        clear_memory(buffers->d_key, tokens * z->C * sizeof(real));
    }
    if (z->window) clear_memory(buffers->d_window, heads * z->before * z->row * sizeof(real));
    if (buffers->key_sums) clear_memory(buffers->key_sums, heads * (z->before + z->N) * sizeof(real));
}

/* Behind the sums of the states among what stretches carry. */
static size_t gate_offset(const Sizes *z) { return z->B * z->H * z->group; }

static void features_backward(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    size_t tokens = z->B * z->N;
    map_pass(run, z, buffers, BACKWARD, false);
    map_pass(run, z, buffers, BACKWARD, true);
    if (linear_uses_qk_norm(run->layer))
        qk_norm_backward(run->layer, run->params, matrix_dense(run->d_qkv, tokens, 3 * z->C),
                         const_matrix_dense(buffers->d_query, tokens, z->C),
                         const_matrix_dense(buffers->d_key, tokens, z->C),
                         const_matrix_dense(run->qkv, tokens, 3 * z->C), run->scratch);
}

/* Blocks that see keys in common add to the same gradients, so they take turns: those 1 + W apart have none in common. */
static void local_backward(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    for (size_t first = 0; first < 1 + z->window; first++)
        for_blocks_from(run, z, buffers, linear_block_local_backward, first, 1 + z->window);
}

void linear_backward(const AttentionRun *run)
{
    Sizes z = linear_sizes(run->layer, &run->shape);
    size_t mark = arena_mark(run->scratch);
    Buffers buffers = linear_take_buffers(run->layer, &z, BACKWARD, run->scratch);
    buffers.scales = linear_scales(run->layer, run->params);
    phase_begin(PHASE_FEATURES);
    clear_gradients(run, &z, &buffers);
    sum_gates(run, &z, &buffers);
    if (linear_uses_qk_norm(run->layer)) norm_queries_and_keys(run, &z, &buffers);
    phase_begin(PHASE_QUERIES);
    for_each_block(run, &z, &buffers, linear_block_queries_backward);
    for_each_slice(run, &z, &buffers, linear_total_of_adjoints, buffers.total);
    begin_scan(run, &z, &buffers, SCAN_BACKWARD);
    phase_begin(PHASE_PAIRS);
    local_backward(run, &z, &buffers);
    run->link->exclusive_sum_finish(run->link);
    phase_begin(PHASE_KEYS);
    for_each_slice(run, &z, &buffers, linear_prefixes_of_adjoints, buffers.incoming);
    for_each_block(run, &z, &buffers, linear_slot_keys_backward);
    linear_window_return(run, &z, &buffers);
    phase_begin(PHASE_FEATURES);
    if (run->gate) {
        for_each_block(run, &z, &buffers, linear_block_gates_backward);
        gate_sum_backward(run, gate_offset(&z));
    }
    if (run->layer->far_scale >= 0) linear_far_scale_backward(run, &z, &buffers);
    features_backward(run, &z, &buffers);
    arena_release(run->scratch, mark);
}

/* ---- for others ----------------------------------------------------------------------------------------------------- */

CarriedCounts linear_carried(const AttentionLayer *layer, const AttentionShape *shape)
{
    Sizes z = linear_sizes(layer, shape);
    size_t heads = z.B * z.H;
    size_t gates = attention_has_gate(layer) ? gate_sum_count(layer, shape) : 0;
    return (CarriedCounts){.sums = gate_offset(&z) + gates, .shifts = heads * z.before * z.row};
}

/* Pairs of T queries with the keys of their own block and of W before it, blocks of b. */
static double near_pairs(double T, double b, double W)
{
    double whole = floor(T / b), rest = T - whole * b, pairs = whole * b * (b + 1) / 2 + rest * (rest + 1) / 2;
    for (double w = 1; w <= W; w++) pairs += fmax(T - w * b, 0) * b;
    return pairs;
}

AttentionCost linear_cost(const AttentionLayer *layer, const AttentionShape *shape)
{
    Sizes z = linear_sizes(layer, shape);
    double T = (double)shape->context_length, b = (double)z.b, W = (double)z.window;
    double local = near_pairs(T, b, W) * 2 * (double)(linear_local_width(layer, &z) + z.h);
    double last = (double)(z.all_blocks - 1) * b - W * b; /* where keys end that meet a query */
    double crossing = fmax(last, 0) + fmax(T - (1 + W) * b, 0);
    double states = 2 * crossing * (double)z.state;
    double features = (linear_exact_local(layer) ? crossing : 2 * T) * layer->map->flops(layer);
    AttentionMessages forward = {0}, backward = {0};
    if (shape->segments > 1) {
        size_t window = z.B * z.H * z.before * z.row, states_sent = z.B * z.H * z.group;
        size_t hops = linear_window_hops(shape, &z);
        forward = (AttentionMessages){1 + (int)hops, states_sent + hops * window, {states_sent}};
        backward = forward;
        if (attention_has_gate(layer)) {
            backward.sums[1] = gate_sum_count(layer, shape);
            backward.count++;
            backward.numbers += backward.sums[1];
        }
    }
    return (AttentionCost){.forward_flops = (double)z.H * (local + states + features),
                           .feature_flops = (double)z.H * features,
                           .forward = forward,
                           .backward = backward};
}
