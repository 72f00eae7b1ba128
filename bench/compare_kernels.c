/* The small products of attention by our kernel, by the BLAS library and by LIBXSMM, and our exponential beside that of the
   vector library (libmvec, or SLEEF when libsleefgnuabi.so is preloaded). One thread, operands in cache. CSV to standard
   output; `make bench-kernels` builds and runs it, results/kernels/README.md says how to read it.

   The kinds are run in turn, each round with another one first, on the clock of this thread's processor time. Rates are medians
   over rounds, and so is the ratio to ours of the same round. What the kinds of product compute is compared first. */
#include <libxsmm.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/base/error.h"
#include "src/tensor/blas.h"
#include "src/tensor/small_gemm.h"
#include "src/tensor/vector_math.h"

#pragma omp declare simd notinbranch
float expf(float);

enum { ROUNDS = 21, NUMBERS = 1 << 18, ELEMENTS = 4096, KINDS = 3 };

/* c (m, n) = or += a b, a (m, k) or for tn (k, m), with the distances of rows that the callers have. */
typedef struct Shape {
    const char *use;
    bool tn, adds;
    int m, n, k, lda, ldb, ldc;
} Shape;

static const Shape shapes[] = {
    {"scores of a tile", false, false, 64, 256, 64, 64, 272, 256},
    {"weights times values; d_q", false, true, 64, 64, 256, 256, 64, 64},
    {"d_k and d_v", true, true, 256, 64, 64, 256, 64, 64},
    {"state read; r = 32", false, false, 128, 64, 528, 528, 64, 64},
    {"state sum; r = 32", true, true, 528, 64, 128, 528, 64, 64},
    {"d_phi; r = 32", false, true, 128, 528, 64, 64, 528, 528},
    {"state read; r = 16", false, false, 256, 64, 136, 136, 64, 64},
    {"state sum; r = 16", true, false, 136, 64, 128, 136, 64, 64},
    {"d_phi; r = 16", false, true, 128, 136, 64, 64, 136, 136},
    {"learned sketch: level 1 in", false, false, 96, 256, 64, 64, 272, 272},
    {"learned sketch: level 2 in", false, false, 96, 256, 32, 32, 272, 272},
    {"learned sketch: out", false, false, 96, 32, 256, 272, 32, 32},
    {"learned sketch: d_normed", false, false, 96, 64, 256, 272, 64, 64},
    {"learned sketch: d_out_weight", true, true, 32, 256, 96, 32, 272, 256},
    {"learned sketch: d_in_weight", true, true, 256, 64, 96, 272, 64, 64},
    {"random sketch: u", false, false, 252, 32, 64, 64, 32, 32},
    {"random sketch: d_x", false, true, 252, 64, 32, 32, 64, 64},
    {"scores of a tile; h = 16", false, false, 64, 256, 16, 16, 272, 256},
    {"weights times values; h = 16", false, true, 64, 16, 256, 256, 16, 16},
    {"state read; h = r = 16", false, false, 128, 16, 136, 136, 16, 16},
};
/* One way to do the work of a row; the first is ours. */
typedef void Run(const Shape *s, float *c, const float *a, const float *b);

#define SIZES (size_t) s->m, (size_t)s->n, (size_t)s->k
#define OPERANDS c, (size_t)s->ldc, a, (size_t)s->lda, b, (size_t)s->ldb, SIZES

static void run_ours(const Shape *s, float *c, const float *a, const float *b)
{
    (s->tn ? small_gemm_tn : small_gemm_nn)(OPERANDS, s->adds ? ADD : OVERWRITE);
}

static void run_blas(const Shape *s, float *c, const float *a, const float *b)
{
    (s->tn ? gemm_tn : gemm_nn)(OPERANDS, 1, s->adds);
}

static libxsmm_smmfunction xsmm; /* the library's code for the shape at hand */

/* LIBXSMM counts by columns: the factors change places. */
static void prepare_xsmm(const Shape *s)
{
    const float alpha = 1, beta = s->adds;
    const int flags = s->tn ? LIBXSMM_GEMM_FLAG_TRANS_B : LIBXSMM_GEMM_FLAG_NONE, prefetch = LIBXSMM_PREFETCH_NONE;
    xsmm = libxsmm_smmdispatch(s->n, s->m, s->k, &s->ldb, &s->lda, &s->ldc, &alpha, &beta, &flags, &prefetch);
    CHECK(xsmm, "LIBXSMM has no code for '%s' on this processor", s->use);
}

static void run_xsmm(const Shape *s, float *c, const float *a, const float *b) { (void)s, xsmm(b, a, c); }

#define LOOP(name, value)                                                                                              \
    static void name(const Shape *s, float *y, const float *x, const float *b)                                         \
    {                                                                                                                  \
        (void)s, (void)b;                                                                                              \
        _Pragma("omp simd") for (int i = 0; i < ELEMENTS; i++) y[i] = value;                                           \
    }
LOOP(run_own_exp, saturating_expf(x[i]))
LOOP(run_library_exp, expf(x[i]))
LOOP(run_library_tanh, tanhf(x[i]))

/* Ends the program where a library's product is not ours; numbers are at most 1/2. */
static void check_same(Run *const runs[KINDS], const Shape *s, const float *a, const float *b)
{
    static float expected[NUMBERS], c[NUMBERS];
    memset(expected, 0, sizeof expected);
    runs[0](s, expected, a, b);
    for (int kind = 1; kind < KINDS; kind++) {
        memset(c, 0, sizeof c);
        runs[kind](s, c, a, b);
        for (int i = 0; i < NUMBERS; i++)
            CHECK(fabsf(c[i] - expected[i]) <= 1e-6f * (float)s->k, "'%s': library %d has %g where our kernel has %g",
                  s->use, kind, c[i], expected[i]);
    }
}

static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int compare(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median(double values[ROUNDS])
{
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

/* The end of a CSV row: 1e9 operations a second of each kind, and the ratios to the first. */
static void measure(Run *const runs[KINDS], const Shape *shape, double operations)
{
    static float c[NUMBERS], a[NUMBERS], b[NUMBERS];
    double rates[KINDS][ROUNDS], ratios[KINDS][ROUNDS];
    int repeats = (int)((shape ? 1e8 : 1e6) / operations) + 1; /* about a millisecond */
    float width = shape ? 1 : 20;                              /* functions: of -10 to 10 */
    for (int i = 0; i < NUMBERS; i++) {
        a[i] = width * ((float)(i % 1009) / 1009 - 0.5f);
        b[i] = (float)(i % 1013) / 1013 - 0.5f;
    }
    if (shape) check_same(runs, shape, a, b);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < KINDS; i++) {
            int kind = (i + round) % KINDS;
            memset(c, 0, sizeof c); /* sums begin anew */
            runs[kind](shape, c, a, b);
            double start = processor_seconds();
            for (int repeat = 0; repeat < repeats; repeat++) runs[kind](shape, c, a, b);
            rates[kind][round] = 1e-9 * operations * repeats / (processor_seconds() - start);
        }
    for (int i = 0; i < KINDS * ROUNDS; i++)
        ratios[i / ROUNDS][i % ROUNDS] = rates[i / ROUNDS][i % ROUNDS] / rates[0][i % ROUNDS];
    for (int kind = 0; kind < KINDS; kind++) printf(",%.*f", shape ? 1 : 2, median(rates[kind]));
    printf(",%.2f,%.2f\n", median(ratios[1]), median(ratios[2]));
}

int main(void)
{
    Run *const products[KINDS] = {run_ours, run_blas, run_xsmm};
    Run *const functions[KINDS] = {run_own_exp, run_library_exp, run_library_tanh};
    printf("use,form,m,n,k,ours,%s,LIBXSMM,%s/ours,LIBXSMM/ours\n", blas_library_name(), blas_library_name());
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const Shape *s = &shapes[i];
        prepare_xsmm(s);
        printf("%s,%s%s,%d,%d,%d", s->use, s->tn ? "tn" : "nn", s->adds ? " +=" : "", s->m, s->n, s->k);
        measure(products, s, 2.0 * s->m * s->n * s->k);
    }
    printf("exp; library exp; library tanh,elements,%d,,", ELEMENTS);
    measure(functions, NULL, ELEMENTS);
    return 0;
}
