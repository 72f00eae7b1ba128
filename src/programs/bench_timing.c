#include "src/programs/bench_timing.h"

#include <stdlib.h>

#include "src/base/memory.h"
#include "src/train/sgemm_rate.h"

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* The sgemm before a run and that after it take a tenth of its time each; without a warm-up the first is one product. */
static const double GEMM_SHARE = 0.1;

BenchTimes bench_time(void (*run)(void *), void (*begin)(void *), void (*end)(void *), void *context, int64_t warmups,
                      int64_t repeats, double flops)
{
    SgemmProbe gemm = sgemm_probe_create(2048);
    BenchTimes times = {0};
    double *columns = checked_calloc(3 * (size_t)repeats, sizeof *columns);
    double *rates = columns, *peaks = columns + repeats, *fractions = peaks + repeats, run_time = 0;
    for (int64_t i = 0; i < warmups; i++) run_time = seconds_on_all_ranks(run, context);
    sgemm_sample(&gemm, 0); /* warm-up */
    SgemmSample before = sgemm_sample(&gemm, GEMM_SHARE * run_time);
    for (int64_t i = 0; i < repeats; i++) {
        begin(context);
        run_time = seconds_on_all_ranks(run, context);
        end(context);
        times.seconds += run_time;
        SgemmSample after = sgemm_sample(&gemm, GEMM_SHARE * run_time);
        rates[i] = 1e-9 * flops / run_time;
        peaks[i] = sgemm_rate(&gemm, before, after);
        fractions[i] = rates[i] / peaks[i];
        before = after;
    }
    times.useful_gflops = median(rates, repeats);
    times.sgemm_gflops = median(peaks, repeats);
    times.fraction_of_peak = median(fractions, repeats);
    free(columns);
    sgemm_probe_destroy(&gemm);
    return times;
}
