/* One head of one sequence, forward: the formulae are in linear.c. */
#include <omp.h>
#include <string.h>

#include "src/attention/linear_parts.h"

Head linear_head_at(const AttentionRun *run, const Sizes *z, const Buffers *buffers, size_t s, size_t j)
{
    Saved saved = linear_saved_parts(z, run->saved);
    size_t token = s * z->N, u = (token * z->H + j) * z->r, row = token * z->C + j * z->h;
    bool exact = linear_exact_local(run->layer);
    Head head = {
        .index = s * z->H + j,
        .u_query = saved.u_query + u,
        .u_key = saved.u_key + u,
        .values = run->qkv + token * 3 * z->C + 2 * z->C + j * z->h,
        .out = run->out + row,
        .normaliser = saved.normaliser + (s * z->H + j) * z->N,
        .prefix_factor = saved.prefix_factor + (s * z->H + j) * z->N,
        .query_factors = buffers->query_factors ? buffers->query_factors + token * z->H + j : NULL,
        .states = saved.states + (s * z->H + j) * z->blocks * z->state,
        .weight = linear_pair_weight(run->layer, &buffers->powers),
        .powers = buffers->powers,
        .running = buffers->running + (size_t)omp_get_thread_num() * z->state,
        .scratch = buffers->threads + (size_t)omp_get_thread_num() * buffers->per_thread,
    };
    head.local = (ExactHead){
        .q = exact ? (HeadRows){buffers->query + row, z->C} : (HeadRows){head.u_query, z->H * z->r},
        .k = exact ? (HeadRows){buffers->key + row, z->C} : (HeadRows){head.u_key, z->H * z->r},
        .v = {head.values, 3 * z->C},
        .width = exact ? z->h : z->r,
        .value_width = z->h,
    };
    return head;
}

static HeadRows rows_from(HeadRows x, size_t row) { return (HeadRows){x.rows + row * x.stride, x.stride}; }

ExactHead linear_local_block(const Head *head, const Sizes *z, size_t block)
{
    ExactHead part = head->local;
    size_t first = block * z->b;
    part.q = rows_from(part.q, first);
    part.k = rows_from(part.k, first);
    part.v = rows_from(part.v, first);
    part.queries = part.keys = linear_block_rows(z, block);
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

/* state = sum of phi(u_j) v~_j^T over the rows of a block, panel by panel. */
static void block_sum(const AttentionRun *run, const Sizes *z, real *state, const real *u, const real *v, size_t rows,
                      const Panel *panel)
{
    size_t u_stride = z->H * z->r;
    memset(state + z->m * z->h, 0, z->m * sizeof *state);
    for (size_t i = 0; i < rows; i += z->panel_rows) {
        size_t count = panel_rows_from(z, i, rows);
        panel_expand(run->layer->map, z, panel, u + i * u_stride, u_stride, count);
        gather_rows(panel->values, v + i * 3 * z->C, 3 * z->C, count, z->h);
        panel_add_to_state(z, state, panel, count, i ? ADD : OVERWRITE);
        panel_add_rows(panel, state + z->m * z->h, NULL, count, z->m);
    }
}

void linear_head_keys(const AttentionRun *run, const Sizes *z, const Head *head, real *total)
{
    Panel panel = panel_in(z, head->scratch);
    memset(head->running, 0, z->state * sizeof *head->running);
    for (size_t l = 0; l < z->blocks; l++) {
        real *state = head->states + l * z->state;
        if (is_last_block(z, l)) {
            memset(state, 0, z->state * sizeof *state);
            continue;
        }
        size_t first = l * z->b;
        block_sum(run, z, state, head->u_key + first * z->H * z->r, head->values + first * 3 * z->C,
                  linear_block_rows(z, l), &panel);
        add_widely(head->running, state, z->state);
    }
    round_to_real(total, head->running, z->state);
}

/* ---- pairs inside blocks ---- */

void linear_head_local(const Sizes *z, const Head *head)
{
    for (size_t i = 0; i < z->N; i++) {
        head->normaliser[i] = head->powers.one * (head->query_factors ? head->query_factors[i * z->H] : 1);
        head->prefix_factor[i] = head->powers.factor;
        memset(head->out + i * z->C, 0, z->h * sizeof(real));
    }
    for (size_t l = 0; l < z->blocks; l++) {
        ExactHead part = linear_local_block(head, z, l);
        size_t first = l * z->b;
        exact_forward(&head->weight, &part, (HeadGradient){head->out + first * z->C, z->C}, head->normaliser + first,
                      NULL, head->scratch);
    }
}

/* ---- queries ---- */

/* (numerator, denominator) += phi(q) Z for `count` rows from `first` on. */
static void query_panel(const AttentionRun *run, const Sizes *z, const Head *head, const Panel *panel,
                        const real *state, size_t first, size_t count)
{
    size_t u_stride = z->H * z->r;
    panel_expand(run->layer->map, z, panel, head->u_query + first * u_stride, u_stride, count);
    small_gemm_nn(panel->values, z->h, panel->features, z->m, state, z->h, count, z->h, z->m, OVERWRITE);
    for (size_t i = 0; i < count; i++) {
        real *factor = &head->prefix_factor[first + i];
        real sum = linear_sketched_sum(run->layer->map, z, panel->features + i * z->m, normaliser_of(z, state), factor);
        if (*factor == 0) continue;
        add_times(head->out + (first + i) * z->C, *factor, panel->values + i * z->h, z->h);
        head->normaliser[first + i] += *factor * sum;
    }
}

void linear_head_queries(const AttentionRun *run, const Sizes *z, const Head *head, const real *incoming)
{
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
        real inverse = 1 / head->normaliser[i], *o = head->out + i * z->C;
#pragma omp simd
        for (size_t c = 0; c < z->h; c++) o[c] *= inverse;
    }
}
