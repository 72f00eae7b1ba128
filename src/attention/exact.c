#include "src/attention/exact.h"

#include <string.h>

#include "src/tensor/blas.h"

enum { TILE = EXACT_TILE_ROWS * EXACT_TILE_COLUMNS };

size_t exact_forward_scratch(size_t width, size_t value_width)
{
    return TILE + EXACT_TILE_ROWS * (1 + width + value_width);
}

size_t exact_backward_scratch(size_t width, size_t value_width)
{
    return 2 * TILE + EXACT_TILE_ROWS * 2 * (width + value_width);
}

typedef struct Tile {
    size_t first_row, rows, first_column, columns;
    ptrdiff_t offset; /* row i of the tile sees column j of the tile when j <= i + offset */
} Tile;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* The tile at (row, column), its columns cut to those that some row sees; false when it is empty. */
static int tile_at(const ExactHead *head, size_t first_row, size_t first_column, Tile *tile)
{
    tile->first_row = first_row;
    tile->rows = smaller(head->queries - first_row, EXACT_TILE_ROWS);
    tile->first_column = first_column;
    tile->offset = (ptrdiff_t)first_row + head->offset - (ptrdiff_t)first_column;
    tile->columns =
        visible_columns(tile->rows - 1, smaller(head->keys - first_column, EXACT_TILE_COLUMNS), tile->offset);
    return tile->columns > 0;
}

static const real *row_of(HeadRows x, size_t row) { return x.rows + row * x.stride; }
static real *row_of_gradient(HeadGradient x, size_t row) { return x.rows + row * x.stride; }

static void gather(real *rows, HeadRows x, size_t first, size_t count, size_t width)
{
    for (size_t i = 0; i < count; i++) memcpy(rows + i * width, row_of(x, first + i), width * sizeof *rows);
}

static void scatter(HeadGradient x, size_t first, const real *rows, size_t count, size_t width)
{
    for (size_t i = 0; i < count; i++) memcpy(row_of_gradient(x, first + i), rows + i * width, width * sizeof *rows);
}

/* scores (rows, columns) = scale q k^T; q (rows, width) gathered */
static void tile_scores(real *scores, const PairWeight *weight, const ExactHead *head, const real *q, const Tile *tile)
{
    gemm_nt(scores, tile->columns, q, head->width, row_of(head->k, tile->first_column), head->k.stride, tile->rows,
            tile->columns, head->width, weight->scale, 0);
}

static void rescale(real *out, const real *factors, size_t rows, size_t width)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t c = 0; c < width; c++) out[i * width + c] *= factors[i];
}

void exact_forward(const PairWeight *weight, const ExactHead *head, HeadGradient out, real *sums, real *maxima,
                   real *scratch)
{
    size_t h = head->value_width;
    real *scores = scratch, *factors = scores + TILE, *q = factors + EXACT_TILE_ROWS;
    real *result = q + EXACT_TILE_ROWS * head->width; /* (rows, h) */
    for (size_t row = 0; row < head->queries; row += EXACT_TILE_ROWS) {
        size_t rows = smaller(head->queries - row, EXACT_TILE_ROWS);
        Tile tile;
        gather(q, head->q, row, rows, head->width);
        gather(result, (HeadRows){out.rows, out.stride}, row, rows, h);
        for (size_t column = 0; column < head->keys && tile_at(head, row, column, &tile);
             column += EXACT_TILE_COLUMNS) {
            tile_scores(scores, weight, head, q, &tile);
            weight->forward(weight, scores, rows, tile.columns, tile.offset, sums + row, maxima ? maxima + row : NULL,
                            factors);
            if (maxima) rescale(result, factors, rows, h);
            gemm_nn(result, h, scores, tile.columns, row_of(head->v, column), head->v.stride, rows, h, tile.columns, 1,
                    1);
        }
        scatter(out, row, result, rows, h);
    }
}

/* One tile: q, d_out, d_q are gathered rows. */
static void tile_backward(const PairWeight *weight, const ExactHead *head, const Tile *tile, const real *q,
                          const real *d_out, const real *normaliser, const real *delta, real *d_q, HeadGradient d_k,
                          HeadGradient d_v, real *scores, real *d_scores)
{
    size_t rows = tile->rows, columns = tile->columns, column = tile->first_column, h = head->value_width;
    tile_scores(scores, weight, head, q, tile);
    gemm_nt(d_scores, columns, d_out, h, row_of(head->v, column), head->v.stride, rows, columns, h, 1, 0);
    weight->backward(weight, scores, d_scores, rows, columns, tile->offset, normaliser, delta);
    /* out = weights v */
    gemm_tn(row_of_gradient(d_v, column), d_v.stride, scores, columns, d_out, h, columns, h, rows, 1, 1);
    /* scores = scale q k^T */
    gemm_nn(d_q, head->width, d_scores, columns, row_of(head->k, column), head->k.stride, rows, head->width, columns,
            weight->scale, 1);
    gemm_tn(row_of_gradient(d_k, column), d_k.stride, d_scores, columns, q, head->width, columns, head->width, rows,
            weight->scale, 1);
}

void exact_backward(const PairWeight *weight, const ExactHead *head, HeadRows d_out, const real *normaliser,
                    const real *delta, HeadGradient d_q, HeadGradient d_k, HeadGradient d_v, real *scratch)
{
    size_t h = head->value_width, width = head->width;
    real *scores = scratch, *d_scores = scores + TILE, *q = d_scores + TILE;
    real *d_q_rows = q + EXACT_TILE_ROWS * width, *d_out_rows = d_q_rows + EXACT_TILE_ROWS * width;
    for (size_t row = 0; row < head->queries; row += EXACT_TILE_ROWS) {
        size_t rows = smaller(head->queries - row, EXACT_TILE_ROWS);
        Tile tile;
        gather(q, head->q, row, rows, width);
        gather(d_q_rows, (HeadRows){d_q.rows, d_q.stride}, row, rows, width);
        gather(d_out_rows, d_out, row, rows, h);
        for (size_t column = 0; column < head->keys && tile_at(head, row, column, &tile); column += EXACT_TILE_COLUMNS)
            tile_backward(weight, head, &tile, q, d_out_rows, normaliser + row, delta + row, d_q_rows, d_k, d_v, scores,
                          d_scores);
        scatter(d_q, row, d_q_rows, rows, width);
    }
}

void exact_delta(real *delta, HeadRows d_out, HeadRows out, size_t queries, size_t value_width)
{
    for (size_t i = 0; i < queries; i++) {
        const real *d = row_of(d_out, i), *o = row_of(out, i);
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t c = 0; c < value_width; c++) sum += d[c] * o[c];
        delta[i] = sum;
    }
}
