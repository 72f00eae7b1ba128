#include "src/tensor/embedding.h"

#include <omp.h>
#include <string.h>

void embedding_forward(real *x, const real *table, const int32_t *ids, size_t tokens, size_t width)
{
#pragma omp parallel for schedule(static) if (tokens * width > 65536)
    for (size_t t = 0; t < tokens; t++) memcpy(x + t * width, table + (size_t)ids[t] * width, width * sizeof *x);
}

void embedding_backward(real *d_table, const real *d_x, const int32_t *ids, size_t tokens, size_t width)
{
#pragma omp parallel if (tokens * width > 65536)
    {
        size_t thread = (size_t)omp_get_thread_num(), team = (size_t)omp_get_num_threads();
        size_t first = width * thread / team, end = width * (thread + 1) / team;
        for (size_t t = 0; t < tokens; t++) {
            real *d_row = d_table + (size_t)ids[t] * width;
            const real *d_in = d_x + t * width;
#pragma omp simd
            for (size_t c = first; c < end; c++) d_row[c] += d_in[c];
        }
    }
}
