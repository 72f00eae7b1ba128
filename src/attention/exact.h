/* Exact pairwise attention of one head, tile by tile: out_i = sum over visible j of weight(<q_i, k_j>) v_j.

   A tile of scores stays in cache while it becomes weights; no matrix of tokens x tokens exists. Softmax and the
   polynomial differ only in how scores become weights (PairWeight). */
#ifndef POLYSKETCH_ATTENTION_EXACT_H
#define POLYSKETCH_ATTENTION_EXACT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "src/base/real.h"
#include "src/tensor/matrix.h"

/* Tiles of queries x keys: 64 KB of scores. A strip of four tiles, 256 queries, shares each tile of keys: those are gathered
   and transposed once for the strip. Rows are gathered because heads lie far apart in memory, each row on a page of its
   own. */
enum { EXACT_TILE_ROWS = 64, EXACT_TILE_COLUMNS = 256, EXACT_STRIP_ROWS = 4 * EXACT_TILE_ROWS };

/* What the gates between a query and a key (gate.h) leave of their weight: exp(q[i] - k[j]), of sums of gates. For the columns
   before the first row, `early` of them, the exponent is taken in two parts at the first row, neither of them positive:
   q[i] - q[0], and early_part[j] = q[0] - k[j], or its exponential where gates are factors of weights. */
typedef struct TileDecay {
    const double *q, *k; /* (rows), (columns) */
    size_t early;
    const real *early_part; /* (early) */
} TileDecay;

/* Scores (rows, columns) of a tile; row i sees column j when j <= i + offset and, with documents,
   starts[i] <= key_position + j. */
typedef struct PairTile {
    real *scores;
    size_t rows, columns;
    ptrdiff_t offset;
    const TileDecay *decay; /* NULL: no gates */
    const int32_t *starts;  /* (rows); NULL: no documents */
    size_t key_position;    /* of column 0, in the sequence */
} PairTile;

typedef struct PairWeight PairWeight;
struct PairWeight {
    real scale; /* scores are scale * <q, k> */
    int degree; /* of the polynomial; 0 for the exponential */
    /* Scores become weights in place; keys a query must not see get weight 0. Row sums are added to `sums`. Where a kind keeps
       the running maximum of a row, `maxima` is updated and accumulated[i] must be multiplied by the factor written to
       factors[i]; otherwise `maxima` is NULL. */
    void (*forward)(const PairWeight *, const PairTile *, real *sums, real *maxima, real *factors);
    /* Scores become weights / normaliser; d_weights (rows, columns) = <d_out_i, v_j> become gradients of scores:
       derivative of the normalised weight * (d_weights_ij - delta_i). key_sums (columns), unless NULL, += the sums over rows of
       normalised weight * (d_weights_ij - delta_i). */
    void (*backward)(const PairWeight *, const PairTile *, real *d_weights, const real *normaliser, const real *delta,
                     real *key_sums);
};

/* Head j of sequence s in x (B N, H w), which has N rows of each sequence: (N, w). */
static inline Matrix head_of(Matrix x, size_t N, size_t H, size_t s, size_t j)
{
    return matrix_part(x, s * N, N, j * (x.columns / H), x.columns / H);
}

static inline ConstMatrix const_head_of(ConstMatrix x, size_t N, size_t H, size_t s, size_t j)
{
    return const_matrix_part(x, s * N, N, j * (x.columns / H), x.columns / H);
}

/* One head of one sequence: query i sees key j when j <= i + offset. */
typedef struct ExactHead {
    ConstMatrix q;    /* (queries, width) */
    ConstMatrix k, v; /* (keys, width), (keys, value_width) */
    ptrdiff_t offset;
    /* (queries), (keys): sums of gates up to each of them, from one common start; the weight of a pair is multiplied by the
       exponential of the difference. NULL: no gates. */
    const double *q_gates, *k_gates;
    /* (queries): the first position of the sequence that each of them sees, rising; NULL: all earlier ones. */
    const int32_t *starts;
    size_t key_position; /* of the first key, in the sequence */
} ExactHead;

/* The head with `count` of its queries alone, from `first` on. */
static inline ExactHead exact_rows(const ExactHead *head, size_t first, size_t count)
{
    ExactHead rows = *head;
    rows.q = const_matrix_rows(head->q, first, count);
    rows.offset += (ptrdiff_t)first;
    rows.q_gates = head->q_gates ? head->q_gates + first : NULL;
    rows.starts = head->starts ? head->starts + first : NULL;
    return rows;
}

/* out (queries, value_width) += weights v, sums (queries) += row sums; not yet divided. `maxima` (queries), NULL where the
   kind keeps none. `scratch` holds exact_forward_scratch() numbers of this thread. */
void exact_forward(const PairWeight *weight, const ExactHead *head, Matrix out, real *sums, real *maxima,
                   real *scratch);

/* Strips of one head that are computed at once add to the gradients of the same keys, tile after tile: each when another strip
   has, so that sums do not depend on who is faster. Numbers of keys whose gradients a strip has finished with; 0 at first. */
typedef struct ExactTurn {
    atomic_size_t
        *before; /* of the strip that comes before, which other threads work on or have finished; NULL: none */
    atomic_size_t *own;
} ExactTurn;

typedef struct ExactGradients {
    ConstMatrix d_out;    /* (queries, value_width): of the divided output */
    const real *delta;    /* (queries): exact_delta() of it */
    Matrix d_q, d_k, d_v; /* shaped as q, k, v */
    real *key_sums;       /* (keys) += sum over queries of weight * its gradient, which gates need; or NULL */
    const ExactTurn
        *turn; /* of a single strip; NULL: nobody else adds to gradients of these keys. With documents the strip
                              before has the later queries. */
} ExactGradients;

/* From d_out and delta: d_q, d_k, d_v += ... normaliser (queries); `scratch` holds exact_backward_scratch() numbers. */
void exact_backward(const PairWeight *weight, const ExactHead *head, const real *normaliser,
                    const ExactGradients *gradients, real *scratch);

size_t exact_forward_scratch(size_t width, size_t value_width);
size_t exact_backward_scratch(size_t width, size_t value_width);

/* delta (queries) = <d_out_i, out_i>, both (queries, value_width) */
void exact_delta(real *delta, ConstMatrix d_out, ConstMatrix out);

/* weight = (scale <q,k>)^degree, normaliser = `one` + sum; degree 1 serves features that are used as they are. */
PairWeight pair_weight_power(real scale, int degree);
/* weight = exp(scale <q,k>); the normaliser handed to the backward pass is log(sum of weights). */
PairWeight pair_weight_exponential(real scale);

/* s^degree by repeated multiplication; for one weight at a time (decoding). */
real power_of(real s, int degree);

/* Keys of row i of a tile that are not later than it. */
static inline size_t visible_columns(size_t row, size_t columns, ptrdiff_t offset)
{
    ptrdiff_t visible = (ptrdiff_t)row + offset + 1;
    return visible <= 0 ? 0 : (size_t)visible < columns ? (size_t)visible : columns;
}

/* Keys before a start, counted from the one at `key_position`. */
static inline size_t keys_before(size_t start, size_t key_position)
{
    return start > key_position ? start - key_position : 0;
}

/* The columns [first, end) that row i of a tile sees; first = end when there are none. */
typedef struct ColumnSpan {
    size_t first, end;
} ColumnSpan;

static inline ColumnSpan visible_span(const PairTile *tile, size_t i)
{
    size_t end = visible_columns(i, tile->columns, tile->offset);
    size_t first = tile->starts ? keys_before((size_t)tile->starts[i], tile->key_position) : 0;
    return (ColumnSpan){first < end ? first : end, end};
}

/* row (columns) = 0 outside of the span. */
static inline void clear_unseen(real *row, ColumnSpan span, size_t columns)
{
    memset(row, 0, span.first * sizeof *row);
    memset(row + span.end, 0, (columns - span.end) * sizeof *row);
}

#endif
