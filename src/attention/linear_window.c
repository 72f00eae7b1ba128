/* Linear attention with a window: the keys of the last W blocks before a rank's first token, which its first queries see exactly
   and which join the state behind them, come from the rank before. */
#include <string.h>

#include "src/attention/linear_parts.h"

static size_t window_count(const Sizes *z) { return z->B * z->H * z->before * z->row; }

size_t linear_window_hops(const AttentionShape *shape, const Sizes *z)
{
    size_t least = larger(shape->least_blocks, 1);
    return (z->window + least - 1) / least;
}

/* Rows of the tail that are this rank's own: the others come from its window. */
static size_t own_rows(const Sizes *z) { return z->N < z->before ? z->N : z->before; }

/* A row of the tail: key, value, u and gate of token t of this rank. */
static void pack_row(const AttentionRun *run, const Sizes *z, const Head *head, size_t t, real *row)
{
    memcpy(row, const_matrix_row(head->local.k, t), z->h * sizeof *row);
    memcpy(row + window_value_column(z), const_matrix_row(head->values, t), z->h * sizeof *row);
    memcpy(row + window_u_column(z), const_matrix_row(head->u_key, t), z->r * sizeof *row);
    if (head->gates) row[window_gate_column(z)] = run->gate[head->index * z->N + t];
}

/* The last W b rows before the next rank's first token, as far as this rank knows them. */
static void pack_tail(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    Saved saved = linear_saved_parts(run->layer, z, run->saved);
    size_t own = own_rows(z), rest = z->before - own;
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t s = 0; s < z->B; s++)
        for (size_t j = 0; j < z->H; j++) {
            Head head = linear_head_at(run, z, buffers, s, j);
            Matrix tail = linear_window_of(z, buffers->tail, head.index);
            Matrix window = linear_window_of(z, saved.window, head.index);
            memcpy(tail.at, matrix_row(window, own), rest * z->row * sizeof(real));
            for (size_t i = 0; i < own; i++) pack_row(run, z, &head, z->N - own + i, matrix_row(tail, rest + i));
        }
}

static void send_tail(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    Saved saved = linear_saved_parts(run->layer, z, run->saved);
    pack_tail(run, z, buffers);
    run->link->ring_shift_begin(run->link, SCAN_FORWARD, buffers->tail, saved.window, window_count(z));
}

static void receive_window(const AttentionRun *run, const Sizes *z)
{
    Saved saved = linear_saved_parts(run->layer, z, run->saved);
    run->link->ring_shift_finish(run->link);
    if (run->shape.first_token == 0) memset(saved.window, 0, window_count(z) * sizeof(real));
}

/* A rank that holds a whole sequence has nothing before it, nor has one that finds it in a recurrent state. */
static bool has_neighbours(const AttentionRun *run, const Sizes *z)
{
    return z->window > 0 && z->N < run->shape.context_length && !run->state;
}

void linear_window_begin(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    Saved saved = linear_saved_parts(run->layer, z, run->saved);
    if (z->window > 0) memset(saved.window, 0, window_count(z) * sizeof(real));
    if (has_neighbours(run, z)) send_tail(run, z, buffers);
}

void linear_window_finish(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    if (!has_neighbours(run, z)) return;
    receive_window(run, z);
    for (size_t hop = 1; hop < linear_window_hops(&run->shape, z); hop++) {
        send_tail(run, z, buffers);
        receive_window(run, z);
    }
}

static void add_row(const Sizes *z, const HeadGradients *gradients, size_t t, const real *row)
{
    add_to(matrix_row(gradients->d_key, t), row, z->h);
    add_to(matrix_row(gradients->d_values, t), row + window_value_column(z), z->h);
    add_to(matrix_row(gradients->d_u_key, t), row + window_u_column(z), z->r);
    if (gradients->key_sums) gradients->key_sums[z->before + t] += row[window_gate_column(z)];
}

/* What came back: rows of this rank's own are added to its gradients, the rest becomes what goes back to earlier ranks. */
static void take_returned(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    size_t own = own_rows(z), rest = z->before - own;
    bool ends_sequence = run->shape.first_token + z->N == run->shape.context_length;
    if (ends_sequence) memset(buffers->tail, 0, window_count(z) * sizeof(real));
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t s = 0; s < z->B; s++)
        for (size_t j = 0; j < z->H; j++) {
            HeadGradients gradients = linear_gradients_at(run, z, buffers, s, j);
            Matrix tail = linear_window_of(z, buffers->tail, s * z->H + j);
            for (size_t i = 0; i < own; i++) add_row(z, &gradients, z->N - own + i, matrix_row(tail, rest + i));
            memset(gradients.d_window.at, 0, own * z->row * sizeof(real));
            memcpy(matrix_row(gradients.d_window, own), tail.at, rest * z->row * sizeof(real));
        }
}

/* The sums over queries that gates need travel with the gradients. */
static void pack_key_sums(const Sizes *z, const Buffers *buffers)
{
    if (!buffers->key_sums) return;
#pragma omp parallel for schedule(static)
    for (size_t index = 0; index < z->B * z->H; index++) {
        Matrix d_window = linear_window_of(z, buffers->d_window, index);
        const real *sums = buffers->key_sums + index * (z->before + z->N);
        for (size_t i = 0; i < z->before; i++) matrix_row(d_window, i)[window_gate_column(z)] = sums[i];
    }
}

void linear_window_return(const AttentionRun *run, const Sizes *z, const Buffers *buffers)
{
    if (!has_neighbours(run, z)) return;
    pack_key_sums(z, buffers);
    for (size_t hop = 0; hop < linear_window_hops(&run->shape, z); hop++) {
        run->link->ring_shift_begin(run->link, SCAN_BACKWARD, buffers->d_window, buffers->tail, window_count(z));
        run->link->ring_shift_finish(run->link);
        take_returned(run, z, buffers);
    }
}
