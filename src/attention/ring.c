#include "src/attention/ring.h"

#include <omp.h>
#include <string.h>

#include "src/attention/gate.h"
#include "src/base/memory.h"
#include "src/core/phase.h"

static size_t model_width(const AttentionLayer *layer) { return layer->heads * layer->head_width; }

static size_t longest(const AttentionShape *shape)
{
    if (shape->segments == 1) return shape->tokens;
    return segment_longest(shape->context_length, shape->block_length, shape->segments);
}

/* Keys and values of a packet. */
static size_t pair_count(const AttentionLayer *layer, const AttentionShape *shape)
{
    return shape->sequences * longest(shape) * 2 * model_width(layer);
}

static size_t head_count(const AttentionLayer *layer, const AttentionShape *shape)
{
    return shape->sequences * layer->heads;
}

static size_t packet_count(const AttentionLayer *layer, const AttentionShape *shape)
{
    size_t gates = attention_has_gate(layer) ? head_count(layer, shape) * (longest(shape) + 1) : 0;
    return pair_count(layer, shape) + gates;
}

/* The gates behind each key of head `index`, in a packet or in its gradients; and the sum of all gates of a segment. */
static real *packet_gates(const AttentionRun *run, real *packet, size_t index)
{
    return packet + pair_count(run->layer, &run->shape) + index * longest(&run->shape);
}

static real *packet_total(const AttentionRun *run, real *packet, size_t index)
{
    return packet_gates(run, packet, head_count(run->layer, &run->shape)) + index;
}

size_t ring_row_count(const AttentionLayer *layer, const AttentionShape *shape)
{
    return shape->sequences * layer->heads * shape->tokens;
}

/* Strips of queries: of one head, and of all. */
static size_t strips_of(const AttentionShape *shape)
{
    return (shape->tokens + EXACT_STRIP_ROWS - 1) / EXACT_STRIP_ROWS;
}

static size_t total_strips(const AttentionLayer *layer, const AttentionShape *shape)
{
    return head_count(layer, shape) * strips_of(shape);
}

RingBuffers ring_take_buffers(const AttentionLayer *layer, const AttentionShape *shape, PassDirection pass,
                              Arena *scratch)
{
    size_t count = packet_count(layer, shape), threads = (size_t)omp_get_max_threads();
    int travels = shape->segments > 1;
    RingBuffers buffers = {0};
    buffers.packet = arena_take(scratch, count);
    buffers.next_packet = travels ? arena_take(scratch, count) : NULL;
    if (pass == BACKWARD) {
        buffers.d_packet = arena_take(scratch, count);
        buffers.next_d_packet = travels ? arena_take(scratch, count) : NULL;
    }
    size_t h = layer->head_width;
    buffers.per_thread = pass == FORWARD ? exact_forward_scratch(h, h) : exact_backward_scratch(h, h);
    buffers.threads = arena_take(scratch, threads * buffers.per_thread);
    if (pass == BACKWARD)
        buffers.finished = arena_take_bytes(scratch, total_strips(layer, shape) * sizeof *buffers.finished);
    if (attention_has_gate(layer)) {
        buffers.gates = arena_take_bytes(scratch, ring_row_count(layer, shape) * sizeof *buffers.gates);
        buffers.key_gates = arena_take_bytes(scratch, threads * longest(shape) * sizeof *buffers.key_gates);
        buffers.between = arena_take_bytes(scratch, head_count(layer, shape) * sizeof *buffers.between);
    }
    return buffers;
}

void ring_plan(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch)
{
    arena_take(scratch, ring_row_count(layer, shape));
    if (attention_has_gate(layer)) gate_plan(layer, shape, scratch);
}

/* Head j of sequence s in a packet, (rows, 2h), of which rows are the longest segment's: the key, then the value. */
static Matrix packet_head(const AttentionRun *run, real *packet, size_t rows, size_t s, size_t j)
{
    size_t width = 2 * run->layer->head_width;
    return matrix_dense(packet + (s * run->layer->heads + j) * rows * width, rows, width);
}

/* The sums of this rank's gates, and what its packet says of them. */
static void pack_gates(const AttentionRun *run, RingBuffers *buffers)
{
    size_t N = run->shape.tokens;
#pragma omp parallel for schedule(static)
    for (size_t index = 0; index < head_count(run->layer, &run->shape); index++) {
        double *sums = buffers->gates + index * N;
        gate_sum(sums, run->gate + index * N, run, index / run->layer->heads, 0);
        buffers->between[index] = 0;
        for (size_t t = 0; t < N; t++) packet_gates(run, buffers->packet, index)[t] = (real)(sums[N - 1] - sums[t]);
        *packet_total(run, buffers->packet, index) = (real)sums[N - 1];
    }
}

void ring_pack(const AttentionRun *run, RingBuffers *buffers, ConstMatrix keys)
{
    size_t C = model_width(run->layer), h = run->layer->head_width, N = run->shape.tokens;
    size_t rows = longest(&run->shape);
    phase_begin(PHASE_PAIRS);
    /* The rows a short segment does not use travel too: they must hold numbers. */
    if (rows > N) memset(buffers->packet, 0, packet_count(run->layer, &run->shape) * sizeof(real));
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t s = 0; s < run->shape.sequences; s++)
        for (size_t t = 0; t < N; t++)
            for (size_t j = 0; j < run->layer->heads; j++) {
                real *row = matrix_row(packet_head(run, buffers->packet, rows, s, j), t);
                memcpy(row, const_matrix_row(keys, s * N + t) + j * h, h * sizeof *row);
                memcpy(row + h, run->qkv + (s * N + t) * 3 * C + 2 * C + j * h, h * sizeof *row);
            }
    if (run->gate) pack_gates(run, buffers);
}

void ring_unpack(const AttentionRun *run, const RingBuffers *buffers, Matrix d_keys)
{
    size_t C = model_width(run->layer), h = run->layer->head_width, N = run->shape.tokens;
    size_t rows = longest(&run->shape);
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t s = 0; s < run->shape.sequences; s++)
        for (size_t t = 0; t < N; t++)
            for (size_t j = 0; j < run->layer->heads; j++) {
                const real *row = matrix_row(packet_head(run, buffers->d_packet, rows, s, j), t);
                memcpy(matrix_row(d_keys, s * N + t) + j * h, row, h * sizeof *row);
                memcpy(run->d_qkv + (s * N + t) * 3 * C + 2 * C + j * h, row + h, h * sizeof *row);
            }
}

/* The gates up to each of `count` keys of a packet, on the scale of this rank's own: negative sums of all that follow them. */
static const double *gates_of_keys(const AttentionRun *run, const RingBuffers *buffers, int source, size_t index,
                                   size_t count)
{
    if (source == run->link->position) return buffers->gates + index * run->shape.tokens;
    double *gates = buffers->key_gates + (size_t)omp_get_thread_num() * longest(&run->shape);
    const real *behind = packet_gates(run, buffers->packet, index);
    for (size_t t = 0; t < count; t++) gates[t] = -(buffers->between[index] + (double)behind[t]);
    return gates;
}

/* A packet moves on: the gates of its segment lie between this rank and the next packet's. */
static void pass_gates(const AttentionRun *run, const RingBuffers *buffers, int source)
{
    if (!run->gate || source == run->link->position) return;
    for (size_t index = 0; index < head_count(run->layer, &run->shape); index++)
        buffers->between[index] += (double)*packet_total(run, buffers->packet, index);
}

/* The head's rows of this rank's queries against the packet of segment `source`. */
static ExactHead head_against(const AttentionRun *run, const RingBuffers *buffers, int source, ConstMatrix queries,
                              size_t s, size_t j)
{
    const AttentionShape *shape = &run->shape;
    real *packet = buffers->packet;
    size_t index = s * run->layer->heads + j;
    size_t h = run->layer->head_width;
    TokenRange keys = {shape->first_token, shape->tokens};
    if (source != run->link->position)
        keys = segment_range(shape->context_length, shape->block_length, source, shape->segments);
    Matrix pairs = matrix_rows(packet_head(run, packet, longest(shape), s, j), 0, keys.count); /* of key and value */
    return (ExactHead){
        .q = const_head_of(queries, shape->tokens, run->layer->heads, s, j),
        .k = matrix_const(matrix_columns(pairs, 0, h)),
        .v = matrix_const(matrix_columns(pairs, h, h)),
        .offset = (ptrdiff_t)shape->first_token - (ptrdiff_t)keys.first,
        .q_gates = run->gate ? buffers->gates + index * shape->tokens : NULL,
        .k_gates = run->gate ? gates_of_keys(run, buffers, source, index, keys.count) : NULL,
        .starts = attention_document_starts(run, s),
        .key_position = keys.first,
    };
}

/* ---- strips of queries, divided among threads ---- */

/* Queries of one head that one thread computes at once. */
typedef struct Strip {
    size_t index, s, j; /* head, s * H + j */
    size_t number;      /* of the head's strips */
    TokenRange rows;
} Strip;

/* Strip `order` of all. The last ones of a head, which see most keys, come first, so that short ones fill the gaps at the end; as
   many heads are under way as there are threads, so that few strips of one head are: they take turns with its keys. */
static Strip strip_at(const AttentionRun *run, size_t order)
{
    size_t heads = head_count(run->layer, &run->shape), strips = strips_of(&run->shape);
    size_t together = smaller((size_t)omp_get_max_threads(), heads);
    size_t first_head = order / (together * strips) * together, among = order - first_head * strips;
    size_t width = smaller(together, heads - first_head);
    Strip strip = {.index = first_head + among % width, .number = strips - 1 - among / width};
    strip.s = strip.index / run->layer->heads;
    strip.j = strip.index % run->layer->heads;
    strip.rows.first = strip.number * EXACT_STRIP_ROWS;
    strip.rows.count = smaller(run->shape.tokens - strip.rows.first, EXACT_STRIP_ROWS);
    return strip;
}

/* The next strip for the calling thread; false when all are taken. In this order exactly: a strip may wait for one before it, so
   that must be in the hands of a thread, which no schedule of OpenMP promises. */
static bool take_strip(const AttentionRun *run, atomic_size_t *taken, Strip *strip)
{
    size_t order = atomic_fetch_add(taken, 1);
    if (order >= total_strips(run->layer, &run->shape)) return false;
    *strip = strip_at(run, order);
    return true;
}

static real *thread_scratch(const RingBuffers *buffers)
{
    return buffers->threads + (size_t)omp_get_thread_num() * buffers->per_thread;
}

static void forward_against(const AttentionRun *run, RingBuffers *buffers, int source, const PairWeight *weight,
                            ConstMatrix queries, real *sums, real *maxima)
{
    size_t N = run->shape.tokens, H = run->layer->heads;
    Matrix out = matrix_dense(run->out, run->shape.sequences * N, model_width(run->layer));
    atomic_size_t taken = 0;
#pragma omp parallel
    for (Strip strip; take_strip(run, &taken, &strip);) {
        ExactHead head = head_against(run, buffers, source, queries, strip.s, strip.j);
        ExactHead part = exact_rows(&head, strip.rows.first, strip.rows.count);
        size_t row = strip.index * N + strip.rows.first;
        exact_forward(weight, &part,
                      matrix_rows(head_of(out, N, H, strip.s, strip.j), strip.rows.first, strip.rows.count), sums + row,
                      maxima ? maxima + row : NULL, thread_scratch(buffers));
    }
}

static void swap(real **a, real **b)
{
    real *c = *a;
    *a = *b;
    *b = c;
}

void ring_forward(const AttentionRun *run, RingBuffers *buffers, const PairWeight *weight, ConstMatrix queries,
                  real *sums, real *maxima)
{
    SequenceLink *link = run->link;
    size_t count = packet_count(run->layer, &run->shape);
    if (run->state) ring_forward_state(run, buffers, weight, queries, sums, maxima);
    for (int step = 0; step < link->segments; step++) {
        int source = link->position - step, last = step == link->segments - 1;
        if (!last) link->ring_shift_begin(link, SCAN_FORWARD, buffers->packet, buffers->next_packet, count);
        if (source >= 0) forward_against(run, buffers, source, weight, queries, sums, maxima);
        pass_gates(run, buffers, source);
        if (last) break;
        link->ring_shift_finish(link);
        swap(&buffers->packet, &buffers->next_packet);
    }
    if (run->state) ring_leave_state(run, buffers);
}

/* After the strip of later queries, which was taken before. */
static ExactTurn turn_of(const AttentionRun *run, const RingBuffers *buffers, const Strip *strip)
{
    size_t strips = strips_of(&run->shape);
    atomic_size_t *own = &buffers->finished[strip->index * strips + strip->number];
    return (ExactTurn){.before = strip->number + 1 < strips ? own + 1 : NULL, .own = own};
}

static void backward_against(const AttentionRun *run, RingBuffers *buffers, int source, const PairWeight *weight,
                             ConstMatrix queries, const real *normaliser, const real *delta, Matrix d_queries)
{
    size_t h = run->layer->head_width, N = run->shape.tokens, H = run->layer->heads;
    ConstMatrix d_out = const_matrix_dense(run->d_out, run->shape.sequences * N, model_width(run->layer));
    atomic_size_t taken = 0;
    for (size_t i = 0; i < total_strips(run->layer, &run->shape); i++) atomic_init(&buffers->finished[i], 0);
#pragma omp parallel
    for (Strip strip; take_strip(run, &taken, &strip);) {
        TokenRange rows = strip.rows;
        ExactHead head = head_against(run, buffers, source, queries, strip.s, strip.j);
        ExactHead part = exact_rows(&head, rows.first, rows.count);
        ExactTurn turn = turn_of(run, buffers, &strip);
        size_t row = strip.index * N + rows.first;
        Matrix pairs = packet_head(run, buffers->d_packet, longest(&run->shape), strip.s, strip.j);
        Matrix d_pairs = matrix_rows(pairs, 0, head.k.rows);
        ExactGradients gradients = {
            .d_out = const_matrix_rows(const_head_of(d_out, N, H, strip.s, strip.j), rows.first, rows.count),
            .delta = delta + row,
            .d_q = matrix_rows(head_of(d_queries, N, H, strip.s, strip.j), rows.first, rows.count),
            .d_k = matrix_columns(d_pairs, 0, h),
            .d_v = matrix_columns(d_pairs, h, h),
            .key_sums = run->gate ? packet_gates(run, buffers->d_packet, strip.index) : NULL,
            .turn = &turn,
        };
        exact_backward(weight, &part, normaliser + row, &gradients, thread_scratch(buffers));
    }
}

/* `normaliser` NULL where none is ever clamped. */
static void fill_delta(const AttentionRun *run, real *delta, const real *normaliser)
{
    size_t tokens = run->shape.sequences * run->shape.tokens, N = run->shape.tokens, H = run->layer->heads;
    ConstMatrix d_out = const_matrix_dense(run->d_out, tokens, model_width(run->layer));
    ConstMatrix out = const_matrix_dense(run->out, tokens, model_width(run->layer));
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t s = 0; s < run->shape.sequences; s++)
        for (size_t j = 0; j < H; j++) {
            size_t row = (s * H + j) * N;
            exact_delta(delta + row, const_head_of(d_out, N, H, s, j), const_head_of(out, N, H, s, j));
            if (normaliser) attention_count_clamped(run, attention_hold_clamped(delta + row, normaliser + row, N));
        }
}

/* Gradients of the sums of gates: of each row as a query, which all but the constant of its normaliser scales with, less that
   as a key. */
static void gates_backward(const AttentionRun *run, const RingBuffers *buffers, const real *normaliser, real one,
                           const real *delta)
{
    size_t N = run->shape.tokens;
#pragma omp parallel for schedule(static)
    for (size_t index = 0; index < head_count(run->layer, &run->shape); index++) {
        const real *key_sums = packet_gates(run, buffers->d_packet, index);
        for (size_t t = 0; t < N; t++) {
            size_t row = index * N + t;
            run->d_gate[row] = (one > 0 ? delta[row] * one / normaliser[row] : 0) - key_sums[t];
        }
    }
    gate_sum_backward(run, 0);
}

void ring_backward(const AttentionRun *run, RingBuffers *buffers, const PairWeight *weight, ConstMatrix queries,
                   const real *normaliser, real one, Matrix d_queries)
{
    SequenceLink *link = run->link;
    size_t count = packet_count(run->layer, &run->shape), mark = arena_mark(run->scratch);
    real *delta = arena_take(run->scratch, ring_row_count(run->layer, &run->shape)); /* (B, H, N) */
    fill_delta(run, delta, weight->degree ? normaliser : NULL); /* that of softmax is a logarithm */
    clear_memory(buffers->d_packet, count * sizeof(real));
    for (int step = 0; step < link->segments; step++) {
        int source = link->position - step, last = step == link->segments - 1;
        if (!last) link->ring_shift_begin(link, SCAN_FORWARD, buffers->packet, buffers->next_packet, count);
        if (source >= 0) backward_against(run, buffers, source, weight, queries, normaliser, delta, d_queries);
        pass_gates(run, buffers, source);
        if (!last) {
            link->ring_shift_finish(link);
            swap(&buffers->packet, &buffers->next_packet);
        }
        if (link->segments > 1) { /* gradients follow when this rank has added its part */
            link->ring_shift_begin(link, SCAN_FORWARD, buffers->d_packet, buffers->next_d_packet, count);
            link->ring_shift_finish(link);
            swap(&buffers->d_packet, &buffers->next_d_packet);
        }
    }
    if (run->gate) gates_backward(run, buffers, normaliser, one, delta);
    arena_release(run->scratch, mark);
}

void attention_divide(const AttentionRun *run, real *normaliser)
{
    size_t C = model_width(run->layer), h = run->layer->head_width, N = run->shape.tokens, H = run->layer->heads;
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t s = 0; s < run->shape.sequences; s++)
        for (size_t t = 0; t < N; t++)
            for (size_t j = 0; j < H; j++) {
                real *sum = normaliser + (s * H + j) * N + t, *o = run->out + (s * N + t) * C + j * h;
                *sum = *sum < LEAST_NORMALISER ? LEAST_NORMALISER : *sum;
                real inverse = 1 / *sum;
#pragma omp simd
                for (size_t c = 0; c < h; c++) o[c] *= inverse;
            }
}

void ring_count_shares(const AttentionRun *run, const real *normaliser, real one)
{
    if (!run->watch.heads) return;
    for (size_t index = 0; index < head_count(run->layer, &run->shape); index++) {
        TokenRange watched = attention_watched_rows(run, index / run->layer->heads);
        HeadShares *head = &run->watch.heads[index];
        for (size_t t = watched.first; t < watched.first + watched.count; t++) {
            size_t row = index * run->shape.tokens + t;
            if (normaliser[row] <= LEAST_NORMALISER) continue;
            shares_add_row(head, &head->exact, (double)one, (double)normaliser[row],
                           run->gate ? (double)run->gate[row] : 0);
        }
    }
}

AttentionCost ring_cost(const AttentionLayer *layer, const AttentionShape *shape)
{
    double T = (double)shape->context_length, pairs = T * (T + 1) / 2;
    size_t packet = packet_count(layer, shape);
    /* Keys and values stop at the last segment that needs them; their gradients go home. */
    int shifts = shape->segments - 1, homeward = shape->segments > 1 ? shape->segments : 0;
    return (AttentionCost){
        .forward_flops = pairs * (double)layer->heads * 4 * (double)layer->head_width,
        .forward = {.count = shifts, .numbers = packet * (size_t)shifts},
        .backward = {.count = shifts + homeward, .numbers = packet * (size_t)(shifts + homeward)},
    };
}
