/* Timing for polysketch bench: runs between products of sgemm. A shared machine changes its speed within seconds, so each run
   is compared with the products just before and just after it. */
#ifndef POLYSKETCH_PROGRAMS_BENCH_TIMING_H
#define POLYSKETCH_PROGRAMS_BENCH_TIMING_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"

/* Numbers of variance 1 that depend on `purpose`; the caller frees. */
real *bench_random_values(size_t count, uint64_t purpose);

typedef struct BenchTimes {
    double useful_gflops, sgemm_gflops, fraction_of_peak; /* medians; of all ranks together */
    double seconds;                                       /* of all runs, of the slowest rank */
} BenchTimes;

/* GF/s of sgemm, all ranks together, from products that take `seconds` after one that warms up. Collective. */
double bench_gemm_gflops(double seconds);

/* `repeats` runs after `warmups`, each of `flops` operations on all ranks. `begin` and `end` enclose every timed run.
   Collective. */
BenchTimes bench_time(void (*run)(void *context), void (*begin)(void *context), void (*end)(void *context),
                      void *context, int64_t warmups, int64_t repeats, double flops);

#endif
