/* Row-major matrix products by name. The only door to BLAS.

   c, a and b have leading dimensions (numbers from one row to the next), so a head's columns of a (N, 3C) matrix are
   multiplied where they lie. The arguments of products stand in the order everybody knows from BLAS, rather than in a
   Matrix (matrix.h). Inside an OpenMP parallel region a product runs on the calling thread alone; outside it
   uses all threads of the process. */
#ifndef POLYSKETCH_TENSOR_BLAS_H
#define POLYSKETCH_TENSOR_BLAS_H

#include <stddef.h>

#include "src/base/real.h"

/* c (m, n) = alpha a (m, k) b (k, n) + beta c */
void gemm_nn(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n, size_t k,
             real alpha, real beta);
/* c (m, n) = alpha a (m, k) b (n, k)^T + beta c */
void gemm_nt(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n, size_t k,
             real alpha, real beta);
/* c (m, n) = alpha a (k, m)^T b (k, n) + beta c */
void gemm_tn(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n, size_t k,
             real alpha, real beta);

/* c (m, m) = a (m, k) a^T, symmetric: half the work of a product. All are dense, without gaps between rows. */
void gram(real *c, const real *a, size_t m, size_t k);

/* y (rows) = w (rows, columns) x */
void matvec(real *y, const real *w, const real *x, size_t rows, size_t columns);

/* y (tokens, out) = x (tokens, in) w (out, in)^T, the dense layer without bias. */
void dense_forward(real *y, const real *x, const real *w, size_t tokens, size_t out, size_t in);
/* d_x = d_y w (skipped when d_x is NULL);  d_w += d_y^T x */
void dense_backward(real *d_x, real *d_w, const real *d_y, const real *x, const real *w, size_t tokens, size_t out,
                    size_t in);

/* For logs and benchmarks, both one word: the library ("OpenBLAS", "BLIS", "MKL"), and the processor type whose kernels run. */
const char *blas_library_name(void);
const char *blas_kernel_name(void);

/* The same with version and threads: "OpenBLAS 0.3.21, kernel SkylakeX, 2 threads". */
enum { BLAS_DESCRIPTION_SIZE = 192 };
void blas_describe(char text[BLAS_DESCRIPTION_SIZE]);

/* The threads of products outside of parallel regions, where the library does not follow those of OpenMP by itself. Call it
   once, before the first product. */
void blas_set_threads(int threads);

#endif
