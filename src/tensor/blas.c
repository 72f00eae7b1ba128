#include "src/tensor/blas.h"

#ifdef BLAS_IS_mkl
#include <mkl_cblas.h>
#else
#include <cblas.h>
#endif

#ifdef REAL_DOUBLE
#define GEMM cblas_dgemm
#define GEMV cblas_dgemv
#define SYRK cblas_dsyrk
#else
#define GEMM cblas_sgemm
#define GEMV cblas_sgemv
#define SYRK cblas_ssyrk
#endif

void gemm_nn(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n, size_t k,
             real alpha, real beta)
{
    GEMM(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c,
         (int)ldc);
}

void gemm_nt(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n, size_t k,
             real alpha, real beta)
{
    GEMM(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c,
         (int)ldc);
}

void gemm_tn(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n, size_t k,
             real alpha, real beta)
{
    GEMM(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c,
         (int)ldc);
}

void gram(real *c, const real *a, size_t m, size_t k)
{
    SYRK(CblasRowMajor, CblasLower, CblasNoTrans, (int)m, (int)k, 1, a, (int)k, 0, c, (int)m);
    enum { BLOCK = 32 }; /* a column of single numbers would touch a page for each */
#pragma omp parallel for schedule(dynamic)
    for (size_t top = 0; top < m; top += BLOCK)
        for (size_t left = top; left < m; left += BLOCK)
            for (size_t i = top; i < m && i < top + BLOCK; i++)
                for (size_t j = left > i ? left : i + 1; j < m && j < left + BLOCK; j++) c[i * m + j] = c[j * m + i];
}

void matvec(real *y, const real *w, const real *x, size_t rows, size_t columns)
{
    GEMV(CblasRowMajor, CblasNoTrans, (int)rows, (int)columns, 1, w, (int)columns, x, 1, 0, y, 1);
}

void dense_forward(real *y, const real *x, const real *w, size_t tokens, size_t out, size_t in)
{
    gemm_nt(y, out, x, in, w, in, tokens, out, in, 1, 0);
}

void dense_backward(real *d_x, real *d_w, const real *d_y, const real *x, const real *w, size_t tokens, size_t out,
                    size_t in)
{
    if (d_x) gemm_nn(d_x, in, d_y, out, w, in, tokens, in, out, 1, 0);
    gemm_tn(d_w, in, d_y, out, x, in, out, in, tokens, 1, 1);
}
