/* One head of one sequence, forward: the formulae are in linear.c. */
#include <omp.h>
#include <string.h>

#include "src/attention/linear_parts.h"

Head linear_head_at(const AttentionRun *run, const Sizes *z, const Buffers *buffers, size_t s, size_t j)
{
    Saved saved = linear_saved_parts(z, run->saved);
    size_t tokens = z->B * z->N;
    ConstMatrix values = const_matrix_columns(const_matrix_dense(run->qkv, tokens, 3 * z->C), 2 * z->C, z->C);
    Head head = {
        .index = s * z->H + j,
        .u_query = matrix_const(linear_head_of(z, saved.u_query, z->r, s, j)),
        .u_key = matrix_const(linear_head_of(z, saved.u_key, z->r, s, j)),
        .values = const_head_of(values, z->N, z->H, s, j),
        .out = linear_head_of(z, run->out, z->h, s, j),
        .normaliser = saved.normaliser + (s * z->H + j) * z->N,
        .prefix_factor = saved.prefix_factor + (s * z->H + j) * z->N,
        .query_factors = buffers->query_factors ? buffers->query_factors + s * z->N * z->H + j : NULL,
        .states = saved.states + (s * z->H + j) * z->blocks * z->state,
        .weight = linear_pair_weight(run->layer, &buffers->powers),
        .powers = buffers->powers,
        .running = buffers->running + (size_t)omp_get_thread_num() * z->state,
        .scratch = buffers->threads + (size_t)omp_get_thread_num() * buffers->per_thread,
    };
    head.local = (ExactHead){.q = head.u_query, .k = head.u_key, .v = head.values};
    if (linear_exact_local(run->layer)) {
        head.local.q = matrix_const(linear_head_of(z, buffers->query, z->h, s, j));
        head.local.k = matrix_const(linear_head_of(z, buffers->key, z->h, s, j));
    }
    return head;
}

ExactHead linear_local_block(const Head *head, const Sizes *z, size_t block)
{
    ExactHead part = head->local;
    size_t first = block * z->b, rows = linear_block_rows(z, block);
    part.q = const_matrix_rows(part.q, first, rows);
    part.k = const_matrix_rows(part.k, first, rows);
    part.v = const_matrix_rows(part.v, first, rows);
    return part;
}

void linear_sums_to_prefixes(real *states, const real *incoming, const Sizes *z, bool backwards, double *running)
{
    for (size_t i = 0; i < z->state; i++) running[i] = (double)incoming[i];
    for (size_t step = 0; step < z->blocks; step++) {
        real *state = states + (backwards ? z->blocks - 1 - step : step) * z->state;
#pragma omp simd
        for (size_t i = 0; i < z->state; i++) {
            double sum = (double)state[i];
            state[i] = (real)running[i];
            running[i] += sum;
        }
    }
}

/* ---- keys ---- */

/* state = sum of phi(u_j) v~_j^T over the rows of a block, u (rows, r) and v (rows, h), panel by panel. */
static void block_sum(const AttentionRun *run, const Sizes *z, real *state, ConstMatrix u, ConstMatrix v,
                      const Panel *panel)
{
    memset(state + z->m * z->h, 0, z->m * sizeof *state);
    for (size_t i = 0; i < u.rows; i += z->panel_rows) {
        size_t count = panel_rows_from(z, i, u.rows);
        panel_expand(run->layer->map, panel, const_matrix_rows(u, i, count));
        gather_rows(panel->values, const_matrix_rows(v, i, count));
        panel_add_to_state(z, state, panel, count, i ? ADD : OVERWRITE);
        panel_add_rows(panel, state + z->m * z->h, NULL, count, z->m);
    }
}

void linear_head_keys(const AttentionRun *run, const Sizes *z, const Head *head, const HeadGradients *gradients,
                      real *total)
{
    (void)gradients;
    Panel panel = panel_in(z, head->scratch);
    memset(head->running, 0, z->state * sizeof *head->running);
    for (size_t l = 0; l < z->blocks; l++) {
        real *state = head->states + l * z->state;
        if (is_last_block(z, l)) {
            memset(state, 0, z->state * sizeof *state);
            continue;
        }
        size_t first = l * z->b, rows = linear_block_rows(z, l);
        block_sum(run, z, state, const_matrix_rows(head->u_key, first, rows),
                  const_matrix_rows(head->values, first, rows), &panel);
        add_widely(head->running, state, z->state);
    }
    round_to_real(total, head->running, z->state);
}

/* ---- pairs inside blocks ---- */

void linear_head_local(const AttentionRun *run, const Sizes *z, const Head *head, const HeadGradients *gradients,
                       real *sums)
{
    (void)run, (void)gradients, (void)sums;
    for (size_t i = 0; i < z->N; i++) {
        head->normaliser[i] = head->powers.one * (head->query_factors ? head->query_factors[i * z->H] : 1);
        head->prefix_factor[i] = head->powers.factor;
        memset(matrix_row(head->out, i), 0, z->h * sizeof(real));
    }
    for (size_t l = 0; l < z->blocks; l++) {
        ExactHead part = linear_local_block(head, z, l);
        size_t first = l * z->b;
        exact_forward(&head->weight, &part, matrix_rows(head->out, first, part.q.rows), head->normaliser + first, NULL,
                      head->scratch);
    }
}

/* ---- queries ---- */

/* (numerator, denominator) += phi(q) Z for `count` rows from `first` on. */
static void query_panel(const AttentionRun *run, const Sizes *z, const Head *head, const Panel *panel,
                        const real *state, size_t first, size_t count)
{
    panel_expand(run->layer->map, panel, const_matrix_rows(head->u_query, first, count));
    small_gemm_nn(panel->values, z->h, panel->features, z->m, state, z->h, count, z->h, z->m, OVERWRITE);
    for (size_t i = 0; i < count; i++) {
        real *factor = &head->prefix_factor[first + i];
        real sum = linear_sketched_sum(run->layer->map, z, panel->features + i * z->m, normaliser_of(z, state), factor);
        if (*factor == 0) continue;
        add_times(matrix_row(head->out, first + i), *factor, panel->values + i * z->h, z->h);
        head->normaliser[first + i] += *factor * sum;
    }
}

void linear_head_queries(const AttentionRun *run, const Sizes *z, const Head *head, const HeadGradients *gradients,
                         real *incoming)
{
    (void)gradients;
    Panel panel = panel_in(z, head->scratch);
    linear_sums_to_prefixes(head->states, incoming, z, false, head->running);
    for (size_t l = 0; l < z->blocks; l++) {
        size_t rows = is_first_block(z, l) ? 0 : linear_block_rows(z, l);
        for (size_t i = 0; i < rows; i += z->panel_rows)
            query_panel(run, z, head, &panel, head->states + l * z->state, l * z->b + i, panel_rows_from(z, i, rows));
    }
    for (size_t i = 0; i < z->N; i++) {
        if (head->normaliser[i] < LEAST_NORMALISER) {
            head->normaliser[i] = LEAST_NORMALISER;
            head->prefix_factor[i] = 0;
        }
        real inverse = 1 / head->normaliser[i], *o = matrix_row(head->out, i);
#pragma omp simd
        for (size_t c = 0; c < z->h; c++) o[c] *= inverse;
    }
}
