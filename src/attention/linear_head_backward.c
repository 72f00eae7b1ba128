/* One head of one sequence, backward: the formulae are in linear.c. */
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

/* <g_i, o_i> of all rows. Rows that were clamped are counted here: the backward pass is the one that happens once. */
static void fill_delta(const AttentionRun *run, const Sizes *z, const Head *head, real *delta, ConstMatrix d_out)
{
    int64_t clamped = 0;
    exact_delta(delta, d_out, matrix_const(head->out));
    attention_hold_clamped(delta, head->normaliser, z->N);
    for (size_t i = 0; i < z->N; i++) clamped += head->prefix_factor[i] == 0;
    attention_count_clamped(run, clamped);
}

void linear_head_queries_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                                  const HeadGradients *gradients, real *total)
{
    fill_delta(run, z, head, gradients->delta, gradients->d_out);
    Panel panel = panel_in(z, head->scratch);
    memset(head->running, 0, z->state * sizeof *head->running);
    for (size_t l = 0; l < z->blocks; l++) {
        size_t rows = linear_block_rows(z, l);
        real *adjoint = gradients->adjoint + l * z->state;
        if (is_first_block(z, l)) { /* no earlier tokens: nothing flows into them */
            memset(adjoint, 0, z->state * sizeof(real));
            continue;
        }
        memset(adjoint + z->m * z->h, 0, z->m * sizeof *adjoint);
        transpose(panel.transposed, z->m, head->states + l * z->state, z->h, z->m, z->h);
        for (size_t i = 0; i < rows; i += z->panel_rows)
            query_panel_backward(run, z, head, gradients, &panel, l, i, panel_rows_from(z, i, rows));
        add_widely(head->running, adjoint, z->state);
    }
    round_to_real(total, head->running, z->state);
}

/* d_u(k) and d_v of a panel. */
static void key_panel_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                               const HeadGradients *gradients, const Panel *panel, const real *adjoint, size_t first,
                               size_t count)
{
    ConstMatrix u = const_matrix_rows(head->u_key, first, count);
    gather_rows(panel->values, const_matrix_rows(head->values, first, count));
    features_backward(run, z, panel, adjoint, NULL, matrix_rows(gradients->d_u_key, first, count), u);
    panel_expand(run->layer->map, panel, u);
    small_gemm_nn(panel->values, z->h, panel->features, z->m, adjoint, z->h, count, z->h, z->m, OVERWRITE);
    for (size_t i = 0; i < count; i++)
        add_to(matrix_row(gradients->d_values, first + i), panel->values + i * z->h, z->h);
}

void linear_head_keys_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                               const HeadGradients *gradients, real *incoming)
{
    Panel panel = panel_in(z, head->scratch);
    linear_sums_to_prefixes(gradients->adjoint, incoming, z, true, head->running);
    for (size_t l = 0; l < z->blocks; l++) {
        if (is_last_block(z, l)) continue; /* no tokens come after it */
        size_t rows = linear_block_rows(z, l);
        const real *adjoint = gradients->adjoint + l * z->state;
        transpose(panel.transposed, z->m, adjoint, z->h, z->m, z->h);
        for (size_t i = 0; i < rows; i += z->panel_rows)
            key_panel_backward(run, z, head, gradients, &panel, adjoint, l * z->b + i, panel_rows_from(z, i, rows));
    }
}

void linear_head_local_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                                const HeadGradients *gradients, real *sums)
{
    (void)run, (void)sums;
    for (size_t l = 0; l < z->blocks; l++) {
        ExactHead part = linear_local_block(head, z, l);
        size_t first = l * z->b, rows = part.q.rows;
        ExactGradients d_part = {
            .d_out = const_matrix_rows(gradients->d_out, first, rows),
            .delta = gradients->delta + first,
            .d_q = matrix_rows(gradients->d_query, first, rows),
            .d_k = matrix_rows(gradients->d_key, first, rows),
            .d_v = matrix_rows(gradients->d_values, first, rows),
        };
        exact_backward(&head->weight, &part, head->normaliser + first, &d_part, head->scratch);
    }
}
