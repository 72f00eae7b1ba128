/* Products of matrices that already lie in cache, on the calling thread: the tiles, panels and chunks of attention.

   A library brings its operands into a form of its own before it multiplies, which for such sizes takes up to a
   fifth of the time. Here nothing is copied: rows of b are read as vectors, numbers of a one by one, so b must not be
   transposed; transpose() it once where it serves many products. Rows need not be aligned; c must not overlap a or b;
   m, n, k >= 1. The arguments are those of BLAS, in the order everybody knows, rather than Matrix.

   Measured over the shapes of attention with heads of 64, one thread of a Zen 4 (results/kernels; `make bench-kernels`
   repeats it): OpenBLAS 0.3.21 takes 0.85 to 1.03 of our rate with AVX-512 and 0.83 to 0.97 with AVX2; LIBXSMM 1.17, which
   makes code for each shape while it runs, 0.98 to 1.03 and 0.97 to 1.05. Of heads of 16
   LIBXSMM takes 1.12 (AVX-512) and 1.15 (AVX2) for scores, 1.00 to 1.01 and 0.75 to 0.78 for the other two. */
#ifndef POLYSKETCH_TENSOR_SMALL_GEMM_H
#define POLYSKETCH_TENSOR_SMALL_GEMM_H

#include <stddef.h>

#include "src/base/real.h"
#include "src/tensor/matrix.h"

typedef enum Store { OVERWRITE, ADD } Store;

/* c (m, n) = or += a (m, k) b (k, n) */
void small_gemm_nn(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n,
                   size_t k, Store store);
/* c (m, n) = or += a (k, m)^T b (k, n) */
void small_gemm_tn(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n,
                   size_t k, Store store);

/* The rows of x, one behind the other. */
void gather_rows(real *rows, ConstMatrix x);
/* t (columns, rows) = x (rows, columns)^T */
void transpose(real *t, size_t ldt, const real *x, size_t ldx, size_t rows, size_t columns);

#endif
