/* What the files of the linear engine share: linear.c (a pass over all heads), linear_head.c and linear_head_backward.c (one
   head), linear_panel.c (panels of features), linear_decode.c (token by token). linear.h is what others see. */
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
    size_t blocks;      /* of this rank */
    size_t first_block; /* of this rank, in the sequence */
    size_t all_blocks;  /* of the sequence */
    size_t panel_rows;
} Sizes;

Sizes linear_sizes(const AttentionLayer *layer, const AttentionShape *shape);

static inline size_t linear_block_rows(const Sizes *z, size_t block)
{
    size_t rest = z->N - block * z->b;
    return rest < z->b ? rest : z->b;
}

/* The last block of a sequence has no later tokens: its sum is never used. The first has no earlier ones. */
static inline bool is_last_block(const Sizes *z, size_t block) { return z->first_block + block + 1 == z->all_blocks; }
static inline bool is_first_block(const Sizes *z, size_t block) { return z->first_block + block == 0; }

/* Numbers of what the local part multiplies: q' and k', or u. */
static inline size_t linear_local_width(const AttentionLayer *layer, const Sizes *z)
{
    return linear_exact_local(layer) ? z->h : z->r;
}

/* What the forward pass leaves for the backward pass. */
typedef struct Saved {
    real *u_query, *u_key; /* (B, N, H, r), where mapped_tokens() says */
    real *normaliser;      /* (B, H, N) */
    real *prefix_factor;   /* (B, H, N): of the sketched sums in a row's output; 0 where they are left out */
    real *states;          /* (B, H, blocks, state): Z */
} Saved;

Saved linear_saved_parts(const Sizes *z, real *saved);

/* The scale of powers, and the pairs inside a block. */
PowerScale linear_powers(const AttentionLayer *layer, ParamStore *params);
PairWeight linear_pair_weight(const AttentionLayer *layer, const PowerScale *powers);

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

/* The sum of many blocks, in double, and what is kept of it. */
static inline void add_widely(double *sum, const real *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) sum[i] += (double)x[i];
}

static inline void round_to_real(real *x, const double *sum, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) x[i] = (real)sum[i];
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

typedef enum Direction { FORWARD, BACKWARD } Direction;

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

/* ---- one head of one sequence (linear_head.c, linear_head_backward.c) ------------------------------------------------------ */

/* Everything a head needs; rows are this rank's tokens of the sequence. */
typedef struct Head {
    size_t index;               /* s * H + j */
    ConstMatrix u_query, u_key; /* (N, r) */
    ConstMatrix values;         /* (N, h) */
    Matrix out;                 /* (N, h) */
    real *normaliser, *states;  /* (N), (blocks, state) */
    real *prefix_factor;        /* (N) */
    const real *query_factors;  /* (N), H numbers apart, or NULL */
    ExactHead local;            /* of a whole segment; a block is cut from it */
    PairWeight weight;
    PowerScale powers;
    real *scratch;   /* of this thread */
    double *running; /* (state), of this thread */
} Head;

/* Head j of sequence s in x (B, N, H, width): (N, width). */
static inline Matrix linear_head_of(const Sizes *z, real *x, size_t width, size_t s, size_t j)
{
    return head_of(matrix_dense(x, z->B * z->N, z->H * width), z->N, z->H, s, j);
}

Head linear_head_at(const AttentionRun *run, const Sizes *z, const Buffers *buffers, size_t s, size_t j);

/* The pairs within block `block` of a head. */
ExactHead linear_local_block(const Head *head, const Sizes *z, size_t block);

/* Block sums become what came before (or, backwards, after) each block; `incoming` is what other ranks had. */
void linear_sums_to_prefixes(real *states, const real *incoming, const Sizes *z, bool backwards, double *running);

/* The gradients of one head. */
typedef struct HeadGradients {
    ConstMatrix d_out;         /* (N, h) */
    real *delta;               /* (N) */
    real *adjoint;             /* (blocks, state) */
    Matrix d_u_query, d_u_key; /* (N, r) */
    Matrix d_query, d_key;     /* of what the local part multiplies: shaped as it */
    Matrix d_values;           /* (N, h) */
} HeadGradients;

HeadGradients linear_gradients_at(const AttentionRun *run, const Sizes *z, const Buffers *buffers, size_t s, size_t j);

/* One side of one head: of a forward pass, whose gradients are empty, or of a backward pass. `sums` (state): the sum of this
   rank's blocks, which goes into the scan, or what came out of it. */
typedef void HeadWork(const AttentionRun *run, const Sizes *z, const Head *head, const HeadGradients *gradients,
                      real *sums);

/* In the order of the passes; the scan is begun after the first and finished before the third. */
HeadWork linear_head_keys, linear_head_local, linear_head_queries;
HeadWork linear_head_queries_backward, linear_head_local_backward, linear_head_keys_backward;

#endif
