#include "src/core/ordered_sum.h"

#include <stdlib.h>

#include "src/base/memory.h"

double ordered_sum_of_squares(const real *values, size_t count)
{
    enum { CHUNK = 1 << 16 };
    size_t chunks = (count + CHUNK - 1) / CHUNK;
    double *sums = checked_calloc(chunks, sizeof *sums), total = 0;
#pragma omp parallel for schedule(static)
    for (size_t p = 0; p < chunks; p++) {
        size_t first = p * CHUNK, end = first + CHUNK < count ? first + CHUNK : count;
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = first; i < end; i++) sum += (double)values[i] * (double)values[i];
        sums[p] = sum;
    }
    for (size_t p = 0; p < chunks; p++) total += sums[p];
    free(sums);
    return total;
}
