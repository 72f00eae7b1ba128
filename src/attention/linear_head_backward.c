/* The blocks of one head of one sequence, backward: the formulae are in linear.c. */
#include <math.h>
#include <string.h>

#include "src/attention/linear_parts.h"

HeadGradients linear_gradients_at(const AttentionRun *run, const Sizes *z, const Buffers *buffers, size_t s, size_t j)
{
    size_t tokens = z->B * z->N;
    Matrix d_values = matrix_columns(matrix_dense(run->d_qkv, tokens, 3 * z->C), 2 * z->C, z->C);
    HeadGradients gradients = {
        .d_out = const_head_of(const_matrix_dense(run->d_out, tokens, z->C), z->N, z->H, s, j),
        .delta = buffers->delta + (s * z->H + j) * z->N,
        .adjoint = buffers->adjoint + (s * z->H + j) * z->blocks * z->state,
        .d_u_query = linear_head_of(z, buffers->d_u_query, z->r, s, j),
        .d_u_key = linear_head_of(z, buffers->d_u_key, z->r, s, j),
        .d_values = head_of(d_values, z->N, z->H, s, j),
        .d_window = linear_window_of(z, buffers->d_window, s * z->H + j),
        .key_sums = buffers->key_sums ? buffers->key_sums + (s * z->H + j) * (z->before + z->N) : NULL,
        .log_normaliser = buffers->log_normaliser ? buffers->log_normaliser + (s * z->H + j) * z->N : NULL,
    };
    bool exact = linear_exact_local(run->layer);
    gradients.d_query = exact ? linear_head_of(z, buffers->d_query, z->h, s, j) : gradients.d_u_query;
    gradients.d_key = exact ? linear_head_of(z, buffers->d_key, z->h, s, j) : gradients.d_u_key;
    return gradients;
}

/* dR (count, h + 1) = (g, -delta) / normaliser, times the factor with which the row took phi(q) Z */
static void output_gradient_panel(const Panel *panel, const Sizes *z, const Head *head, const HeadGradients *gradients,
                                  size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const real *g = const_matrix_row(gradients->d_out, first + i);
        real inverse = head->prefix_factor[first + i] / head->normaliser[first + i], *out = panel->values + i * z->h;
#pragma omp simd
        for (size_t c = 0; c < z->h; c++) out[c] = g[c] * inverse;
        panel->normaliser[i] = -gradients->delta[first + i] * inverse;
    }
}

/* d_u (count, r) += by way of d_phi (count, m) = (values, factors) state^T, of which panel->transposed holds the values'
   part. NULL factors are 1. */
static void features_backward(const AttentionRun *run, const Sizes *z, const Panel *panel, const real *state,
                              const real *factors, Matrix d_u, ConstMatrix u)
{
    panel_fill_rows(panel, normaliser_of(z, state), factors, u.rows, z->m);
    small_gemm_nn(panel->features, z->m, panel->values, z->h, panel->transposed, z->m, u.rows, z->m, z->h, ADD);
    panel_contract(run->layer->map, panel, d_u, u);
}

/* d_u(q) of a panel, and its share of the adjoint block sum. */
static void query_panel_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                                 const HeadGradients *gradients, const Panel *panel, size_t block, size_t row,
                                 size_t count)
{
    size_t first = block * z->b + row;
    ConstMatrix u = const_matrix_rows(head->u_query, first, count);
    real *adjoint = gradients->adjoint + block * z->state;
    output_gradient_panel(panel, z, head, gradients, first, count);
    features_backward(run, z, panel, head->states + block * z->state, panel->normaliser,
                      matrix_rows(gradients->d_u_query, first, count), u);
    panel_expand(run->layer->map, panel, u);
    panel_add_to_state(z, adjoint, panel, count, row ? ADD : OVERWRITE);
    panel_add_rows(panel, adjoint + z->m * z->h, panel->normaliser, count, z->m);
}

/* <g_i, o_i> of `count` rows. Rows that were clamped are counted here: the backward pass is the one that happens once. */
static void fill_delta(const AttentionRun *run, const Sizes *z, const Head *head, const HeadGradients *gradients,
                       size_t first, size_t count)
{
    int64_t clamped = 0;
    real *delta = gradients->delta + first;
    exact_delta(delta, const_matrix_rows(gradients->d_out, first, count),
                matrix_const(matrix_rows(head->out, first, count)));
    attention_hold_clamped(delta, head->normaliser + first, count);
    for (size_t i = first; i < first + count; i++) {
        bool hidden = head->normaliser[i] > LEAST_NORMALISER && linear_state_is_hidden(head, z, i);
        clamped += head->prefix_factor[i] == 0 && !hidden;
    }
    attention_count_clamped(run, clamped);
}

void linear_block_queries_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                                   const HeadGradients *gradients, size_t block)
{
    size_t rows = linear_block_rows(z, block);
    real *adjoint = gradients->adjoint + block * z->state;
    fill_delta(run, z, head, gradients, block * z->b, rows);
    if (!linear_reads_state(head, z, block)) { /* no tokens behind the window: nothing flows into them */
        memset(adjoint, 0, z->state * sizeof(real));
        return;
    }
    Panel panel = panel_in(z, head->scratch);
    memset(adjoint + z->m * z->h, 0, z->m * sizeof *adjoint);
    transpose(panel.transposed, z->m, head->states + block * z->state, z->h, z->m, z->h);
    for (size_t i = 0; i < rows; i += z->panel_rows)
        query_panel_backward(run, z, head, gradients, &panel, block, i, panel_rows_from(z, i, rows));
}

/* The keys of a slot with their gradients, in the window's or in this rank's. */
typedef struct KeyGradients {
    SlotKeys keys;
    Matrix d_u, d_values; /* (rows, r), (rows, h) */
} KeyGradients;

static KeyGradients slot_gradients(const Head *head, const Sizes *z, const HeadGradients *gradients, size_t slot)
{
    KeyGradients slot_keys = {.keys = linear_slot_keys(head, z, slot)};
    size_t first = slot * z->b, rows = slot_keys.keys.u.rows;
    if (slot < z->window) {
        Matrix d_rows = matrix_rows(gradients->d_window, first, rows);
        slot_keys.d_values = matrix_columns(d_rows, window_value_column(z), z->h);
        slot_keys.d_u = matrix_columns(d_rows, window_u_column(z), z->r);
    } else {
        slot_keys.d_values = matrix_rows(gradients->d_values, first - z->before, rows);
        slot_keys.d_u = matrix_rows(gradients->d_u_key, first - z->before, rows);
    }
    return slot_keys;
}

/* d_u(k) and d_v of a panel of a slot's keys. */
static void key_panel_backward(const AttentionRun *run, const Sizes *z, const KeyGradients *slot, const Panel *panel,
                               const real *adjoint, size_t first, size_t count)
{
    ConstMatrix u = const_matrix_rows(slot->keys.u, first, count);
    const real *factors = linear_key_factors(panel->normaliser, &slot->keys, first, count);
    gather_rows(panel->values, const_matrix_rows(slot->keys.values, first, count));
    panel_scale_values(z, panel, factors, count);
    features_backward(run, z, panel, adjoint, factors, matrix_rows(slot->d_u, first, count), u);
    panel_expand(run->layer->map, panel, u);
    small_gemm_nn(panel->values, z->h, panel->features, z->m, adjoint, z->h, count, z->h, z->m, OVERWRITE);
    panel_scale_values(z, panel, factors, count);
    for (size_t i = 0; i < count; i++) add_to(matrix_row(slot->d_values, first + i), panel->values + i * z->h, z->h);
}

void linear_slot_keys_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                               const HeadGradients *gradients, size_t slot)
{
    if (!adds_to_state(z, slot)) return; /* nobody reads it */
    Panel panel = panel_in(z, head->scratch);
    KeyGradients keys = slot_gradients(head, z, gradients, slot);
    const real *adjoint = gradients->adjoint + slot * z->state;
    transpose(panel.transposed, z->m, adjoint, z->h, z->m, z->h);
    for (size_t i = 0; i < keys.keys.u.rows; i += z->panel_rows)
        key_panel_backward(run, z, &keys, &panel, adjoint, i, panel_rows_from(z, i, keys.keys.u.rows));
}

/* ---- near pairs ---- */

/* Gradients of the keys and values of a part, which the window has or this rank. */
static void set_key_gradients(const Sizes *z, const HeadGradients *gradients, const NearPairs *part, ExactGradients *d)
{
    size_t rows = part->pairs.k.rows, first = part->first_key;
    d->key_sums = gradients->key_sums ? gradients->key_sums + first : NULL;
    if (first < z->before) {
        Matrix d_rows = matrix_rows(gradients->d_window, first, rows);
        d->d_k = matrix_columns(d_rows, 0, z->h);
        d->d_v = matrix_columns(d_rows, window_value_column(z), z->h);
    } else {
        d->d_k = matrix_rows(gradients->d_key, first - z->before, rows);
        d->d_v = matrix_rows(gradients->d_values, first - z->before, rows);
    }
}

void linear_block_local_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                                 const HeadGradients *gradients, size_t block)
{
    NearPairs parts[2];
    size_t first = block * z->b, rows = linear_block_rows(z, block);
    const real *normaliser = head->normaliser;
    if (head->maxima) {
        for (size_t i = first; i < first + rows; i++)
            gradients->log_normaliser[i] = head->maxima[i] + real_log(head->normaliser[i]);
        normaliser = gradients->log_normaliser;
    }
    for (int part = 0, count = linear_near_pairs(run, head, z, block, parts); part < count; part++) {
        ExactGradients d_part = {
            .d_out = const_matrix_rows(gradients->d_out, first, rows),
            .delta = gradients->delta + first,
            .d_q = matrix_rows(gradients->d_query, first, rows),
        };
        set_key_gradients(z, gradients, &parts[part], &d_part);
        exact_backward(&head->weight, &parts[part].pairs, normaliser + first, &d_part, head->scratch);
    }
}

/* ---- gates and far scales ---- */

/* How sketched weights grow with u: with its square, or features that are not squared with u itself. */
static real growth(const AttentionRun *run) { return run->layer->map->self_tensored ? 2 : 1; }

void linear_block_gates_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                                 const HeadGradients *gradients, size_t block)
{
    real *d_gate = run->d_gate + head->index * z->N;
    TokenSpan mapped = linear_mapped_tokens(run->layer, z, true);
    for (size_t i = block * z->b; i < block * z->b + linear_block_rows(z, block); i++) {
        d_gate[i] = gradients->delta[i] * head->constant[i] / head->normaliser[i];
        if (gradients->key_sums) d_gate[i] -= gradients->key_sums[z->before + i];
        if (i < mapped.first || i >= mapped.end) continue;
        d_gate[i] -= dot(const_matrix_row(head->u_key, i), matrix_row(gradients->d_u_key, i), z->r) / growth(run);
    }
}

void linear_far_scale_backward(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    Saved saved = linear_saved_parts(run->layer, z, run->saved);
    real *d_far_scale = param_gradient(run->params, run->layer->far_scale);
    TokenSpan mapped = linear_mapped_tokens(run->layer, z, false);
#pragma omp parallel for schedule(static)
    for (size_t j = 0; j < z->H; j++) {
        double sum = 0;
        for (size_t s = 0; s < z->B; s++) {
            Matrix u = linear_head_of(z, saved.u_query, z->r, s, j);
            Matrix d_u = linear_head_of(z, buffers->d_u_query, z->r, s, j);
            for (size_t i = mapped.first; i < mapped.end; i++)
                sum += (double)dot(matrix_row(u, i), matrix_row(d_u, i), z->r);
        }
        d_far_scale[j] += (real)(sum / (double)growth(run));
    }
}
