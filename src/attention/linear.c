/* Causal attention in linear time for any feature map: block lower-triangular multiplication.

   Within a block of b tokens the pairs are computed one by one, exactly (exact.c); everything earlier is summed up in a
   prefix state. For one head, with features phi (m numbers) and v~ = (v, 1) (h + 1 numbers):

       block sums      H_l = sum of phi(k_j) v~_j^T over the tokens of block l
       prefix states   Z_l = sum of H_l' over earlier blocks, on this rank and on earlier ranks
       output          (numerator_i, denominator_i) = local part + phi(q_i) Z_l;   o_i = numerator_i / denominator_i

   A state is two pieces of memory, the values' (m, h) and behind them the normaliser's (m): products of h columns fill
   vectors, those of h + 1 would not, and the normaliser costs no product of its own while features are at hand.

   The sum of this rank's blocks goes into an exclusive scan over the ranks of the sequence. The scan is begun before the
   local part and finished after it.

   Self-tensored maps have phi = u (x) u, symmetric, in packed form (packed_features.h): r(r+1)/2 numbers whose inner product is
   <u, u'>^2 (Kacham, Mirrokni, Zhong 2024, section 2.2, use all r^2).

   Backward, with g_i the gradient of o_i and dR_i = (g_i, -<g_i, o_i>) / denominator_i the gradient of (numerator,
   denominator):

       query side, in any order:  d_phi(q_i) = Z_l dR_i;      adjoint block sums  G_l = sum of phi(q_i) dR_i^T
       adjoint states             Y_l = sum of G_l' over LATER blocks: the reversed scan
       key side:                  d_phi(k_j) = Y_l v~_j;      d_v~_j = Y_l^T phi(k_j), of which the value columns count

   Prefix states are kept from the forward to the backward pass. What becomes one is summed in double: a float that grows by
   thousands of blocks would lose their last bits. The sketched sums of a row whose normaliser cannot be told from rounding
   (is_noise()) are left out of it, forward and backward. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "src/attention/exact.h"
#include "src/attention/kinds.h"
#include "src/attention/packed_features.h"
#include "src/attention/power_scale.h"
#include "src/base/phase.h"
#include "src/attention/qk_norm.h"
#include "src/tensor/small_gemm.h"

/* A panel of features is formed in cache, multiplied and dropped: at most about this many numbers. */
enum { PANEL_NUMBERS = 72 * 1024 };

/* Rounding of sums of packed features, relative to the part of the sum that cannot cancel. With a hundred thousand nearly
   equal keys it is some 3 units; from 4 units on, what is kept no longer gives outputs larger than values. */
static const real NOISE = 8 * (sizeof(real) == 4 ? (real)0x1p-23 : (real)0x1p-52);

/* ---- sizes --------------------------------------------------------------------------------------------------------- */

typedef struct Sizes {
    size_t B, N, H, h, C, b;
    size_t r;           /* numbers of u */
    size_t m;           /* features */
    size_t state;       /* m (h + 1) */
    size_t blocks;      /* of this rank */
    size_t first_block; /* of this rank, in the sequence */
    size_t all_blocks;  /* of the sequence */
    size_t panel_rows;
} Sizes;

static bool exact_local(const AttentionLayer *layer)
{
    return layer->map->self_tensored && layer->config.local == LOCAL_EXACT;
}

static bool uses_qk_norm(const AttentionLayer *layer) { return layer->map->normalised_input || exact_local(layer); }

static Sizes sizes_of(const AttentionLayer *layer, const AttentionShape *shape)
{
    Sizes z = {.B = shape->sequences, .N = shape->tokens, .H = layer->heads, .h = layer->head_width};
    z.C = z.H * z.h;
    z.b = shape->block_length;
    z.r = layer->map->width(layer);
    z.m = layer->map->self_tensored ? packed_feature_count(z.r) : z.r;
    z.state = z.m * (z.h + 1);
    z.blocks = (z.N + z.b - 1) / z.b;
    z.first_block = shape->first_token / z.b;
    z.all_blocks = (shape->context_length + z.b - 1) / z.b;
    size_t panels = (z.b * z.m + PANEL_NUMBERS - 1) / PANEL_NUMBERS; /* equal parts of a block */
    z.panel_rows = panels < z.b ? (z.b + panels - 1) / panels : 1;
    return z;
}

static size_t block_rows(const Sizes *z, size_t block)
{
    size_t rest = z->N - block * z->b;
    return rest < z->b ? rest : z->b;
}

/* Numbers of what the local part multiplies: q' and k', or u. */
static size_t local_width(const AttentionLayer *layer, const Sizes *z) { return exact_local(layer) ? z->h : z->r; }

/* What the forward pass leaves for the backward pass. */
typedef struct Saved {
    real *u_query, *u_key; /* (B, N, H, r), where mapped_tokens() says */
    real *normaliser;      /* (B, H, N) */
    real *prefix_factor;   /* (B, H, N): of the sketched sums in a row's output; 0 where they are left out */
    real *states;          /* (B, H, blocks, state): Z */
} Saved;

static Saved saved_parts(const Sizes *z, real *saved)
{
    size_t u = z->B * z->N * z->H * z->r, rows = z->B * z->H * z->N;
    return (Saved){saved, saved + u, saved + 2 * u, saved + 2 * u + rows, saved + 2 * u + 2 * rows};
}

static size_t linear_saved_count(const AttentionLayer *layer, const AttentionShape *shape)
{
    Sizes z = sizes_of(layer, shape);
    return 2 * z.B * z.N * z.H * z.r + 2 * z.B * z.H * z.N + z.B * z.H * z.blocks * z.state;
}

/* ---- features ------------------------------------------------------------------------------------------------------ */

/* phi (rows, m) of u, rows `stride` apart. `scratch`: packed_features_scratch() numbers. */
static void expand(bool self_tensored, real *phi, const real *u, size_t stride, size_t rows, size_t r, real *scratch)
{
    if (self_tensored)
        packed_features_expand(phi, u, stride, rows, r, scratch);
    else
        gather_rows(phi, u, stride, rows, r);
}

static void add_to(real *sum, const real *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) sum[i] += x[i];
}

static void add_times(real *sum, real factor, const real *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) sum[i] += factor * x[i];
}

/* The sum of many blocks, in double, and what is kept of it. */
static void add_widely(double *sum, const real *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) sum[i] += (double)x[i];
}

static void round_to_real(real *x, const double *sum, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) x[i] = (real)sum[i];
}

/* d_u += gradient through expand(). */
static void contract(bool self_tensored, real *d_u, size_t d_stride, const real *d_phi, const real *u, size_t stride,
                     size_t rows, size_t r, real *scratch)
{
    if (self_tensored)
        packed_features_contract(d_u, d_stride, d_phi, u, stride, rows, r, scratch);
    else
        for (size_t i = 0; i < rows; i++) add_to(d_u + i * d_stride, d_phi + i * r, r);
}

/* sums (m) += the rows of a panel, each times its factor; NULL factors are 1. */
static void add_rows(real *sums, const real *panel, const real *factors, size_t rows, size_t m)
{
    for (size_t i = 0; i < rows; i++) {
        real factor = factors ? factors[i] : 1;
#pragma omp simd
        for (size_t f = 0; f < m; f++) sums[f] += factor * panel[i * m + f];
    }
}

/* Each row of a panel = (m) times its factor; NULL factors are 1. */
static void fill_rows(real *panel, const real *row, const real *factors, size_t rows, size_t m)
{
    for (size_t i = 0; i < rows; i++) {
        real factor = factors ? factors[i] : 1;
#pragma omp simd
        for (size_t f = 0; f < m; f++) panel[i * m + f] = factor * row[f];
    }
}

static real dot(const real *x, const real *y, size_t count)
{
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

/* What one thread works with; `features` takes turns as phi and its gradient. */
typedef struct Panel {
    real *features;   /* (panel_rows, m) */
    real *values;     /* (panel_rows, h): of v~ or of (numerator, denominator), and of their gradients, */
    real *normaliser; /* (panel_rows): and the last column of these */
    real *transposed; /* (h, m) of a state; backward pass */
    real *packing;    /* scratch of the packed features */
} Panel;

static size_t panel_count(const Sizes *z)
{
    return z->panel_rows * (z->m + z->h + 1) + z->m * z->h + packed_features_scratch(z->r);
}

static Panel panel_in(const Sizes *z, real *scratch)
{
    Panel panel = {.features = scratch};
    panel.values = panel.features + z->panel_rows * z->m;
    panel.transposed = panel.values + z->panel_rows * z->h;
    panel.packing = panel.transposed + z->m * z->h;
    panel.normaliser = panel.packing + packed_features_scratch(z->r);
    return panel;
}

static size_t panel_rows_from(const Sizes *z, size_t row, size_t rows)
{
    return rows - row < z->panel_rows ? rows - row : z->panel_rows;
}

/* The normaliser's part of a state. */
static const real *normaliser_of(const Sizes *z, const real *state) { return state + z->m * z->h; }

/* ---- buffers of one pass ------------------------------------------------------------------------------------------- */

typedef enum Pass { FORWARD, BACKWARD } Pass;

typedef struct Buffers {
    real *query, *key; /* (B, N, C) q', k'; NULL when unused */
    PowerScale powers;
    real *query_factors;    /* (B, N, H) of maps that scale the features of queries; else NULL */
    real *total, *incoming; /* (B, H, state) */
    real *threads;          /* per thread: local scratch, or a panel */
    size_t per_thread;
    double *running;           /* per thread (state): a sum of blocks */
    real *d_query, *d_key;     /* (B, N, C) gradients of q', k' */
    real *d_u_query, *d_u_key; /* (B, N, H, r) */
    real *delta;               /* (B, H, N) */
    real *adjoint;             /* (B, H, blocks, state): G, then Y */
} Buffers;

static Buffers take_buffers(const AttentionLayer *layer, const Sizes *z, Pass pass, Arena *scratch)
{
    Buffers buffers = {0};
    size_t tokens = z->B * z->N;
    size_t width = local_width(layer, z);
    size_t local = pass == FORWARD ? exact_forward_scratch(width, z->h) : exact_backward_scratch(width, z->h);
    if (uses_qk_norm(layer)) {
        buffers.query = arena_take(scratch, tokens * z->C);
        buffers.key = arena_take(scratch, tokens * z->C);
    }
    buffers.total = arena_take(scratch, z->B * z->H * z->state);
    buffers.incoming = arena_take(scratch, z->B * z->H * z->state);
    buffers.per_thread = larger(local, panel_count(z));
    buffers.threads = arena_take(scratch, (size_t)omp_get_max_threads() * buffers.per_thread);
    buffers.running = arena_take_bytes(scratch, (size_t)omp_get_max_threads() * z->state * sizeof *buffers.running);
    if (pass == FORWARD) {
        if (layer->map->scales_queries) buffers.query_factors = arena_take(scratch, tokens * z->H);
        return buffers;
    }
    if (uses_qk_norm(layer)) {
        buffers.d_query = arena_take(scratch, tokens * z->C);
        buffers.d_key = arena_take(scratch, tokens * z->C);
    }
    buffers.d_u_query = arena_take(scratch, tokens * z->H * z->r);
    buffers.d_u_key = arena_take(scratch, tokens * z->H * z->r);
    buffers.delta = arena_take(scratch, tokens * z->H);
    buffers.adjoint = arena_take(scratch, z->B * z->H * z->blocks * z->state);
    return buffers;
}

static void linear_plan(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch)
{
    Sizes z = sizes_of(layer, shape);
    for (Pass pass = FORWARD; pass <= BACKWARD; pass++) {
        size_t mark = arena_mark(scratch);
        take_buffers(layer, &z, pass, scratch);
        layer->map->plan(layer, z.B * z.N, scratch);
        if (uses_qk_norm(layer)) qk_norm_plan(layer, scratch);
        arena_release(scratch, mark);
    }
}

/* ---- one head of one sequence --------------------------------------------------------------------------------------- */

/* Everything a head needs, addressed from its first token. Strides are from token to token. */
typedef struct Head {
    size_t index;                /* s * H + j */
    const real *u_query, *u_key; /* stride H r */
    const real *values;          /* stride 3C */
    real *out;                   /* stride C */
    real *normaliser, *states;   /* (N), (blocks, state) */
    real *prefix_factor;         /* (N) */
    const real *query_factors;   /* stride H, or NULL */
    ExactHead local;             /* of a whole segment; a block is cut from it */
    PairWeight weight;
    PowerScale powers;
    real *scratch;   /* of this thread */
    double *running; /* (state), of this thread */
} Head;

/* Features of q' and k' are on the scale of the powers already (sketch_random.c); those of q and k are brought to it where
   they stand beside powers. */
static PowerScale powers_of(const AttentionLayer *layer, const real *params)
{
    if (!uses_qk_norm(layer)) return power_scale_free(layer);
    PowerScale powers = power_scale(layer, params);
    if (layer->map->normalised_input) powers.factor = 1;
    return powers;
}

/* The pairs of a block: exact polynomial of q', k', or the features' own inner products. */
static PairWeight local_weight(const AttentionLayer *layer, const PowerScale *powers)
{
    if (exact_local(layer)) return pair_weight_power(powers->scale, (int)layer->config.degree);
    return pair_weight_power(1, layer->map->self_tensored ? 2 : 1);
}

static Head head_at(const AttentionRun *run, const Sizes *z, const Buffers *buffers, size_t s, size_t j)
{
    Saved saved = saved_parts(z, run->saved);
    size_t token = s * z->N, u = (token * z->H + j) * z->r, row = token * z->C + j * z->h;
    bool exact = exact_local(run->layer);
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
        .weight = local_weight(run->layer, &buffers->powers),
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

/* The pairs within block `block` of a head. */
static ExactHead local_block(const Head *head, const Sizes *z, size_t block)
{
    ExactHead part = head->local;
    size_t first = block * z->b;
    part.q = rows_from(part.q, first);
    part.k = rows_from(part.k, first);
    part.v = rows_from(part.v, first);
    part.queries = part.keys = block_rows(z, block);
    return part;
}

/* The last block of a sequence has no later tokens: its sum is never used. The first has no earlier ones. */
static bool is_last_block(const Sizes *z, size_t block) { return z->first_block + block + 1 == z->all_blocks; }
static bool is_first_block(const Sizes *z, size_t block) { return z->first_block + block == 0; }

static void expand_panel(const AttentionRun *run, const Sizes *z, const Panel *panel, const real *u, size_t stride,
                         size_t count)
{
    expand(run->layer->map->self_tensored, panel->features, u, stride, count, z->r, panel->packing);
}

/* state += (or =) sum of phi(u_j) v~_j^T over `count` rows. */
static void add_to_state(const Sizes *z, real *state, const Panel *panel, size_t count, Store store)
{
    small_gemm_tn(state, z->h, panel->features, z->m, panel->values, z->h, z->m, z->h, count, store);
}

/* state = sum of phi(u_j) v~_j^T over the rows of a block, panel by panel. */
static void block_sum(const AttentionRun *run, const Sizes *z, real *state, const real *u, const real *v, size_t rows,
                      const Panel *panel)
{
    size_t u_stride = z->H * z->r;
    memset(state + z->m * z->h, 0, z->m * sizeof *state);
    for (size_t i = 0; i < rows; i += z->panel_rows) {
        size_t count = panel_rows_from(z, i, rows);
        expand_panel(run, z, panel, u + i * u_stride, u_stride, count);
        gather_rows(panel->values, v + i * 3 * z->C, 3 * z->C, count, z->h);
        add_to_state(z, state, panel, count, i ? ADD : OVERWRITE);
        add_rows(state + z->m * z->h, panel->features, NULL, count, z->m);
    }
}

/* Block sums become what came before (or, backwards, after) each block; `incoming` is what other ranks had. */
static void sums_to_prefixes(real *states, const real *incoming, const Sizes *z, bool backwards, double *running)
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

/* ---- forward -------------------------------------------------------------------------------------------------------- */

static void head_key_side(const AttentionRun *run, const Sizes *z, const Head *head, real *total)
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
        block_sum(run, z, state, head->u_key + first * z->H * z->r, head->values + first * 3 * z->C, block_rows(z, l),
                  &panel);
        add_widely(head->running, state, z->state);
    }
    round_to_real(total, head->running, z->state);
}

static void head_local_forward(const Sizes *z, const Head *head)
{
    for (size_t i = 0; i < z->N; i++) {
        head->normaliser[i] = head->powers.one * (head->query_factors ? head->query_factors[i * z->H] : 1);
        head->prefix_factor[i] = head->powers.factor;
        memset(head->out + i * z->C, 0, z->h * sizeof(real));
    }
    for (size_t l = 0; l < z->blocks; l++) {
        ExactHead part = local_block(head, z, l);
        size_t first = l * z->b;
        exact_forward(&head->weight, &part, (HeadGradient){head->out + first * z->C, z->C}, head->normaliser + first,
                      NULL, head->scratch);
    }
}

/* <phi(q), sums> is a sum of squares, but that of packed features has terms of both signs, and where all keys are nearly
   orthogonal to the query what remains of them is rounding: as good below zero as above. The features on the diagonal, the
   first r, are squares and say how large the terms are. */
static bool is_noise(const FeatureMap *map, real sum, real diagonal)
{
    return map->self_tensored && sum < NOISE * diagonal;
}

/* <phi, sums> over the m features, or 0 with the row's factor. */
static real sketched_sum(const FeatureMap *map, const Sizes *z, const real *phi, const real *sums, real *factor)
{
    real diagonal = dot(phi, sums, z->r), sum = diagonal + dot(phi + z->r, sums + z->r, z->m - z->r);
    if (is_noise(map, sum, diagonal)) sum = *factor = 0;
    return sum;
}

/* (numerator, denominator) += phi(q) Z for `count` rows from `first` on. */
static void query_panel(const AttentionRun *run, const Sizes *z, const Head *head, const Panel *panel,
                        const real *state, size_t first, size_t count)
{
    size_t u_stride = z->H * z->r;
    expand_panel(run, z, panel, head->u_query + first * u_stride, u_stride, count);
    small_gemm_nn(panel->values, z->h, panel->features, z->m, state, z->h, count, z->h, z->m, OVERWRITE);
    for (size_t i = 0; i < count; i++) {
        real *factor = &head->prefix_factor[first + i];
        real sum = sketched_sum(run->layer->map, z, panel->features + i * z->m, normaliser_of(z, state), factor);
        if (*factor == 0) continue;
        add_times(head->out + (first + i) * z->C, *factor, panel->values + i * z->h, z->h);
        head->normaliser[first + i] += *factor * sum;
    }
}

static void head_query_side(const AttentionRun *run, const Sizes *z, const Head *head, const real *incoming)
{
    Panel panel = panel_in(z, head->scratch);
    sums_to_prefixes(head->states, incoming, z, false, head->running);
    for (size_t l = 0; l < z->blocks; l++) {
        size_t rows = is_first_block(z, l) ? 0 : block_rows(z, l);
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

/* The queries, or keys, whose u is read. With exact pairs, queries of the first block have no prefix state, and no later
   token reads keys of the last one: a sequence of a single block needs no features at all. */
static TokenSpan mapped_tokens(const AttentionLayer *layer, const Sizes *z, bool keys)
{
    TokenSpan span = {.sequences = z->B, .tokens = z->N, .first = 0, .end = z->N};
    if (!exact_local(layer) || z->blocks == 0) return span;
    if (keys && is_last_block(z, z->blocks - 1)) span.end = (z->blocks - 1) * z->b;
    if (!keys && is_first_block(z, 0)) span.first = block_rows(z, 0);
    return span;
}

/* u of queries and keys, which are q' and k' or lie among the columns of qkv; or the gradients that come from d_u. */
static void map_pass(const AttentionRun *run, const Sizes *z, const Buffers *buffers, Pass pass)
{
    const AttentionLayer *layer = run->layer;
    const FeatureMap *map = layer->map;
    Saved saved = saved_parts(z, run->saved);
    for (int keys = 0; keys < 2; keys++) {
        TokenSpan span = mapped_tokens(layer, z, keys);
        real *u = keys ? saved.u_key : saved.u_query;
        const real *x = run->qkv + (keys ? z->C : 0);
        size_t stride = 3 * z->C;
        if (map->normalised_input) x = keys ? buffers->key : buffers->query, stride = z->C;
        if (pass == FORWARD) {
            map->forward(layer, run->params, u, keys ? NULL : buffers->query_factors, x, stride, &span, run->scratch);
            continue;
        }
        const real *d_u = keys ? buffers->d_u_key : buffers->d_u_query;
        real *d_x = run->d_qkv + (keys ? z->C : 0);
        if (map->normalised_input) d_x = keys ? buffers->d_key : buffers->d_query;
        map->backward(layer, run->params, run->grads, d_x, stride, d_u, u, x, stride, &span, run->scratch);
    }
}

/* A sum moves on during the local part only when somebody looks after it. */
static void poll_link(const AttentionRun *run)
{
    if (omp_get_thread_num() == 0) run->link->exclusive_sum_poll(run->link);
}

static void linear_forward(const AttentionRun *run)
{
    Sizes z = sizes_of(run->layer, &run->shape);
    size_t mark = arena_mark(run->scratch);
    Buffers buffers = take_buffers(run->layer, &z, FORWARD, run->scratch);
    buffers.powers = powers_of(run->layer, run->params);
    phase_begin(PHASE_FEATURES);
    if (uses_qk_norm(run->layer))
        qk_norm_forward(run->layer, run->params, buffers.query, z.C, buffers.key, z.C, run->qkv, z.B * z.N);
    map_pass(run, &z, &buffers, FORWARD);
    phase_begin(PHASE_KEYS);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (size_t s = 0; s < z.B; s++)
        for (size_t j = 0; j < z.H; j++) {
            Head head = head_at(run, &z, &buffers, s, j);
            head_key_side(run, &z, &head, buffers.total + head.index * z.state);
        }
    run->link->exclusive_sum_begin(run->link, SCAN_FORWARD, buffers.total, buffers.incoming, z.B * z.H * z.state);
    phase_begin(PHASE_PAIRS);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (size_t s = 0; s < z.B; s++)
        for (size_t j = 0; j < z.H; j++) {
            Head head = head_at(run, &z, &buffers, s, j);
            head_local_forward(&z, &head);
            poll_link(run);
        }
    run->link->exclusive_sum_finish(run->link);
    phase_begin(PHASE_QUERIES);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (size_t s = 0; s < z.B; s++)
        for (size_t j = 0; j < z.H; j++) {
            Head head = head_at(run, &z, &buffers, s, j);
            head_query_side(run, &z, &head, buffers.incoming + head.index * z.state);
        }
    arena_release(run->scratch, mark);
}

/* ---- backward ------------------------------------------------------------------------------------------------------- */

/* The gradients of one head, addressed like the head itself. */
typedef struct HeadGradients {
    const real *d_out;           /* stride C */
    real *delta;                 /* (N) */
    real *adjoint;               /* (blocks, state) */
    real *d_u_query, *d_u_key;   /* stride H r */
    HeadGradient d_query, d_key; /* of what the local part multiplies */
    HeadGradient d_values;       /* stride 3C */
} HeadGradients;

static HeadGradients head_gradients_at(const AttentionRun *run, const Sizes *z, const Buffers *buffers, size_t s,
                                       size_t j)
{
    size_t token = s * z->N, u = (token * z->H + j) * z->r, row = token * z->C + j * z->h;
    bool exact = exact_local(run->layer);
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
    fill_rows(panel->features, normaliser_of(z, state), factors, count, z->m);
    small_gemm_nn(panel->features, z->m, panel->values, z->h, panel->transposed, z->m, count, z->m, z->h, ADD);
    contract(run->layer->map->self_tensored, d_u, stride, panel->features, u, stride, count, z->r, panel->packing);
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
    expand_panel(run, z, panel, u, u_stride, count);
    add_to_state(z, adjoint, panel, count, row ? ADD : OVERWRITE);
    add_rows(adjoint + z->m * z->h, panel->features, panel->normaliser, count, z->m);
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

static void head_query_side_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                                     const HeadGradients *gradients, real *total)
{
    fill_delta(run, z, head, gradients->delta, gradients->d_out);
    Panel panel = panel_in(z, head->scratch);
    memset(head->running, 0, z->state * sizeof *head->running);
    for (size_t l = 0; l < z->blocks; l++) {
        size_t rows = block_rows(z, l);
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
    expand_panel(run, z, panel, u, u_stride, count);
    small_gemm_nn(panel->values, z->h, panel->features, z->m, adjoint, z->h, count, z->h, z->m, OVERWRITE);
    for (size_t i = 0; i < count; i++)
        add_to(d_values.rows + (first + i) * d_values.stride, panel->values + i * z->h, z->h);
}

static void head_key_side_backward(const AttentionRun *run, const Sizes *z, const Head *head,
                                   const HeadGradients *gradients, const real *incoming)
{
    Panel panel = panel_in(z, head->scratch);
    sums_to_prefixes(gradients->adjoint, incoming, z, true, head->running);
    for (size_t l = 0; l < z->blocks; l++) {
        if (is_last_block(z, l)) continue; /* no tokens come after it */
        size_t rows = block_rows(z, l);
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

static void head_local_backward(const Sizes *z, const Head *head, const HeadGradients *gradients)
{
    for (size_t l = 0; l < z->blocks; l++) {
        ExactHead part = local_block(head, z, l);
        size_t first = l * z->b;
        exact_backward(&head->weight, &part, (HeadRows){gradients->d_out + first * z->C, z->C},
                       head->normaliser + first, gradients->delta + first, gradient_from(gradients->d_query, first),
                       gradient_from(gradients->d_key, first), gradient_from(gradients->d_values, first),
                       head->scratch);
    }
}

static void linear_backward(const AttentionRun *run)
{
    const AttentionLayer *layer = run->layer;
    Sizes z = sizes_of(layer, &run->shape);
    size_t mark = arena_mark(run->scratch), tokens = z.B * z.N;
    Buffers buffers = take_buffers(layer, &z, BACKWARD, run->scratch);
    buffers.powers = powers_of(layer, run->params);
    phase_begin(PHASE_FEATURES);
    memset(run->d_qkv, 0, tokens * 3 * z.C * sizeof(real));
    memset(buffers.d_u_query, 0, tokens * z.H * z.r * sizeof(real));
    memset(buffers.d_u_key, 0, tokens * z.H * z.r * sizeof(real));
    if (uses_qk_norm(layer)) {
        qk_norm_forward(layer, run->params, buffers.query, z.C, buffers.key, z.C, run->qkv, tokens);
        memset(buffers.d_query, 0, tokens * z.C * sizeof(real));
        memset(buffers.d_key, 0, tokens * z.C * sizeof(real));
    }
    phase_begin(PHASE_QUERIES);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (size_t s = 0; s < z.B; s++)
        for (size_t j = 0; j < z.H; j++) {
            Head head = head_at(run, &z, &buffers, s, j);
            HeadGradients gradients = head_gradients_at(run, &z, &buffers, s, j);
            head_query_side_backward(run, &z, &head, &gradients, buffers.total + head.index * z.state);
        }
    run->link->exclusive_sum_begin(run->link, SCAN_BACKWARD, buffers.total, buffers.incoming, z.B * z.H * z.state);
    phase_begin(PHASE_PAIRS);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (size_t s = 0; s < z.B; s++)
        for (size_t j = 0; j < z.H; j++) {
            Head head = head_at(run, &z, &buffers, s, j);
            HeadGradients gradients = head_gradients_at(run, &z, &buffers, s, j);
            head_local_backward(&z, &head, &gradients);
            poll_link(run);
        }
    run->link->exclusive_sum_finish(run->link);
    phase_begin(PHASE_KEYS);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (size_t s = 0; s < z.B; s++)
        for (size_t j = 0; j < z.H; j++) {
            Head head = head_at(run, &z, &buffers, s, j);
            HeadGradients gradients = head_gradients_at(run, &z, &buffers, s, j);
            head_key_side_backward(run, &z, &head, &gradients, buffers.incoming + head.index * z.state);
        }
    phase_begin(PHASE_FEATURES);
    map_pass(run, &z, &buffers, BACKWARD);
    if (uses_qk_norm(layer))
        qk_norm_backward(layer, run->params, run->grads, run->d_qkv, buffers.d_query, z.C, buffers.d_key, z.C, run->qkv,
                         tokens, run->scratch);
    arena_release(run->scratch, mark);
}

/* ---- token by token ------------------------------------------------------------------------------------------------- */

/* The recurrent state of one head: the prefix state of all complete blocks, and the rows of the block under way. Neither
   grows with the position. */
typedef struct DecodeState {
    real *state;  /* (m (h + 1)) */
    real *lost;   /* (m (h + 1)): what rounding has taken from it so far (Kahan) */
    real *local;  /* (block, w): what the local part multiplies, k' or u(k); block = b, or fewer if tokens are fewer */
    real *values; /* (block, h) */
    real *u;      /* (block, r) */
} DecodeState;

static size_t decode_block(const Sizes *z, const DecodeShape *shape)
{
    return z->b < shape->max_tokens ? z->b : shape->max_tokens;
}

static size_t decode_head_count(const AttentionLayer *layer, const Sizes *z, const DecodeShape *shape)
{
    return 2 * z->state + decode_block(z, shape) * (local_width(layer, z) + z->h + z->r);
}

static Sizes decode_sizes(const AttentionLayer *layer, const DecodeShape *shape)
{
    AttentionShape one = {
        .sequences = 1, .tokens = 1, .context_length = 1, .block_length = shape->block_length, .segments = 1};
    return sizes_of(layer, &one);
}

static size_t linear_decode_state_count(const AttentionLayer *layer, const DecodeShape *shape)
{
    Sizes z = decode_sizes(layer, shape);
    return z.H * decode_head_count(layer, &z, shape);
}

static DecodeState decode_state_at(const AttentionLayer *layer, const Sizes *z, const DecodeShape *shape, real *state,
                                   size_t j)
{
    size_t block = decode_block(z, shape);
    real *first = state + j * decode_head_count(layer, z, shape);
    real *local = first + 2 * z->state, *values = local + block * local_width(layer, z);
    return (DecodeState){first, first + z->state, local, values, values + block * z->h};
}

typedef struct DecodeBuffers {
    PowerScale powers;
    real *query, *key;     /* (C) */
    real *u_query, *u_key; /* (H, r) */
    real *query_factors;   /* (H) */
    real *block_sum;       /* (state) */
    Panel panel;
} DecodeBuffers;

static DecodeBuffers take_decode_buffers(const Sizes *z, Arena *scratch)
{
    DecodeBuffers buffers = {0};
    buffers.query = arena_take(scratch, z->C);
    buffers.key = arena_take(scratch, z->C);
    buffers.u_query = arena_take(scratch, z->H * z->r);
    buffers.u_key = arena_take(scratch, z->H * z->r);
    buffers.query_factors = arena_take(scratch, z->H);
    buffers.block_sum = arena_take(scratch, z->state);
    buffers.panel = panel_in(z, arena_take(scratch, panel_count(z)));
    return buffers;
}

static void linear_plan_decode(const AttentionLayer *layer, const DecodeShape *shape, Arena *scratch)
{
    Sizes z = decode_sizes(layer, shape);
    size_t mark = arena_mark(scratch);
    take_decode_buffers(&z, scratch);
    layer->map->plan(layer, 1, scratch);
    arena_release(scratch, mark);
}

/* state += x; what the sum cannot hold is kept for the next time. */
static void add_compensated(real *state, real *lost, const real *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        real term = x[i] - lost[i], sum = state[i] + term;
        lost[i] = (sum - state[i]) - term;
        state[i] = sum;
    }
}

/* A block is complete: its rows become part of the prefix state. */
static void fold_block(const AttentionLayer *layer, const Sizes *z, const DecodeState *state,
                       const DecodeBuffers *buffers)
{
    Panel panel = buffers->panel;
    real *sum = buffers->block_sum;
    memset(sum, 0, z->state * sizeof *sum);
    for (size_t i = 0; i < z->b; i += z->panel_rows) {
        size_t count = panel_rows_from(z, i, z->b);
        expand(layer->map->self_tensored, panel.features, state->u + i * z->r, z->r, count, z->r, panel.packing);
        gather_rows(panel.values, state->values + i * z->h, z->h, count, z->h);
        add_to_state(z, sum, &panel, count, ADD);
        add_rows(sum + z->m * z->h, panel.features, NULL, count, z->m);
    }
    add_compensated(state->state, state->lost, sum, z->state);
}

/* (numerator, denominator) of the pairs of the block under way, whose last row is the token itself. */
static real decode_pairs(const PairWeight *weight, const DecodeState *state, const real *query, size_t rows,
                         size_t width, size_t h, real *out)
{
    real sum = 0;
    for (size_t t = 0; t < rows; t++) {
        const real *other = state->local + t * width, *v = state->values + t * h;
        real score = 0;
        for (size_t c = 0; c < width; c++) score += query[c] * other[c];
        real w = power_of(weight->scale * score, weight->degree);
        sum += w;
        for (size_t c = 0; c < h; c++) out[c] += w * v[c];
    }
    return sum;
}

/* The same of earlier blocks: phi(q) Z. */
static real decode_prefix(const AttentionLayer *layer, const Sizes *z, const DecodeState *state,
                          const DecodeBuffers *buffers, size_t j, real *out)
{
    real *features = buffers->panel.features, factor = buffers->powers.factor;
    expand(layer->map->self_tensored, features, buffers->u_query + j * z->r, z->r, 1, z->r, buffers->panel.packing);
    small_gemm_nn(out, z->h, features, z->m, state->state, z->h, 1, z->h, z->m, OVERWRITE);
    real sum = sketched_sum(layer->map, z, features, normaliser_of(z, state->state), &factor);
    for (size_t c = 0; c < z->h; c++) out[c] *= factor;
    return factor * sum;
}

static void decode_head(const AttentionLayer *layer, const Sizes *z, const DecodeState *state,
                        const DecodeBuffers *buffers, size_t j, size_t position, const real *value, real *out)
{
    size_t row = position % z->b, width = local_width(layer, z);
    bool exact = exact_local(layer);
    PairWeight weight = local_weight(layer, &buffers->powers);
    const real *query = exact ? buffers->query + j * z->h : buffers->u_query + j * z->r;
    const real *key = exact ? buffers->key + j * z->h : buffers->u_key + j * z->r;
    if (row == 0 && position > 0) fold_block(layer, z, state, buffers);
    memcpy(state->local + row * width, key, width * sizeof *key);
    memcpy(state->values + row * z->h, value, z->h * sizeof *value);
    memcpy(state->u + row * z->r, buffers->u_key + j * z->r, z->r * sizeof *key);
    real sum = buffers->powers.one * (layer->map->scales_queries ? buffers->query_factors[j] : 1);
    sum += decode_prefix(layer, z, state, buffers, j, out);
    sum += decode_pairs(&weight, state, query, row + 1, width, z->h, out);
    if (sum < LEAST_NORMALISER) sum = LEAST_NORMALISER;
    for (size_t c = 0; c < z->h; c++) out[c] /= sum;
}

static void linear_decode(const AttentionLayer *layer, const DecodeShape *shape, const real *params, real *state,
                          size_t position, const real *qkv, real *out, Arena *scratch)
{
    Sizes z = decode_sizes(layer, shape);
    size_t mark = arena_mark(scratch);
    bool normalised = layer->map->normalised_input;
    DecodeBuffers buffers = take_decode_buffers(&z, scratch);
    buffers.powers = powers_of(layer, params);
    if (uses_qk_norm(layer)) qk_norm_forward(layer, params, buffers.query, z.C, buffers.key, z.C, qkv, 1);
    TokenSpan one = {.sequences = 1, .tokens = 1, .first = 0, .end = 1};
    layer->map->forward(layer, params, buffers.u_query, layer->map->scales_queries ? buffers.query_factors : NULL,
                        normalised ? buffers.query : qkv, 3 * z.C, &one, scratch);
    layer->map->forward(layer, params, buffers.u_key, NULL, normalised ? buffers.key : qkv + z.C, 3 * z.C, &one,
                        scratch);
    for (size_t j = 0; j < z.H; j++) {
        DecodeState head = decode_state_at(layer, &z, shape, state, j);
        decode_head(layer, &z, &head, &buffers, j, position, qkv + 2 * z.C + j * z.h, out + j * z.h);
    }
    arena_release(scratch, mark);
}

/* ---- the table rows ------------------------------------------------------------------------------------------------- */

static void polysketch_declare(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    layer->map = layer->config.sketch == SKETCH_LEARNED ? &feature_map_sketch_learned : &feature_map_sketch_random;
    if (uses_qk_norm(layer)) qk_norm_declare(layer, table, prefix);
    layer->map->declare(layer, table, prefix);
}

static void performer_declare(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    layer->map = &feature_map_performer;
    layer->map->declare(layer, table, prefix);
}

static size_t linear_state_count(const AttentionLayer *layer, const AttentionShape *shape)
{
    Sizes z = sizes_of(layer, shape);
    return z.B * z.H * z.state;
}

static AttentionCost linear_cost(const AttentionLayer *layer, const AttentionShape *shape)
{
    Sizes z = sizes_of(layer, shape);
    double T = (double)shape->context_length, pairs = 0, b = (double)z.b;
    double whole = floor(T / b), rest = T - whole * b;
    pairs = whole * b * (b + 1) / 2 + rest * (rest + 1) / 2;
    double local = pairs * 2 * (double)(local_width(layer, &z) + z.h);
    double last = rest > 0 ? rest : b;
    double crossing = T - last + (T > b ? T - b : 0); /* keys and queries that meet a state */
    double states = 2 * crossing * (double)z.state;
    double features = (exact_local(layer) ? crossing : 2 * T) * layer->map->flops(layer);
    AttentionMessages scan = {0};
    if (shape->segments > 1) scan = (AttentionMessages){1, z.B * z.H * z.state};
    return (AttentionCost){
        .forward_flops = (double)z.H * (local + states + features),
        .forward = scan,
        .backward = scan,
    };
}

/* Linear kinds differ in their tensors and their feature map only. */
#define LINEAR_FUNCTIONS                                                                                               \
    .saved_count = linear_saved_count, .plan = linear_plan, .forward = linear_forward, .backward = linear_backward,    \
    .decode_state_count = linear_decode_state_count, .decode = linear_decode, .plan_decode = linear_plan_decode,       \
    .cost = linear_cost, .state_count = linear_state_count

const AttentionKind attention_polysketch = {
    .name = "polysketch",
    .summary =
        "<u(q),u(k)>^2 by random or learned sketches, exact polynomial within a block; time linear in the context",
    .declare = polysketch_declare,
    LINEAR_FUNCTIONS,
};

const AttentionKind attention_performer = {
    .name = "performer",
    .summary = "positive random features of the softmax kernel; time linear in the context; a baseline",
    .declare = performer_declare,
    LINEAR_FUNCTIONS,
};
