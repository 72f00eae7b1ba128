/* What the cores of a job can do: the rate of a large product of matrices, on all ranks at once. The measure for what a training
   step achieves, in `polysketch bench` and in the progress lines of a run. */
#ifndef POLYSKETCH_TRAIN_SGEMM_RATE_H
#define POLYSKETCH_TRAIN_SGEMM_RATE_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"

/* Seconds that `run` takes on the slowest rank; all begin together. Collective. */
double seconds_on_all_ranks(void (*run)(void *context), void *context);

/* Numbers of variance 1 that depend on `purpose`; the caller frees. */
real *operand_values(size_t count, uint64_t purpose);

/* A product of two (n, n) matrices on every rank, with its memory. Local; owned by the caller. */
typedef struct SgemmProbe {
    real *a, *b, *c; /* (n, n) */
    size_t n;
} SgemmProbe;
SgemmProbe sgemm_probe_create(size_t n);
void sgemm_probe_destroy(SgemmProbe *probe);

/* Products and the time they took, the same on all ranks. */
typedef struct SgemmSample {
    double products, seconds;
} SgemmSample;

/* One product, or more of them for as long as `least_seconds`. Collective. */
SgemmSample sgemm_sample(SgemmProbe *probe, double least_seconds);

/* GF/s of all ranks together, over two samples. */
double sgemm_rate(const SgemmProbe *probe, SgemmSample a, SgemmSample b);

/* The same, the better of two samples, of products of about `flops` operations on a rank: so many as a step of a small run has,
   but no more than take some hundredths of a second. Collective. */
double sgemm_rate_now(double flops);

#endif
