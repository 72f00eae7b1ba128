#include "src/train/sgemm_rate.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/base/usage.h"
#include "src/tensor/blas.h"

double seconds_on_all_ranks(void (*run)(void *), void *context)
{
    world_barrier();
    double start = usage_seconds(), seconds;
    run(context);
    seconds = usage_seconds() - start;
    world_max_doubles(&seconds, 1);
    return seconds;
}

real *operand_values(size_t count, uint64_t purpose)
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

static void run_product(void *context)
{
    SgemmProbe *g = context;
    gemm_nn(g->c, g->n, g->a, g->n, g->b, g->n, g->n, g->n, g->n, 1, 0);
}

SgemmProbe sgemm_probe_create(size_t n)
{
    return (SgemmProbe){operand_values(n * n, 1), operand_values(n * n, 2), checked_calloc(n * n, sizeof(real)), n};
}

void sgemm_probe_destroy(SgemmProbe *probe)
{
    free(probe->a);
    free(probe->b);
    free(probe->c);
}

SgemmSample sgemm_sample(SgemmProbe *probe, double least_seconds)
{
    SgemmSample sample = {0};
    do {
        sample.seconds += seconds_on_all_ranks(run_product, probe);
        sample.products++;
    } while (sample.seconds < least_seconds);
    return sample;
}

double sgemm_rate(const SgemmProbe *probe, SgemmSample a, SgemmSample b)
{
    double n = (double)probe->n;
    return 2e-9 * n * n * n * (a.products + b.products) / (a.seconds + b.seconds) * world().size;
}

double sgemm_rate_now(double flops)
{
    enum { SAMPLES = 2, SHORTEST = 128 };
    double longest = omp_get_max_threads() < 4 ? 1024 : 2048; /* work enough for all threads */
    double n = fmax(SHORTEST, fmin(longest, cbrt(flops / 2)));
    SgemmProbe probe = sgemm_probe_create((size_t)n);
    double rate = 0;
    sgemm_sample(&probe, 0); /* the first also pays for the memory it touches */
    for (int i = 0; i < SAMPLES; i++)
        rate = fmax(rate, sgemm_rate(&probe, sgemm_sample(&probe, 0.01), (SgemmSample){0}));
    sgemm_probe_destroy(&probe);
    return rate;
}
