#include "src/attention/exact.h"

#include <sched.h>
#include <string.h>

#include "src/base/size.h"
#include "src/tensor/small_gemm.h"
#include "src/tensor/vector_math.h"

enum {
    TILE = EXACT_TILE_ROWS * EXACT_TILE_COLUMNS,
    /* Rows of a transposed tile: their distance must not be a power of two, or they would share a few sets of the cache. */
    TRANSPOSED = EXACT_TILE_COLUMNS + 16,
};

size_t exact_forward_scratch(size_t width, size_t value_width)
{
    return TILE + EXACT_TILE_ROWS + EXACT_STRIP_ROWS * (width + value_width) + TRANSPOSED * width +
           EXACT_TILE_COLUMNS * (value_width + 1);
}

size_t exact_backward_scratch(size_t width, size_t value_width)
{
    return 2 * TILE + EXACT_STRIP_ROWS * (2 * width + value_width) + TRANSPOSED * (width + value_width) +
           EXACT_TILE_COLUMNS * (2 * width + value_width + 2);
}

typedef struct Tile {
    size_t first_row, rows, first_column, columns;
    ptrdiff_t offset; /* row i of the tile sees column j of the tile when j <= i + offset */
} Tile;

/* The first column of a tile that holds something which row `row`, and so perhaps a later one, sees. */
static size_t first_seen_tile(const ExactHead *head, size_t row)
{
    size_t hidden = head->starts ? keys_before((size_t)head->starts[row], head->key_position) : 0;
    return hidden / EXACT_TILE_COLUMNS * EXACT_TILE_COLUMNS;
}

/* The tile at (row, column), its columns cut to those that some row sees; false when it is empty. */
static int tile_at(const ExactHead *head, size_t first_row, size_t most_rows, size_t first_column, Tile *tile)
{
    tile->first_row = first_row;
    tile->rows = smaller(head->q.rows - first_row, most_rows);
    tile->first_column = first_column;
    tile->offset = (ptrdiff_t)first_row + head->offset - (ptrdiff_t)first_column;
    tile->columns =
        visible_columns(tile->rows - 1, smaller(head->k.rows - first_column, EXACT_TILE_COLUMNS), tile->offset);
    return tile->columns > 0 && first_column >= first_seen_tile(head, first_row);
}

/* What weights are made of: the tile's scores, its gates and its documents. */
static PairTile pairs_of(const ExactHead *head, const Tile *tile, real *scores, const TileDecay *decay)
{
    return (PairTile){.scores = scores,
                      .rows = tile->rows,
                      .columns = tile->columns,
                      .offset = tile->offset,
                      .decay = decay,
                      .starts = head->starts ? head->starts + tile->first_row : NULL,
                      .key_position = head->key_position + tile->first_column};
}

/* The decays of a tile; `early_part` holds EXACT_TILE_COLUMNS numbers. NULL without gates. */
static const TileDecay *fill_decay(TileDecay *decay, real *early_part, const PairWeight *weight, const ExactHead *head,
                                   const Tile *tile)
{
    if (!head->q_gates) return NULL;
    const double *q = head->q_gates + tile->first_row, *k = head->k_gates + tile->first_column;
    *decay = (TileDecay){q, k, visible_columns(0, tile->columns, tile->offset), early_part};
    for (size_t j = 0; j < decay->early; j++) early_part[j] = (real)(q[0] - k[j]);
    if (weight->degree == 0) return decay;
#pragma omp simd
    for (size_t j = 0; j < decay->early; j++) early_part[j] = vector_exp(early_part[j]);
    return decay;
}

/* rows (count, width) = factor times the rows of x from `first` on */
static void gather(real *rows, ConstMatrix x, size_t first, size_t count, real factor)
{
    size_t width = x.columns;
    for (size_t i = 0; i < count; i++) {
        const real *from = const_matrix_row(x, first + i);
#pragma omp simd
        for (size_t c = 0; c < width; c++) rows[i * width + c] = factor * from[c];
    }
}

/* The rows of x from `first` on += factor rows (count, width) */
static void scatter_add(Matrix x, size_t first, const real *rows, size_t count, real factor)
{
    size_t width = x.columns;
    for (size_t i = 0; i < count; i++) {
        real *to = matrix_row(x, first + i);
#pragma omp simd
        for (size_t c = 0; c < width; c++) to[c] += factor * rows[i * width + c];
    }
}

static void rescale(real *out, const real *factors, size_t rows, size_t width)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t c = 0; c < width; c++) out[i * width + c] *= factors[i];
}

/* ---- forward -------------------------------------------------------------------------------------------------------- */

typedef struct ForwardBuffers {
    real *scores, *factors;
    real *q, *result; /* of a strip of rows: scale q (rows, width); (rows, h) */
    real *k_columns;  /* of a tile of columns: (width, columns) */
    real *v;          /* (columns, h) */
    real *decays;
} ForwardBuffers;

static ForwardBuffers forward_buffers(real *scratch, size_t width, size_t h)
{
    ForwardBuffers b = {.scores = scratch, .q = scratch + TILE};
    b.result = b.q + EXACT_STRIP_ROWS * width;
    b.k_columns = b.result + EXACT_STRIP_ROWS * h;
    b.v = b.k_columns + TRANSPOSED * width;
    b.factors = b.v + EXACT_TILE_COLUMNS * h;
    b.decays = b.factors + EXACT_TILE_ROWS;
    return b;
}

/* One tile of a strip that starts at `strip`. */
static void tile_forward(const PairWeight *weight, const ExactHead *head, const Tile *tile, size_t strip,
                         const ForwardBuffers *b, real *sums, real *maxima)
{
    size_t h = head->v.columns, width = head->q.columns, rows = tile->rows, columns = tile->columns;
    size_t row = tile->first_row;
    real *result = b->result + (row - strip) * h;
    TileDecay decay;
    PairTile pairs = pairs_of(head, tile, b->scores, fill_decay(&decay, b->decays, weight, head, tile));
    small_gemm_nn(b->scores, columns, b->q + (row - strip) * width, width, b->k_columns, TRANSPOSED, rows, columns,
                  width, OVERWRITE);
    weight->forward(weight, &pairs, sums + row, maxima ? maxima + row : NULL, b->factors);
    if (maxima) rescale(result, b->factors, rows, h);
    small_gemm_nn(result, h, b->scores, columns, b->v, h, rows, h, columns, ADD);
}

void exact_forward(const PairWeight *weight, const ExactHead *head, Matrix out, real *sums, real *maxima, real *scratch)
{
    size_t h = head->v.columns, width = head->q.columns;
    ForwardBuffers b = forward_buffers(scratch, width, h);
    for (size_t strip = 0; strip < head->q.rows; strip += EXACT_STRIP_ROWS) {
        size_t rows = smaller(head->q.rows - strip, EXACT_STRIP_ROWS);
        Tile whole, tile;
        gather(b.q, head->q, strip, rows, weight->scale);
        gather(b.result, matrix_const(out), strip, rows, 1);
        for (size_t column = first_seen_tile(head, strip);
             column < head->k.rows && tile_at(head, strip, rows, column, &whole); column += EXACT_TILE_COLUMNS) {
            transpose(b.k_columns, TRANSPOSED, const_matrix_row(head->k, column), head->k.stride, whole.columns, width);
            gather(b.v, head->v, column, whole.columns, 1);
            for (size_t row = strip; row < strip + rows; row += EXACT_TILE_ROWS)
                if (tile_at(head, row, EXACT_TILE_ROWS, column, &tile))
                    tile_forward(weight, head, &tile, strip, &b, sums, maxima);
        }
        for (size_t i = 0; i < rows; i++) memcpy(matrix_row(out, strip + i), b.result + i * h, h * sizeof *b.result);
    }
}

/* ---- backward ------------------------------------------------------------------------------------------------------- */

typedef struct BackwardBuffers {
    real *scores, *d_scores;
    real *q, *d_q, *d_out;       /* of a strip of rows: scale q (rows, width); (rows, width); (rows, h) */
    real *k_columns, *v_columns; /* of a tile of columns: (width, columns); (h, columns) */
    real *k, *d_k, *d_v;         /* (columns, width), (columns, width), (columns, h) */
    real *decays, *key_sums;     /* (columns) */
} BackwardBuffers;

static BackwardBuffers backward_buffers(real *scratch, size_t width, size_t h)
{
    BackwardBuffers b = {.scores = scratch, .d_scores = scratch + TILE, .q = scratch + 2 * TILE};
    b.d_q = b.q + EXACT_STRIP_ROWS * width;
    b.d_out = b.d_q + EXACT_STRIP_ROWS * width;
    b.k_columns = b.d_out + EXACT_STRIP_ROWS * h;
    b.v_columns = b.k_columns + TRANSPOSED * width;
    b.k = b.v_columns + TRANSPOSED * h;
    b.d_k = b.k + EXACT_TILE_COLUMNS * width;
    b.d_v = b.d_k + EXACT_TILE_COLUMNS * width;
    b.decays = b.d_v + EXACT_TILE_COLUMNS * h;
    b.key_sums = b.decays + EXACT_TILE_COLUMNS;
    return b;
}

/* One tile of a strip that starts at `strip`; normaliser is that of the head's first row. */
static void tile_backward(const PairWeight *weight, const ExactHead *head, const Tile *tile, size_t strip,
                          const BackwardBuffers *b, const real *normaliser, const ExactGradients *gradients)
{
    size_t h = head->v.columns, width = head->q.columns, rows = tile->rows, columns = tile->columns;
    size_t row = tile->first_row, in_strip = row - strip;
    real *key_sums = gradients->key_sums ? b->key_sums : NULL;
    TileDecay decay;
    PairTile pairs = pairs_of(head, tile, b->scores, fill_decay(&decay, b->decays, weight, head, tile));
    const real *q = b->q + in_strip * width, *d_out = b->d_out + in_strip * h;
    small_gemm_nn(b->scores, columns, q, width, b->k_columns, TRANSPOSED, rows, columns, width, OVERWRITE);
    small_gemm_nn(b->d_scores, columns, d_out, h, b->v_columns, TRANSPOSED, rows, columns, h, OVERWRITE);
    weight->backward(weight, &pairs, b->d_scores, normaliser + row, gradients->delta + row, key_sums);
    /* out = weights v */
    small_gemm_tn(b->d_v, h, b->scores, columns, d_out, h, columns, h, rows, ADD);
    /* scores = (scale q) k^T; d_q is scaled when the strip is complete */
    small_gemm_nn(b->d_q + in_strip * width, width, b->d_scores, columns, b->k, width, rows, width, columns, ADD);
    small_gemm_tn(b->d_k, width, b->d_scores, columns, q, width, columns, width, rows, ADD);
}

/* What one strip adds to the gradients of a tile of keys, for the moment on its own. */
static void clear_key_gradients(const BackwardBuffers *b, size_t columns, size_t width, size_t h)
{
    memset(b->d_k, 0, columns * width * sizeof *b->d_k);
    memset(b->d_v, 0, columns * h * sizeof *b->d_v);
    memset(b->key_sums, 0, columns * sizeof *b->key_sums);
}

static void finish_keys(const ExactTurn *turn, size_t keys)
{
    if (turn) atomic_store_explicit(turn->own, keys, memory_order_release);
}

/* The strip before is under way on another thread, which may have to get the core first. */
static void await_turn(const ExactTurn *turn, size_t column)
{
    while (turn && turn->before && atomic_load_explicit(turn->before, memory_order_acquire) <= column) sched_yield();
}

static void add_key_gradients(const ExactGradients *gradients, const BackwardBuffers *b, size_t column, size_t columns)
{
    await_turn(gradients->turn, column);
    scatter_add(gradients->d_k, column, b->d_k, columns, 1);
    scatter_add(gradients->d_v, column, b->d_v, columns, 1);
    for (size_t j = 0; gradients->key_sums && j < columns; j++) gradients->key_sums[column + j] += b->key_sums[j];
    finish_keys(gradients->turn, column + EXACT_TILE_COLUMNS);
}

void exact_backward(const PairWeight *weight, const ExactHead *head, const real *normaliser,
                    const ExactGradients *gradients, real *scratch)
{
    size_t h = head->v.columns, width = head->q.columns;
    BackwardBuffers b = backward_buffers(scratch, width, h);
    for (size_t strip = 0; strip < head->q.rows; strip += EXACT_STRIP_ROWS) {
        size_t rows = smaller(head->q.rows - strip, EXACT_STRIP_ROWS);
        Tile whole, tile;
        finish_keys(gradients->turn,
                    first_seen_tile(head, strip)); /* hidden from this strip, and from those behind it */
        gather(b.q, head->q, strip, rows, weight->scale);
        gather(b.d_out, gradients->d_out, strip, rows, 1);
        memset(b.d_q, 0, rows * width * sizeof *b.d_q);
        for (size_t column = first_seen_tile(head, strip);
             column < head->k.rows && tile_at(head, strip, rows, column, &whole); column += EXACT_TILE_COLUMNS) {
            gather(b.k, head->k, column, whole.columns, 1);
            transpose(b.k_columns, TRANSPOSED, b.k, width, whole.columns, width);
            transpose(b.v_columns, TRANSPOSED, const_matrix_row(head->v, column), head->v.stride, whole.columns, h);
            clear_key_gradients(&b, whole.columns, width, h);
            for (size_t row = strip; row < strip + rows; row += EXACT_TILE_ROWS)
                if (tile_at(head, row, EXACT_TILE_ROWS, column, &tile))
                    tile_backward(weight, head, &tile, strip, &b, normaliser, gradients);
            add_key_gradients(gradients, &b, column, whole.columns);
        }
        finish_keys(gradients->turn, SIZE_MAX);
        scatter_add(gradients->d_q, strip, b.d_q, rows, weight->scale);
    }
}

void exact_delta(real *delta, ConstMatrix d_out, ConstMatrix out)
{
    size_t h = out.columns;
    for (size_t i = 0; i < out.rows; i++) {
        const real *d = const_matrix_row(d_out, i), *o = const_matrix_row(out, i);
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t c = 0; c < h; c++) sum += d[c] * o[c];
        delta[i] = sum;
    }
}
