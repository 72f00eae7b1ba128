/* The order of the products: diagonal by diagonal of the matrix u u^T, the columns going round. Diagonal d holds u_a
   u_(a+d mod r) for all a, so every inner loop has the same length and contiguous operands. Diagonals d and r - d are the
   same products; 1 .. (r-1)/2 stand for both. For even r half of the middle one completes the r(r+1)/2.

   Shifted reads come from memory that holds a vector twice. A processor stalls when it reads across numbers it has just
   written, so a batch of rows is doubled first and used afterwards. Nothing overlaps (`restrict`): d_u stays in registers. */
#include "src/attention/packed_features.h"

#include <string.h>

#include "src/tensor/constant_width.h"

enum { BATCH = 8 };

static const real SQRT_2 = (real)1.4142135623730950488016887242097;

static size_t whole_diagonals(size_t r) { return (r - 1) / 2; }

/* Doubled rows of a batch, and doubled diagonals of one row. */
size_t packed_features_scratch(size_t r) { return 2 * r * (BATCH + 1 + r / 2); }

/* In line, where r is a constant: copies of so few numbers are no calls. */
static inline __attribute__((always_inline)) void double_rows(real *doubled, ConstMatrix u, size_t r)
{
    for (size_t i = 0; i < u.rows; i++) {
        memcpy(doubled + i * 2 * r, const_matrix_row(u, i), r * sizeof *doubled);
        memcpy(doubled + i * 2 * r + r, const_matrix_row(u, i), r * sizeof *doubled);
    }
}

static inline __attribute__((always_inline)) void expand_vector(real *restrict phi, const real *restrict twice,
                                                                size_t r)
{
#pragma omp simd
    for (size_t a = 0; a < r; a++) phi[a] = twice[a] * twice[a];
    for (size_t d = 1; d <= whole_diagonals(r); d++) {
#pragma omp simd
        for (size_t a = 0; a < r; a++) phi[d * r + a] = SQRT_2 * twice[a] * twice[a + d];
    }
    if (r % 2) return;
    phi += r / 2 * r;
#pragma omp simd
    for (size_t a = 0; a < r / 2; a++) phi[a] = SQRT_2 * twice[a] * twice[a + r / 2];
}

/* The product of places a and a + d passes its gradient to both: to the first in place, to the second by way of `shifted`
   (diagonals, 2r), from which it is read d places earlier. */
static inline __attribute__((always_inline)) void contract_vector(real *restrict d_u, const real *restrict d_phi,
                                                                  const real *restrict twice, real *restrict shifted,
                                                                  size_t r)
{
#pragma omp simd
    for (size_t a = 0; a < r; a++) d_u[a] += 2 * d_phi[a] * twice[a];
    for (size_t d = 1; d <= whole_diagonals(r); d++) {
        const real *from = d_phi + d * r;
        real *to = shifted + (d - 1) * 2 * r;
#pragma omp simd
        for (size_t a = 0; a < r; a++) {
            real product = SQRT_2 * from[a];
            d_u[a] += product * twice[a + d];
            to[a] = to[a + r] = product * twice[a];
        }
    }
    for (size_t d = 1; d <= whole_diagonals(r); d++) {
        const real *from = shifted + (d - 1) * 2 * r + r - d;
#pragma omp simd
        for (size_t a = 0; a < r; a++) d_u[a] += from[a];
    }
    if (r % 2) return;
    d_phi += r / 2 * r;
#pragma omp simd
    for (size_t a = 0; a < r / 2; a++) {
        d_u[a] += SQRT_2 * d_phi[a] * twice[a + r / 2];
        d_u[a + r / 2] += SQRT_2 * d_phi[a] * twice[a];
    }
}

static inline __attribute__((always_inline)) void expand_batch(real *phi, ConstMatrix u, real *doubled, size_t r)
{
    double_rows(doubled, u, r);
    for (size_t i = 0; i < u.rows; i++) expand_vector(phi + i * packed_feature_count(r), doubled + i * 2 * r, r);
}

static inline __attribute__((always_inline)) void contract_batch(Matrix d_u, const real *d_phi, ConstMatrix u,
                                                                 real *doubled, size_t r)
{
    real *shifted = doubled + BATCH * 2 * r;
    double_rows(doubled, u, r);
    for (size_t i = 0; i < d_u.rows; i++)
        contract_vector(matrix_row(d_u, i), d_phi + i * packed_feature_count(r), doubled + i * 2 * r, shifted, r);
}

void packed_features_expand(real *phi, ConstMatrix u, real *scratch)
{
    for (size_t first = 0; first < u.rows; first += BATCH) {
        size_t count = u.rows - first < BATCH ? u.rows - first : BATCH;
        ConstMatrix batch = const_matrix_rows(u, first, count);
#define EXPAND(width) expand_batch(phi + first * packed_feature_count(width), batch, scratch, width)
        WITH_CONSTANT_WIDTH(u.columns, EXPAND)
    }
}

void packed_features_contract(Matrix d_u, const real *d_phi, ConstMatrix u, real *scratch)
{
    for (size_t first = 0; first < u.rows; first += BATCH) {
        size_t count = u.rows - first < BATCH ? u.rows - first : BATCH;
        Matrix d_batch = matrix_rows(d_u, first, count);
        ConstMatrix batch = const_matrix_rows(u, first, count);
#define CONTRACT(width) contract_batch(d_batch, d_phi + first * packed_feature_count(width), batch, scratch, width)
        WITH_CONSTANT_WIDTH(u.columns, CONTRACT)
    }
}
