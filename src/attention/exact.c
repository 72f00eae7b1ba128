#include "src/attention/exact.h"

#include <string.h>

#include "src/tensor/blas.h"

size_t exact_forward_scratch(void) { return EXACT_TILE_ROWS * EXACT_TILE_COLUMNS + EXACT_TILE_ROWS; }
size_t exact_backward_scratch(void) { return 2 * EXACT_TILE_ROWS * EXACT_TILE_COLUMNS; }

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

static void tile_scores(real *scores, const PairWeight *weight, const ExactHead *head, const Tile *tile)
{
    gemm_nt(scores, tile->columns, row_of(head->q, tile->first_row), head->q.stride,
            row_of(head->k, tile->first_column), head->k.stride, tile->rows, tile->columns, head->width, weight->scale,
            0);
}

void exact_forward(const PairWeight *weight, const ExactHead *head, HeadGradient out, real *sums, real *maxima,
                   real *scratch)
{
    real *scores = scratch, *factors = scratch + EXACT_TILE_ROWS * EXACT_TILE_COLUMNS;
    Tile tile;
    for (size_t row = 0; row < head->queries; row += EXACT_TILE_ROWS)
        for (size_t column = 0; column < head->keys && tile_at(head, row, column, &tile);
             column += EXACT_TILE_COLUMNS) {
            tile_scores(scores, weight, head, &tile);
            weight->forward(weight, scores, tile.rows, tile.columns, tile.offset, sums + row,
                            maxima ? maxima + row : NULL, factors);
            if (maxima)
                for (size_t i = 0; i < tile.rows; i++)
                    for (size_t c = 0; c < head->value_width; c++) row_of_gradient(out, row + i)[c] *= factors[i];
            gemm_nn(row_of_gradient(out, row), out.stride, scores, tile.columns, row_of(head->v, column),
                    head->v.stride, tile.rows, head->value_width, tile.columns, 1, 1);
        }
}

void exact_backward(const PairWeight *weight, const ExactHead *head, HeadRows d_out, const real *normaliser,
                    const real *delta, HeadGradient d_q, HeadGradient d_k, HeadGradient d_v, real *scratch)
{
    real *scores = scratch, *d_scores = scratch + EXACT_TILE_ROWS * EXACT_TILE_COLUMNS;
    Tile tile;
    for (size_t row = 0; row < head->queries; row += EXACT_TILE_ROWS)
        for (size_t column = 0; column < head->keys && tile_at(head, row, column, &tile);
             column += EXACT_TILE_COLUMNS) {
            size_t rows = tile.rows, columns = tile.columns;
            tile_scores(scores, weight, head, &tile);
            gemm_nt(d_scores, columns, row_of(d_out, row), d_out.stride, row_of(head->v, column), head->v.stride, rows,
                    columns, head->value_width, 1, 0);
            weight->backward(weight, scores, d_scores, rows, columns, tile.offset, normaliser + row, delta + row);
            /* out = weights v */
            gemm_tn(row_of_gradient(d_v, column), d_v.stride, scores, columns, row_of(d_out, row), d_out.stride,
                    columns, head->value_width, rows, 1, 1);
            /* scores = scale q k^T */
            gemm_nn(row_of_gradient(d_q, row), d_q.stride, d_scores, columns, row_of(head->k, column), head->k.stride,
                    rows, head->width, columns, weight->scale, 1);
            gemm_tn(row_of_gradient(d_k, column), d_k.stride, d_scores, columns, row_of(head->q, row), head->q.stride,
                    columns, head->width, rows, weight->scale, 1);
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
