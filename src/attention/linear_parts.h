/* What the files of the linear engine share: linear.c (a pass over all heads), linear_memory.c (its memory), linear_head.c and
   linear_head_backward.c (one block of a head), linear_sums.c (sums over its blocks), linear_panel.c (panels of features),
   linear_window.c (the window before this rank's tokens), linear_decode.c (token by token), linear_read.c (from a recurrent state
   on). linear.h is what others see. */
#ifndef POLYSKETCH_ATTENTION_LINEAR_PARTS_H
#define POLYSKETCH_ATTENTION_LINEAR_PARTS_H

#include "src/attention/exact.h"
#include "src/attention/feature_map.h"
#include "src/attention/linear.h"
#include "src/attention/packed_features.h"
#include "src/attention/power_scale.h"
#include "src/tensor/small_gemm.h"

/* ---- sizes ---------------------------------------------------------------------------------------------------------- */

typedef struct Sizes {
    size_t B, N, H, h, C, b;
    size_t r;           /* numbers of u */
    size_t m;           /* features */
    size_t state;       /* m (h + 1) */
    bool decays;        /* states are forgotten on the way: there are gates, or documents */
    size_t group;       /* state, and where it decays its log decay: what a head gives to the scan */
    size_t window;      /* W: earlier blocks whose pairs are exact too */
    size_t before;      /* W b: rows of the window before this rank's first token */
    size_t row;         /* numbers of such a row: key h, value h, u r, and with a gate 1 */
    size_t blocks;      /* of this rank */
    size_t first_block; /* of this rank, in the sequence */
    size_t first_token; /* of this rank, in the sequence */
    size_t all_blocks;  /* of the sequence */
    size_t panel_rows;
} Sizes;

Sizes linear_sizes(const AttentionLayer *layer, const AttentionShape *shape);

/* Whether near weights are exponentials. */
bool linear_is_exponential(const AttentionLayer *layer);

static inline size_t linear_block_rows(const Sizes *z, size_t block)
{
    size_t rest = z->N - block * z->b;
    return rest < z->b ? rest : z->b;
}

/* Slot l of a rank is where its block l of queries meets the scan: they read the state of all slots before it, and behind them
   the keys of block l - W join the state, those that leave the window. With W = 0 a slot is a block. The queries of the first
   1 + W blocks of a sequence have no state to read; the first W slots have no keys, and nobody reads what the last one adds. */
static inline bool reads_state(const Sizes *z, size_t slot) { return z->first_block + slot > z->window; }
static inline bool adds_to_state(const Sizes *z, size_t slot)
{
    size_t block = z->first_block + slot;
    return block >= z->window && block + 1 < z->all_blocks;
}

/* Numbers of what the local part multiplies: q' and k', or u. */
static inline size_t linear_local_width(const AttentionLayer *layer, const Sizes *z)
{
    return linear_exact_local(layer) ? z->h : z->r;
}

/* What the forward pass leaves for the backward pass. Normalisers and factors of rows with exponential near weights are on the
   scale of the row's largest one, times exp(-maximum). */
typedef struct Saved {
    real *u_query, *u_key; /* (B, N, H, r), where linear_mapped_tokens() says */
    real *normaliser;      /* (B, H, N) */
    real *prefix_factor;   /* (B, H, N): of the sketched sums in a row's output; 0 where they are left out */
    real *states;          /* (B, H, blocks, state): Z */
    real *window;          /* (B, H, W b, row): the rows before this rank's first token; with W > 0 */
    real *maxima;          /* (B, H, N): of exponential near weights, else NULL */
    real *constant;        /* (B, H, N): the constant's part of the normaliser; with a gate, else NULL */
} Saved;

Saved linear_saved_parts(const AttentionLayer *layer, const Sizes *z, real *saved);

/* How the weights of a layer are scaled. */
typedef struct Scales {
    PowerScale powers;
    bool exponential; /* near weights */
    real log_far;     /* log of what sketched weights are multiplied by beside powers.factor, of all heads */
} Scales;

Scales linear_scales(const AttentionLayer *layer, ParamStore *params);
/* log of the far scale of head j; 0 without one. */
real linear_log_far_scale(const AttentionLayer *layer, ParamStore *params, size_t j);
/* The near pairs of a head with that far scale. */
PairWeight linear_pair_weight(const AttentionLayer *layer, const Scales *scales, real log_far_scale);
/* The factor of a row's sketched weights, whose logarithm beside powers.factor is `log_factor`. */
real linear_far_factor(const Scales *scales, real log_factor);

/* The queries, or keys, whose u is read. With exact pairs, queries of the first 1 + W blocks have no prefix state, and keys of
   the last 1 + W are near for all that see them: a sequence of a single block needs no features at all. */
TokenSpan linear_mapped_tokens(const AttentionLayer *layer, const Sizes *z, bool keys);

/* ---- sums ----------------------------------------------------------------------------------------------------------- */

static inline void add_to(real *sum, const real *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) sum[i] += x[i];
}

static inline void add_times(real *sum, real factor, const real *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) sum[i] += factor * x[i];
}

static inline real dot(const real *x, const real *y, size_t count)
{
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

/* ---- panels of features (linear_panel.c) --------------------------------------------------------------------------------- */

/* What one thread works with; `features` takes turns as phi and its gradient. */
typedef struct Panel {
    real *features;   /* (panel_rows, m) */
    real *values;     /* (panel_rows, h): of v~ or of (numerator, denominator), and of their gradients, */
    real *normaliser; /* (panel_rows): and the last column of these */
    real *transposed; /* (h, m) of a state; backward pass */
    real *packing;    /* scratch of the packed features */
} Panel;

static inline size_t panel_count(const Sizes *z)
{
    return z->panel_rows * (z->m + z->h + 1) + z->m * z->h + packed_features_scratch(z->r);
}

static inline Panel panel_in(const Sizes *z, real *scratch)
{
    Panel panel = {.features = scratch};
    panel.values = panel.features + z->panel_rows * z->m;
    panel.transposed = panel.values + z->panel_rows * z->h;
    panel.packing = panel.transposed + z->m * z->h;
    panel.normaliser = panel.packing + packed_features_scratch(z->r);
    return panel;
}

static inline size_t panel_rows_from(const Sizes *z, size_t row, size_t rows)
{
    return rows - row < z->panel_rows ? rows - row : z->panel_rows;
}

/* The normaliser's part of a state. */
static inline const real *normaliser_of(const Sizes *z, const real *state) { return state + z->m * z->h; }

/* panel->features = phi (count, m) of u (count, r). */
void panel_expand(const FeatureMap *map, const Panel *panel, ConstMatrix u);

/* The rows of the values, each times its factor; NULL factors are 1. */
void panel_scale_values(const Sizes *z, const Panel *panel, const real *factors, size_t count);

/* d_u (count, r) += gradient through panel_expand() of panel->features. */
void panel_contract(const FeatureMap *map, const Panel *panel, Matrix d_u, ConstMatrix u);

/* sums (m) += the rows of the features, each times its factor; NULL factors are 1. */
void panel_add_rows(const Panel *panel, real *sums, const real *factors, size_t rows, size_t m);

/* Each row of the features = (m) times its factor; NULL factors are 1. */
void panel_fill_rows(const Panel *panel, const real *row, const real *factors, size_t rows, size_t m);

/* state += (or =) sum of phi(u_j) v~_j^T over `count` rows: the values' part of it. */
void panel_add_to_state(const Sizes *z, real *state, const Panel *panel, size_t count, Store store);

/* <phi, sums> over the m features, or 0 with the row's factor where only rounding is left of it. */
real linear_sketched_sum(const FeatureMap *map, const Sizes *z, const real *phi, const real *sums, real *factor);

/* ---- buffers of one pass -------------------------------------------------------------------------------------------- */

typedef struct Buffers {
    real *query, *key; /* (B, N, C) q', k'; NULL when unused */
    Scales scales;
    real *query_factors;    /* (B, N, H) of maps that scale the features of queries; else NULL */
    double *gates;          /* (B, H, W b + N): sums of the gates from the window's first on; NULL without a gate */
    real *tail;             /* (B, H, W b, row): what the next rank is sent, or what comes back from it */
    real *total, *incoming; /* (B, H, group) */
    HeadShares *shares;     /* (B, H, blocks): what each block adds to run->watch; forward pass */
    real *threads;          /* per thread: local scratch, or a panel */
    size_t per_thread;
    real *d_query, *d_key;     /* (B, N, C) gradients of q', k' */
    real *d_u_query, *d_u_key; /* (B, N, H, r) */
    real *delta;               /* (B, H, N) */
    real *adjoint;             /* (B, H, blocks, state): A, then Y */
    real *d_window;            /* (B, H, W b, row): gradients of the window */
    real *key_sums;            /* (B, H, W b + N): ExactGradients.key_sums, of exact pairs with a gate; else NULL */
    real *log_normaliser;      /* (B, H, N): what exponential pairs need; else NULL */
} Buffers;

Buffers linear_take_buffers(const AttentionLayer *layer, const Sizes *z, PassDirection pass, Arena *scratch);

/* ---- one head of one sequence (linear_head.c) ------------------------------------------------------------------------------ */

/* Everything a head needs; rows are this rank's tokens of the sequence. */
typedef struct Head {
    size_t index;               /* s * H + j */
    ConstMatrix u_query, u_key; /* (N, r) */
    ConstMatrix values;         /* (N, h) */
    ConstMatrix window;         /* (W b, row): before them */
    const double *gates;        /* (W b + N), or NULL */
    const int32_t *starts;      /* (N) of its documents, or NULL */
    Matrix out;                 /* (N, h) */
    real *normaliser, *states;  /* (N), (blocks, state) */
    real *prefix_factor;        /* (N) */
    real *maxima, *constant;    /* (N), or NULL */
    const real *query_factors;  /* (N), H numbers apart, or NULL */
    ExactHead local;            /* of a whole segment; a block is cut from it */
    PairWeight weight;
    Scales scales;
    real log_far;       /* of this head, far scale included */
    HeadShares *shares; /* (blocks), or NULL: nobody watches, and there are no ... */
    TokenRange watched; /* ... rows that count */
    real *scratch;      /* of this thread */
} Head;

/* Columns of a row of the window, or of its gradients. */
static inline size_t window_value_column(const Sizes *z) { return z->h; }
static inline size_t window_u_column(const Sizes *z) { return 2 * z->h; }
static inline size_t window_gate_column(const Sizes *z) { return 2 * z->h + z->r; }

/* Head `index` of a window (B, H, W b, row). */
static inline Matrix linear_window_of(const Sizes *z, real *window, size_t index)
{
    return matrix_dense(window ? window + index * z->before * z->row : NULL, z->before, z->row);
}

/* The sum of gates before the keys of a slot; 0 without a gate. */
double linear_gates_before(const Head *head, const Sizes *z, size_t slot);
/* What the keys of slots [from, to) leave of a state that was there before them: their gates take their part, and a document
   that begins among them all, for no query behind sees what was before it. */
double linear_kept(const Head *head, const Sizes *z, size_t from, size_t to);
/* The log decay of all slots of this rank. */
real linear_log_decay(const Head *head, const Sizes *z);

/* Whether the state that a row meets holds only keys before its document; and whether the queries of a slot read a state. */
bool linear_state_is_hidden(const Head *head, const Sizes *z, size_t row);
bool linear_reads_state(const Head *head, const Sizes *z, size_t slot);

/* The keys that join the state at a slot, and their values. */
typedef struct SlotKeys {
    ConstMatrix u, values; /* (rows, r), (rows, h) */
    const double *gates;   /* (rows); NULL without a gate */
    size_t hidden;         /* first rows that no later query sees, being of earlier documents */
} SlotKeys;

SlotKeys linear_slot_keys(const Head *head, const Sizes *z, size_t slot);
/* factors (count) of rows [first, first + count) of a slot's keys: what later gates of their block leave of them, 0 for hidden
   ones. Returns NULL when all are 1. */
const real *linear_key_factors(real *factors, const SlotKeys *keys, size_t first, size_t count);

/* Head j of sequence s in x (B, N, H, width): (N, width). */
static inline Matrix linear_head_of(const Sizes *z, real *x, size_t width, size_t s, size_t j)
{
    return head_of(matrix_dense(x, z->B * z->N, z->H * width), z->N, z->H, s, j);
}

Head linear_head_at(const AttentionRun *run, const Sizes *z, const Buffers *buffers, size_t s, size_t j);

/* The near pairs of a block of queries, in one or two parts: with the window before this rank's tokens, and with the rank's
   own. Keys are rows from first_key on, counted from the window's first row. */
typedef struct NearPairs {
    ExactHead pairs;
    size_t first_key;
} NearPairs;

int linear_near_pairs(const AttentionRun *run, const Head *head, const Sizes *z, size_t block, NearPairs parts[2]);

/* The gradients of one head. */
typedef struct HeadGradients {
    ConstMatrix d_out;         /* (N, h) */
    real *delta;               /* (N) */
    real *adjoint;             /* (blocks, state) */
    Matrix d_u_query, d_u_key; /* (N, r) */
    Matrix d_query, d_key;     /* of what the local part multiplies: shaped as it */
    Matrix d_values;           /* (N, h) */
    Matrix d_window;           /* (W b, row) */
    real *key_sums;            /* (W b + N), or NULL */
    real *log_normaliser;      /* (N), or NULL */
} HeadGradients;

HeadGradients linear_gradients_at(const AttentionRun *run, const Sizes *z, const Buffers *buffers, size_t s, size_t j);

/* One block of a head, or its slot, which no other depends on: the products of one side, of a forward pass, whose gradients are
   empty, or of a backward pass. Any number of threads may share a head. */
typedef void BlockWork(const AttentionRun *run, const Sizes *z, const Head *head, const HeadGradients *gradients,
                       size_t block);

/* In the order of the passes. linear_block_local_backward() adds to the gradients of all keys that the block's queries see:
   blocks less than 1 + W apart must not be under way together. */
BlockWork linear_slot_keys_forward, linear_block_local, linear_block_queries;
BlockWork linear_block_queries_backward, linear_block_local_backward, linear_slot_keys_backward;

/* run->d_gate of a block = gradients of the sums of its gates, once all others are there. */
BlockWork linear_block_gates_backward;

/* ---- sums over the blocks of a head (linear_sums.c) ------------------------------------------------------------------------ */

/* Numbers of a state, at most LINEAR_SLICE: each is summed by itself, so that slices divide a head's sums among threads. */
enum { LINEAR_SLICE = 2048 };
typedef struct StateSlice {
    size_t first, count;
} StateSlice;

/* `sums` (group): the sum of this rank's slots, which goes into the scan, or what came out of it. */
typedef void SliceWork(const Sizes *z, const Head *head, const HeadGradients *gradients, real *sums, StateSlice slice);

/* The total of the sums of slots, and where states decay their log decay; then, when the scan is over, sums of slots become what
   came before each slot. The same of adjoint sums, which become what comes after. */
SliceWork linear_total_of_keys, linear_prefixes_of_keys;
SliceWork linear_total_of_adjoints, linear_prefixes_of_adjoints;

/* ---- one head as a whole --------------------------------------------------------------------------------------------------- */

/* `sums` as above, or NULL. */
typedef void HeadWork(const AttentionRun *run, const Sizes *z, const Head *head, real *sums);

/* The gradient of the far scales += */
void linear_far_scale_backward(const AttentionRun *run, const Sizes *z, const Buffers *buffers);

/* ---- the window before this rank's tokens (linear_window.c) --------------------------------------------------------------- */

/* How often windows move one rank on until all rows have arrived: more than once where ranks hold fewer blocks than a window
   has. The same on all ranks. */
size_t linear_window_hops(const AttentionShape *shape, const Sizes *z);

/* The last W b rows before each rank's first token travel to it; zeros stand for rows before the sequence. Between begin and
   finish, saved->window and buffers->tail belong to the link. Collective. */
void linear_window_begin(const AttentionRun *run, const Sizes *z, const Buffers *buffers);
void linear_window_finish(const AttentionRun *run, const Sizes *z, const Buffers *buffers);

/* Gradients of those rows go back to their owners, who add them to their own. Collective. */
void linear_window_return(const AttentionRun *run, const Sizes *z, const Buffers *buffers);

/* ---- the recurrent state (linear_decode.c) --------------------------------------------------------------------------------- */

/* That of one head. Nothing in it grows with the position. Rows of near tokens lie in a ring of 1 + W blocks: token t in row
   t % ((1 + W) b). */
typedef struct DecodeState {
    real *state;  /* (m (h + 1)): of the blocks that have left the window when a block begins */
    real *lost;   /* (m (h + 1)): what rounding has taken from it so far (Kahan) */
    real *local;  /* (rows, w): what near pairs multiply, k' or u(k) */
    real *values; /* (rows, h) */
    real *u;      /* (rows, r) */
    real *ages;   /* (rows) sums of the gates behind each row; NULL without a gate */
    real *age;    /* the same behind the last block of the state */
} DecodeState;

Sizes linear_decode_sizes(const AttentionLayer *layer, const DecodeShape *shape);
/* Rows of the ring: 1 + W blocks, or fewer if tokens are fewer. */
size_t linear_ring_rows(const Sizes *z, const DecodeShape *shape);
/* Of head j; `z` are the sizes of `shape`. */
DecodeState linear_decode_state_at(const AttentionLayer *layer, const Sizes *z, const DecodeShape *shape, real *state,
                                   size_t j);

/* The block of the ring that begins at this row has left the window and joins the prefix state, which loses what the block's
   gates take. `sum` has room for m (h + 1). */
void linear_fold_block(const AttentionLayer *layer, const Sizes *z, const DecodeState *state, const Panel *panel,
                       real *sum, size_t first_row);

/* ---- passes that go on from a recurrent state (linear_read.c) -------------------------------------------------------------- */

/* Of AttentionRun.state: before the gates are summed, the rows of the window; before the queries, the state that they read;
   after all, what the tokens leave. `sums` (group): scratch; the state; nothing. */
HeadWork linear_head_enter, linear_head_take_state, linear_head_leave;

#endif
