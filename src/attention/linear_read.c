/* Linear attention that goes on from the recurrent state of linear_decode.c: a prompt is read in blocks, and leaves the state
   that its tokens would leave one by one.

   To a pass the state is what another rank is: the prefix state of the blocks that have left the window is what the scan
   brings in, and the rows behind it are the window. A block leaves the window when another begins, in decoding as here. */
#include <string.h>

#include "src/attention/linear_parts.h"

/* The state of a head, and the sizes it was made with: its window is no wider than its max_tokens. */
typedef struct HeadState {
    Sizes z;
    DecodeState at;
    size_t ring; /* token t is in row t % ring */
} HeadState;

static HeadState state_of(const AttentionRun *run, const Head *head)
{
    HeadState state = {.z = linear_decode_sizes(run->layer, &run->state_shape)};
    state.at = linear_decode_state_at(run->layer, &state.z, &run->state_shape, run->state, head->index);
    state.ring = state.z.before + state.z.b;
    return state;
}

/* A row of the window: token t. Its gate is what separates its age from that of the row before, or of the state. */
static void copy_row(const Sizes *z, const HeadState *state, size_t t, bool first, real *row)
{
    const DecodeState *at = &state->at;
    size_t from = t % state->ring;
    memcpy(row, at->local + from * z->h, z->h * sizeof *row);
    memcpy(row + window_value_column(z), at->values + from * z->h, z->h * sizeof *row);
    memcpy(row + window_u_column(z), at->u + from * z->r, z->r * sizeof *row);
    if (!at->ages) return;
    real age_before = first ? *at->age : t > 0 ? at->ages[(t - 1) % state->ring] : at->ages[from];
    row[window_gate_column(z)] = age_before - at->ages[from];
}

/* As the first token of a block does it in decoding (enter_row()). */
void linear_head_enter(const AttentionRun *run, const Sizes *z, const Head *head, real *sums)
{
    HeadState state = state_of(run, head);
    Panel panel = panel_in(z, head->scratch);
    Saved saved = linear_saved_parts(run->layer, z, run->saved);
    Matrix window = linear_window_of(z, saved.window, head->index);
    size_t position = run->shape.first_token, missing = position < z->before ? z->before - position : 0;
    bool leaves = position >= state.ring;
    if (leaves) linear_fold_block(run->layer, z, &state.at, &panel, sums, position % state.ring);
    for (size_t i = missing; i < z->before; i++)
        copy_row(z, &state, position + i - z->before, leaves && i == 0, matrix_row(window, i));
}

void linear_head_take_state(const AttentionRun *run, const Sizes *z, const Head *head, real *sums)
{
    HeadState state = state_of(run, head);
    memcpy(sums, state.at.state, z->state * sizeof *sums);
}

/* Ages grow by all gates of this pass; those of its own rows are the gates behind them. */
static void leave_ages(const Sizes *z, const Head *head, const HeadState *state, size_t first, size_t own)
{
    const double *gates = head->gates + z->before; /* (N) */
    double all = gates[z->N - 1], before = z->before > 0 ? head->gates[z->before - 1] : 0;
    size_t rows = linear_ring_rows(&state->z, &(DecodeShape){first + z->N, z->b});
    for (size_t i = 0; i < rows; i++) state->at.ages[i] += (real)(all - before);
    for (size_t t = own; t < z->N; t++) state->at.ages[(first + t) % state->ring] = (real)(all - gates[t]);
    *state->at.age = (real)(all - linear_gates_before(head, z, z->blocks - 1));
}

void linear_head_leave(const AttentionRun *run, const Sizes *z, const Head *head, real *sums)
{
    (void)sums;
    HeadState state = state_of(run, head);
    DecodeState *at = &state.at;
    size_t width = linear_local_width(run->layer, z), first = run->shape.first_token, last = z->blocks - 1;
    /* the rows that are near when the last token has been taken */
    size_t own = last * z->b > state.z.before ? last * z->b - state.z.before : 0;
    memcpy(at->state, head->states + last * z->state, z->state * sizeof *at->state);
    memset(at->lost, 0, z->state * sizeof *at->lost);
    for (size_t t = own; t < z->N; t++) {
        size_t row = (first + t) % state.ring;
        memcpy(at->local + row * width, const_matrix_row(head->local.k, t), width * sizeof(real));
        memcpy(at->values + row * z->h, const_matrix_row(head->values, t), z->h * sizeof(real));
        memcpy(at->u + row * z->r, const_matrix_row(head->u_key, t), z->r * sizeof(real));
    }
    if (at->ages) leave_ages(z, head, &state, first, own);
}
