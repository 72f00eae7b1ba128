#include "src/programs/bench_timing.h"

#include <stdlib.h>

#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/base/usage.h"
#include "src/tensor/blas.h"

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Seconds of the slowest rank. */
static double run_seconds(void (*run)(void *), void *context)
{
    world_barrier();
    double start = usage_seconds(), seconds;
    run(context);
    seconds = usage_seconds() - start;
    world_max_doubles(&seconds, 1);
    return seconds;
}

static double median(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

real *bench_random_values(size_t count, uint64_t purpose)
{
    real *values = checked_calloc(count, sizeof *values);
    RngStream stream = rng_stream(1, "bench", purpose);
    for (size_t i = 0; i < count; i++) { /* one word each: cheap, and normal enough in variance */
        uint32_t words[4];
        rng_words(stream, i / 4, words);
        values[i] = (real)(((double)words[i % 4] * 0x1p-32 - 0.5) * 3.4641016151377544);
    }
    return values;
}

typedef struct GemmCase {
    real *a, *b, *c;
    size_t n;
} GemmCase;

static void run_gemm(void *context)
{
    GemmCase *g = context;
    gemm_nn(g->c, g->n, g->a, g->n, g->b, g->n, g->n, g->n, g->n, 1, 0);
}

static GemmCase gemm_case(void)
{
    size_t n = 2048;
    return (GemmCase){bench_random_values(n * n, 1), bench_random_values(n * n, 2), checked_calloc(n * n, sizeof(real)),
                      n};
}

static void destroy_gemm(GemmCase *g) { free(g->a), free(g->b), free(g->c); }

/* Products and the time they took, the same on all ranks. */
typedef struct GemmSample {
    double products, seconds;
} GemmSample;

/* One product, or more of them for as long as `least_seconds`. */
static GemmSample sample_gemm(GemmCase *g, double least_seconds)
{
    GemmSample sample = {0};
    do {
        sample.seconds += run_seconds(run_gemm, g);
        sample.products++;
    } while (sample.seconds < least_seconds);
    return sample;
}

/* GF/s of all ranks together, over two samples. */
static double gemm_rate(const GemmCase *g, GemmSample a, GemmSample b)
{
    double n = (double)g->n;
    return 2e-9 * n * n * n * (a.products + b.products) / (a.seconds + b.seconds) * world().size;
}

double bench_gemm_gflops(double seconds)
{
    GemmCase gemm = gemm_case();
    sample_gemm(&gemm, 0); /* warm-up */
    GemmSample sample = sample_gemm(&gemm, seconds), none = {0};
    double rate = gemm_rate(&gemm, sample, none);
    destroy_gemm(&gemm);
    return rate;
}

/* The sgemm before a run and that after it take a tenth of its time each; without a warm-up the first is one product. */
static const double GEMM_SHARE = 0.1;

BenchTimes bench_time(void (*run)(void *), void (*begin)(void *), void (*end)(void *), void *context, int64_t warmups,
                      int64_t repeats, double flops)
{
    GemmCase gemm = gemm_case();
    BenchTimes times = {0};
    double *columns = checked_calloc(3 * (size_t)repeats, sizeof *columns);
    double *rates = columns, *peaks = columns + repeats, *fractions = peaks + repeats, run_time = 0;
    for (int64_t i = 0; i < warmups; i++) run_time = run_seconds(run, context);
    sample_gemm(&gemm, 0); /* warm-up */
    GemmSample before = sample_gemm(&gemm, GEMM_SHARE * run_time);
    for (int64_t i = 0; i < repeats; i++) {
        begin(context);
        run_time = run_seconds(run, context);
        end(context);
        times.seconds += run_time;
        GemmSample after = sample_gemm(&gemm, GEMM_SHARE * run_time);
        rates[i] = 1e-9 * flops / run_time;
        peaks[i] = gemm_rate(&gemm, before, after);
        fractions[i] = rates[i] / peaks[i];
        before = after;
    }
    times.useful_gflops = median(rates, repeats);
    times.sgemm_gflops = median(peaks, repeats);
    times.fraction_of_peak = median(fractions, repeats);
    free(columns);
    destroy_gemm(&gemm);
    return times;
}
