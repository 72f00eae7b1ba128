/* One head of one sequence, and its blocks forward: the formulae are in linear.c. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "src/attention/linear_parts.h"
#include "src/tensor/vector_math.h"

Head linear_head_at(const AttentionRun *run, const Sizes *z, const Buffers *buffers, size_t s, size_t j)
{
    Saved saved = linear_saved_parts(run->layer, z, run->saved);
    size_t tokens = z->B * z->N, index = s * z->H + j, thread = (size_t)omp_get_thread_num();
    ConstMatrix values = const_matrix_columns(const_matrix_dense(run->qkv, tokens, 3 * z->C), 2 * z->C, z->C);
    real log_far_scale = linear_log_far_scale(run->layer, run->params, j);
    Head head = {
        .index = index,
        .u_query = matrix_const(linear_head_of(z, saved.u_query, z->r, s, j)),
        .u_key = matrix_const(linear_head_of(z, saved.u_key, z->r, s, j)),
        .values = const_head_of(values, z->N, z->H, s, j),
        .window = matrix_const(linear_window_of(z, saved.window, index)),
        .gates = run->gate ? buffers->gates + index * (z->before + z->N) : NULL,
        .starts = attention_document_starts(run, s),
        .out = linear_head_of(z, run->out, z->h, s, j),
        .normaliser = saved.normaliser + index * z->N,
        .prefix_factor = saved.prefix_factor + index * z->N,
        .maxima = saved.maxima ? saved.maxima + index * z->N : NULL,
        .constant = saved.constant ? saved.constant + index * z->N : NULL,
        .query_factors = buffers->query_factors ? buffers->query_factors + s * z->N * z->H + j : NULL,
        .states = saved.states + index * z->blocks * z->state,
        .weight = linear_pair_weight(run->layer, &buffers->scales, log_far_scale),
        .scales = buffers->scales,
        .log_far = buffers->scales.log_far + log_far_scale,
        .shares = run->watch.heads ? buffers->shares + index * z->blocks : NULL,
        .watched = attention_watched_rows(run, s),
        .scratch = buffers->threads + thread * buffers->per_thread,
    };
    head.local = (ExactHead){.q = head.u_query, .k = head.u_key, .v = head.values, .starts = head.starts};
    head.local.q_gates = head.gates ? head.gates + z->before : NULL;
    if (linear_exact_local(run->layer)) {
        head.local.q = matrix_const(linear_head_of(z, buffers->query, z->h, s, j));
        head.local.k = matrix_const(linear_head_of(z, buffers->key, z->h, s, j));
    }
    return head;
}

/* ---- slots, their gates and documents ---- */

double linear_gates_before(const Head *head, const Sizes *z, size_t slot)
{
    size_t row = slot * z->b, rows = z->before + z->N; /* a short block ends early */
    return head->gates && row > 0 ? head->gates[(row < rows ? row : rows) - 1] : 0;
}

/* Keys of a slot, and of those behind it, that a token with this start does not see. The keys of slot 0 begin W b before the
   rank's first token, which may be before the sequence. */
static size_t keys_hidden(const Sizes *z, size_t slot, int32_t start)
{
    return keys_before((size_t)start + z->before, z->first_token + slot * z->b);
}

/* Are all keys before this slot's hidden from a token with this start? */
static bool hides_earlier(const Sizes *z, size_t slot, int32_t start)
{
    return (size_t)start + z->before >= z->first_token + slot * z->b;
}

/* What is visible behind a slot is bounded by what its own last query sees: no later one sees more, and a document that begins
   among the slot's keys has begun for that query. So a rank needs the starts of its own tokens alone, though the keys of a
   window's slots are those of earlier ranks. */
static int32_t start_behind(const Head *head, const Sizes *z, size_t slot)
{
    return head->starts[slot * z->b + linear_block_rows(z, slot) - 1];
}

static bool forgets_all(const Head *head, const Sizes *z, size_t from, size_t to)
{
    return head->starts && from < to && hides_earlier(z, from, start_behind(head, z, to - 1));
}

double linear_kept(const Head *head, const Sizes *z, size_t from, size_t to)
{
    if (forgets_all(head, z, from, to)) return 0;
    return head->gates ? exp(linear_gates_before(head, z, to) - linear_gates_before(head, z, from)) : 1;
}

/* The last slot of a rank is also where its log decay ends. */
real linear_log_decay(const Head *head, const Sizes *z)
{
    bool all = forgets_all(head, z, 0, z->blocks);
    return all ? (real)FORGETS_ALL : (real)linear_gates_before(head, z, z->blocks);
}

bool linear_state_is_hidden(const Head *head, const Sizes *z, size_t row)
{
    return head->starts && hides_earlier(z, row / z->b, head->starts[row]);
}

bool linear_reads_state(const Head *head, const Sizes *z, size_t slot)
{
    return reads_state(z, slot) && !linear_state_is_hidden(head, z, slot * z->b);
}

/* The keys of a slot are block slot - W: of the window, or of this rank. */
SlotKeys linear_slot_keys(const Head *head, const Sizes *z, size_t slot)
{
    size_t first = slot * z->b;
    SlotKeys keys = {.gates = head->gates ? head->gates + first : NULL};
    if (head->starts) keys.hidden = keys_hidden(z, slot, start_behind(head, z, slot));
    if (slot < z->window) {
        ConstMatrix rows = const_matrix_rows(head->window, first, z->b);
        keys.values = const_matrix_columns(rows, window_value_column(z), z->h);
        keys.u = const_matrix_columns(rows, window_u_column(z), z->r);
        return keys;
    }
    size_t rows = linear_block_rows(z, slot - z->window);
    keys.values = const_matrix_rows(head->values, first - z->before, rows);
    keys.u = const_matrix_rows(head->u_key, first - z->before, rows);
    return keys;
}

const real *linear_key_factors(real *factors, const SlotKeys *keys, size_t first, size_t count)
{
    if (!keys->gates && keys->hidden <= first) return NULL;
    double end = keys->gates ? keys->gates[keys->u.rows - 1] : 0;
#pragma omp simd
    for (size_t i = 0; i < count; i++) factors[i] = keys->gates ? vector_exp((real)(end - keys->gates[first + i])) : 1;
    for (size_t i = 0; i < count && first + i < keys->hidden; i++) factors[i] = 0; /* may be infinite: not multiplied */
    return factors;
}

/* ---- keys ---- */

/* state = sum of phi(u_j) v~_j^T over the keys of a slot, panel by panel, each times what the gates leave of it. */
static void slot_sum(const AttentionRun *run, const Sizes *z, real *state, const SlotKeys *keys, const Panel *panel)
{
    memset(state + z->m * z->h, 0, z->m * sizeof *state);
    for (size_t i = 0; i < keys->u.rows; i += z->panel_rows) {
        size_t count = panel_rows_from(z, i, keys->u.rows);
        const real *factors = linear_key_factors(panel->normaliser, keys, i, count);
        panel_expand(run->layer->map, panel, const_matrix_rows(keys->u, i, count));
        gather_rows(panel->values, const_matrix_rows(keys->values, i, count));
        panel_scale_values(z, panel, factors, count);
        panel_add_to_state(z, state, panel, count, i ? ADD : OVERWRITE);
        panel_add_rows(panel, state + z->m * z->h, factors, count, z->m);
    }
}

void linear_slot_keys_forward(const AttentionRun *run, const Sizes *z, const Head *head, const HeadGradients *gradients,
                              size_t slot)
{
    (void)gradients;
    real *state = head->states + slot * z->state;
    if (!adds_to_state(z, slot)) {
        memset(state, 0, z->state * sizeof *state);
        return;
    }
    Panel panel = panel_in(z, head->scratch);
    SlotKeys keys = linear_slot_keys(head, z, slot);
    slot_sum(run, z, state, &keys, &panel);
}

/* ---- near pairs ---- */

/* The window's rows before a sequence's first token do not exist. */
static size_t missing_rows(const AttentionRun *run, const Sizes *z)
{
    size_t first = run->shape.first_token;
    return first < z->before ? z->before - first : 0;
}

int linear_near_pairs(const AttentionRun *run, const Head *head, const Sizes *z, size_t block, NearPairs parts[2])
{
    size_t first = block * z->b, rows = linear_block_rows(z, block), reach = larger(first, missing_rows(run, z));
    int count = 0;
    ExactHead queries = exact_rows(&head->local, first, rows);
    if (reach < z->before) { /* all of these are seen */
        ConstMatrix window = const_matrix_rows(head->window, reach, z->before - reach);
        NearPairs *part = &parts[count++];
        *part = (NearPairs){queries, reach};
        part->pairs.k = const_matrix_columns(window, 0, z->h);
        part->pairs.v = const_matrix_columns(window, window_value_column(z), z->h);
        part->pairs.k_gates = head->gates ? head->gates + reach : NULL;
        part->pairs.offset = (ptrdiff_t)z->before;
        part->pairs.key_position = z->first_token + reach - z->before;
    }
    size_t start = first > z->before ? first - z->before : 0, keys = first + rows - start;
    NearPairs *part = &parts[count++];
    *part = (NearPairs){queries, z->before + start};
    part->pairs.k = const_matrix_rows(queries.k, start, keys);
    part->pairs.v = const_matrix_rows(queries.v, start, keys);
    part->pairs.k_gates = head->gates ? head->gates + z->before + start : NULL;
    part->pairs.offset = (ptrdiff_t)(first - start);
    part->pairs.key_position = z->first_token + start;
    return count;
}

/* The constant's part of a row's normaliser; beside exponentials once the maximum is known, which is not below 0 where the
   constant is not 0. */
static real constant_of(const Sizes *z, const Head *head, size_t row)
{
    real one = head->scales.powers.one;
    if (head->maxima) return one > 0 ? one * real_exp(-head->maxima[row]) : one;
    return one * (head->query_factors ? head->query_factors[row * z->H] : 1);
}

/* Before the pairs of a block: the constant, and how much of the sketched sums its rows will take. Exponential weights begin with
   the maximum of a score of 0, the constant's, unless there is nothing but them. */
static void begin_rows(const Sizes *z, const Head *head, size_t block)
{
    double start = linear_gates_before(head, z, block);
    real one = head->scales.powers.one;
    for (size_t i = block * z->b; i < block * z->b + linear_block_rows(z, block); i++) {
        bool hidden = linear_state_is_hidden(head, z, i), reads = reads_state(z, block) && !hidden;
        real decay = head->gates && reads ? (real)(head->gates[z->before + i] - start) : 0;
        head->normaliser[i] = head->maxima ? 0 : constant_of(z, head, i);
        head->prefix_factor[i] = hidden ? 0 : linear_far_factor(&head->scales, head->log_far + decay);
        if (head->constant) head->constant[i] = head->normaliser[i];
        memset(matrix_row(head->out, i), 0, z->h * sizeof(real));
        if (!head->maxima) continue;
        head->maxima[i] = one > 0 || reads ? 0 : -INFINITY;
        head->prefix_factor[i] = head->log_far + decay; /* its logarithm, until the maximum is known */
    }
}

/* After the pairs of a block with exponential weights: everything else on the scale of the row's maximum. */
static void finish_rows(const Sizes *z, const Head *head, size_t block)
{
    if (!head->maxima) return;
    for (size_t i = block * z->b; i < block * z->b + linear_block_rows(z, block); i++) {
        real one = constant_of(z, head, i);
        head->normaliser[i] += one;
        if (head->constant) head->constant[i] = one;
        real log_factor = head->prefix_factor[i] - head->maxima[i];
        head->prefix_factor[i] = linear_state_is_hidden(head, z, i) ? 0 : linear_far_factor(&head->scales, log_factor);
    }
}

void linear_block_local(const AttentionRun *run, const Sizes *z, const Head *head, const HeadGradients *gradients,
                        size_t block)
{
    (void)gradients;
    NearPairs parts[2];
    size_t first = block * z->b, rows = linear_block_rows(z, block);
    begin_rows(z, head, block);
    for (int part = 0, count = linear_near_pairs(run, head, z, block, parts); part < count; part++)
        exact_forward(&head->weight, &parts[part].pairs, matrix_rows(head->out, first, rows), head->normaliser + first,
                      head->maxima ? head->maxima + first : NULL, head->scratch);
    finish_rows(z, head, block);
}

/* ---- queries ---- */

static bool is_watched(const Head *head, size_t row) { return row - head->watched.first < head->watched.count; }

/* What a row's sketched sums have added to `near`, all else in its normaliser, is not exact. */
static void count_sketched(const AttentionRun *run, const Sizes *z, const Head *head, size_t row, real near)
{
    real normaliser = head->normaliser[row];
    if (!is_watched(head, row) || !linear_exact_local(run->layer) || normaliser < LEAST_NORMALISER) return;
    double share = 1 - (double)near / (double)normaliser;
    HeadShares *shares = &head->shares[row / z->b];
    shares->sketched += share;
    shares->exact -= share;
}

/* Near pairs that are computed one by one, but with the weights of the sketch, are sketched too. */
static void count_row(const AttentionRun *run, const Sizes *z, const Head *head, size_t row)
{
    if (!is_watched(head, row) || head->normaliser[row] <= LEAST_NORMALISER) return;
    HeadShares *shares = &head->shares[row / z->b];
    double *share = linear_exact_local(run->layer) ? &shares->exact : &shares->sketched;
    shares_add_row(shares, share, (double)constant_of(z, head, row), (double)head->normaliser[row],
                   run->gate ? (double)run->gate[head->index * z->N + row] : 0);
}

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
        real near = head->normaliser[first + i];
        head->normaliser[first + i] += *factor * sum;
        count_sketched(run, z, head, first + i, near);
    }
}

void linear_block_queries(const AttentionRun *run, const Sizes *z, const Head *head, const HeadGradients *gradients,
                          size_t block)
{
    (void)gradients;
    Panel panel = panel_in(z, head->scratch);
    size_t first = block * z->b, rows = linear_block_rows(z, block),
           reading = linear_reads_state(head, z, block) ? rows : 0;
    for (size_t i = 0; i < reading; i += z->panel_rows)
        query_panel(run, z, head, &panel, head->states + block * z->state, first + i, panel_rows_from(z, i, rows));
    for (size_t i = first; i < first + rows; i++) {
        if (head->normaliser[i] < LEAST_NORMALISER) {
            head->normaliser[i] = LEAST_NORMALISER;
            head->prefix_factor[i] = 0;
        }
        real inverse = 1 / head->normaliser[i], *o = matrix_row(head->out, i);
#pragma omp simd
        for (size_t c = 0; c < z->h; c++) o[c] *= inverse;
        count_row(run, z, head, i);
    }
}
