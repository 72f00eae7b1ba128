/* A matrix in somebody else's memory: what belongs together in an argument list. Row i starts at `at + i * stride`, so
   the columns of one head are a matrix where they lie, among those of all heads. Passed by value. */
#ifndef POLYSKETCH_TENSOR_MATRIX_H
#define POLYSKETCH_TENSOR_MATRIX_H

#include <stddef.h>

#include "src/base/error.h"
#include "src/base/real.h"

typedef struct Matrix {
    real *at;
    size_t rows, columns, stride;
} Matrix;

typedef struct ConstMatrix {
    const real *at;
    size_t rows, columns, stride;
} ConstMatrix;

/* Without gaps between rows. */
static inline Matrix matrix_dense(real *at, size_t rows, size_t columns)
{
    return (Matrix){at, rows, columns, columns};
}

static inline ConstMatrix const_matrix_dense(const real *at, size_t rows, size_t columns)
{
    return (ConstMatrix){at, rows, columns, columns};
}

static inline ConstMatrix matrix_const(Matrix x) { return (ConstMatrix){x.at, x.rows, x.columns, x.stride}; }

static inline real *matrix_row(Matrix x, size_t row) { return x.at + row * x.stride; }
static inline const real *const_matrix_row(ConstMatrix x, size_t row) { return x.at + row * x.stride; }

/* `rows` rows from `row` on, and of them `columns` columns from `column` on. */
static inline Matrix matrix_part(Matrix x, size_t row, size_t rows, size_t column, size_t columns)
{
    ASSERT(row + rows <= x.rows && column + columns <= x.columns);
    return (Matrix){matrix_row(x, row) + column, rows, columns, x.stride};
}

static inline ConstMatrix const_matrix_part(ConstMatrix x, size_t row, size_t rows, size_t column, size_t columns)
{
    ASSERT(row + rows <= x.rows && column + columns <= x.columns);
    return (ConstMatrix){const_matrix_row(x, row) + column, rows, columns, x.stride};
}

static inline Matrix matrix_rows(Matrix x, size_t first, size_t count)
{
    return matrix_part(x, first, count, 0, x.columns);
}

static inline ConstMatrix const_matrix_rows(ConstMatrix x, size_t first, size_t count)
{
    return const_matrix_part(x, first, count, 0, x.columns);
}

static inline Matrix matrix_columns(Matrix x, size_t first, size_t count)
{
    return matrix_part(x, 0, x.rows, first, count);
}

static inline ConstMatrix const_matrix_columns(ConstMatrix x, size_t first, size_t count)
{
    return const_matrix_part(x, 0, x.rows, first, count);
}

#endif
