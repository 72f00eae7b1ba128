/* Exact pairs with the keys and values of all tokens so far: token by token, and passes that go on from there. */
#include <omp.h>
#include <string.h>

#include "src/attention/gate.h"
#include "src/attention/ring.h"

static size_t model_width(const AttentionLayer *layer) { return layer->heads * layer->head_width; }

static size_t row_count(const AttentionLayer *layer, const DecodeShape *shape)
{
    return shape->max_tokens * 2 * model_width(layer);
}

size_t ring_decode_state_count(const AttentionLayer *layer, const DecodeShape *shape)
{
    return row_count(layer, shape) + (attention_has_gate(layer) ? layer->heads * shape->max_tokens : 0);
}

int ring_decode_state_parts(const AttentionLayer *layer, const DecodeShape *shape, real *state,
                            StatePart parts[ATTENTION_STATE_PARTS])
{
    size_t tokens = shape->max_tokens, rows = row_count(layer, shape);
    parts[0] = (StatePart){"keys_values", state, 1, tokens, 2 * model_width(layer), rows};
    if (!attention_has_gate(layer)) return 1;
    parts[1] = (StatePart){"ages", state ? state + rows : NULL, layer->heads, tokens, 1, tokens};
    return 2;
}

static real *ages_of(const AttentionLayer *layer, const DecodeShape *shape, real *state, size_t j)
{
    return state + row_count(layer, shape) + j * shape->max_tokens;
}

const real *ring_decode_ages(const DecodeRun *run, size_t j)
{
    if (!run->gate) return NULL;
    real *ages = ages_of(run->layer, &run->shape, run->state, j);
    gate_age(ages, run->position + 1, run->position, run->gate[j]);
    return ages;
}

/* `count` keys of head j from token `first` on, and their values, against the queries of the pass. */
static ExactHead kept_head(const AttentionRun *run, const RingBuffers *buffers, ConstMatrix queries, size_t j,
                           size_t first, size_t count)
{
    size_t h = run->layer->head_width, C = model_width(run->layer), N = run->shape.tokens;
    ConstMatrix kept = const_matrix_dense(run->state, run->shape.first_token, 2 * C);
    ExactHead head = {
        .q = const_head_of(queries, N, run->layer->heads, 0, j),
        .k = const_matrix_part(kept, first, count, j * h, h),
        .v = const_matrix_part(kept, first, count, C + j * h, h),
        .offset = (ptrdiff_t)(run->shape.first_token - first),
        .key_position = first,
    };
    if (!run->gate) return head;
    /* on the scale of this pass's sums: negative sums of all gates behind a key and before the pass */
    const real *ages = ages_of(run->layer, &run->state_shape, run->state, j);
    double *gates = buffers->key_gates + (size_t)omp_get_thread_num() * N;
    for (size_t t = 0; t < count; t++) gates[t] = -(double)ages[first + t];
    head.q_gates = buffers->gates + j * N;
    head.k_gates = gates;
    return head;
}

void ring_forward_state(const AttentionRun *run, const RingBuffers *buffers, const PairWeight *weight,
                        ConstMatrix queries, real *sums, real *maxima)
{
    size_t N = run->shape.tokens, H = run->layer->heads, kept = run->shape.first_token;
    size_t part = run->gate ? N : kept; /* there is room for the gates of so many keys */
    Matrix out = matrix_dense(run->out, N, model_width(run->layer));
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (size_t j = 0; j < H; j++)
        for (size_t strip = 0; strip < N; strip += EXACT_STRIP_ROWS) {
            size_t rows = smaller(N - strip, EXACT_STRIP_ROWS), row = j * N + strip;
            for (size_t first = 0; first < kept; first += part) {
                ExactHead head = kept_head(run, buffers, queries, j, first, smaller(kept - first, part));
                ExactHead some = exact_rows(&head, strip, rows);
                exact_forward(weight, &some, matrix_rows(head_of(out, N, H, 0, j), strip, rows), sums + row,
                              maxima ? maxima + row : NULL,
                              buffers->threads + (size_t)omp_get_thread_num() * buffers->per_thread);
            }
        }
}

static void leave_ages(const AttentionRun *run, const RingBuffers *buffers, size_t j)
{
    size_t N = run->shape.tokens, first = run->shape.first_token;
    const double *gates = buffers->gates + j * N;
    real *ages = ages_of(run->layer, &run->state_shape, run->state, j);
    for (size_t t = 0; t < first; t++) ages[t] += (real)gates[N - 1];
    for (size_t t = 0; t < N; t++) ages[first + t] = (real)(gates[N - 1] - gates[t]);
}

void ring_leave_state(const AttentionRun *run, const RingBuffers *buffers)
{
    size_t h = run->layer->head_width, C = model_width(run->layer), N = run->shape.tokens;
    Matrix kept = matrix_dense(run->state, run->shape.first_token + N, 2 * C);
#pragma omp parallel for schedule(static)
    for (size_t j = 0; j < run->layer->heads; j++) {
        const real *packet = buffers->packet + j * N * 2 * h; /* rows of key and value */
        for (size_t t = 0; t < N; t++) {
            real *row = matrix_row(kept, run->shape.first_token + t) + j * h;
            memcpy(row, packet + t * 2 * h, h * sizeof *row);
            memcpy(row + C, packet + t * 2 * h + h, h * sizeof *row);
        }
        if (run->gate) leave_ages(run, buffers, j);
    }
}
