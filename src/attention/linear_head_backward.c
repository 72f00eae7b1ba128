/* One head of one sequence, backward: the formulae are in linear.c. */
#include <string.h>

#include "src/attention/linear_parts.h"

HeadGradients linear_gradients_at(const AttentionRun *run, const Sizes *z, const Buffers *buffers, size_t s, size_t j)
{
    size_t token = s * z->N, u = (token * z->H + j) * z->r, row = token * z->C + j * z->h;
    bool exact = linear_exact_local(run->layer);
    HeadGradients gradients = {
        .d_out = run->d_out + row,
        .delta = buffers->delta + (s * z->H + j) * z->N,
        .adjoint = buffers->adjoint + (s * z->H + j) * z->blocks * z->state,
        .d_u_query = buffers->d_u_query + u,
        .d_u_key = buffers->d_u_key + u,
        .d_values = {run->d_qkv + token * 3 * z->C + 2 * z->C + j * z->h, 3 * z->C},
    };
    gradients.d_query =
        exact ? (HeadGradient){buffers->d_query + row, z->C} : (HeadGradient){gradients.d_u_query, z->H * z->r};
    gradients.d_key =
        exact ? (HeadGradient){buffers->d_key + row, z->C} : (HeadGradient){gradients.d_u_key, z->H * z->r};
    return gradients;
}

/* dR (count, h + 1) = (g, -delta) / normaliser, times the factor with which the row took phi(q) Z */
static void output_gradient_panel(const Panel *panel, const Sizes *z, const Head *head, const HeadGradients *gradients,
                                  size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const real *g = gradients->d_out + (first + i) * z->C;
        real inverse = head->prefix_factor[first + i] / head->normaliser[first + i], *out = panel->values + i * z->h;
#pragma omp simd
        for (size_t c = 0; c < z->h; c++) out[c] = g[c] * inverse;
        panel->normaliser[i] = -gradients->delta[first + i] * inverse;
    }
}

/* d_u += by way of d_phi (count, m) = (values, factors) state^T, of which panel->transposed holds the values' part. NULL
   factors are 1. */
static void features_backward(const AttentionRun *run, const Sizes *z, const Panel *panel, const real *state,
                              const real *factors, real *d_u, const real *u, size_t stride, size_t count)
{
    panel_fill_rows(panel, normaliser_of(z, state), factors, count, z->m);
    small_gemm_nn(panel->features, z->m, panel->values, z->h, panel->transposed, z->m, count, z->m, z->h, ADD);
    panel_contract(run->layer->map, z, panel, d_u, u, stride, count);
}

/* d_u(q) of a panel, and its share of the adjoint block sum. */
static void query_panel_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                                 const HeadGradients *gradients, const Panel *panel, size_t block, size_t row,
                                 size_t count)
{
    size_t first = block * z->b + row, u_stride = z->H * z->r;
    const real *u = head->u_query + first * u_stride;
    real *adjoint = gradients->adjoint + block * z->state;
    output_gradient_panel(panel, z, head, gradients, first, count);
    features_backward(run, z, panel, head->states + block * z->state, panel->normaliser,
                      gradients->d_u_query + first * u_stride, u, u_stride, count);
    panel_expand(run->layer->map, z, panel, u, u_stride, count);
    panel_add_to_state(z, adjoint, panel, count, row ? ADD : OVERWRITE);
    panel_add_rows(panel, adjoint + z->m * z->h, panel->normaliser, count, z->m);
}

/* <g_i, o_i> of all rows. Rows that were clamped are counted here: the backward pass is the one that happens once. */
static void fill_delta(const AttentionRun *run, const Sizes *z, const Head *head, real *delta, const real *d_out)
{
    int64_t clamped = 0;
    exact_delta(delta, (HeadRows){d_out, z->C}, (HeadRows){head->out, z->C}, z->N, z->h);
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
    size_t u_stride = z->H * z->r;
    const real *u = head->u_key + first * u_stride;
    HeadGradient d_values = gradients->d_values;
    gather_rows(panel->values, head->values + first * 3 * z->C, 3 * z->C, count, z->h);
    features_backward(run, z, panel, adjoint, NULL, gradients->d_u_key + first * u_stride, u, u_stride, count);
    panel_expand(run->layer->map, z, panel, u, u_stride, count);
    small_gemm_nn(panel->values, z->h, panel->features, z->m, adjoint, z->h, count, z->h, z->m, OVERWRITE);
    for (size_t i = 0; i < count; i++)
        add_to(d_values.rows + (first + i) * d_values.stride, panel->values + i * z->h, z->h);
}

void linear_head_keys_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                               const HeadGradients *gradients, const real *incoming)
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

static HeadGradient gradient_from(HeadGradient x, size_t row)
{
    return (HeadGradient){x.rows + row * x.stride, x.stride};
}

void linear_head_local_backward(const Sizes *z, const Head *head, const HeadGradients *gradients)
{
    for (size_t l = 0; l < z->blocks; l++) {
        ExactHead part = linear_local_block(head, z, l);
        size_t first = l * z->b;
        exact_backward(&head->weight, &part, (HeadRows){gradients->d_out + first * z->C, z->C},
                       head->normaliser + first, gradients->delta + first, gradient_from(gradients->d_query, first),
                       gradient_from(gradients->d_key, first), gradient_from(gradients->d_values, first),
                       head->scratch);
    }
}
