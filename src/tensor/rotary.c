#include "src/tensor/rotary.h"

#include <math.h>

void rotary_fill_turns(double *turns, size_t head_width, size_t turned_pairs)
{
    for (size_t i = 0; i < head_width / 2; i++)
        turns[i] = i < turned_pairs ? pow(10000.0, -2.0 * (double)i / (double)head_width) : 0;
}

void rotary_fill_table(real *table, size_t first, size_t tokens, const double *turns, size_t head_width)
{
    size_t half = head_width / 2;
#pragma omp parallel for schedule(static) if (tokens * half > 4096)
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < half; i++) {
            double angle = (double)(first + t) * turns[i];
            table[2 * t * half + i] = (real)cos(angle);
            table[(2 * t + 1) * half + i] = (real)sin(angle);
        }
}

void rotary_apply(real *x, size_t x_stride, const real *table, size_t table_tokens, size_t tokens, size_t heads,
                  size_t head_width, int direction)
{
    size_t half = head_width / 2;
    real sign = (real)direction;
#pragma omp parallel for schedule(static) if (tokens * heads * half > 8192)
    for (size_t t = 0; t < tokens; t++) {
        const real *cosine = table + 2 * (t % table_tokens) * half, *sine = cosine + half;
        for (size_t j = 0; j < heads; j++) {
            real *a = x + t * x_stride + j * head_width, *b = a + half;
#pragma omp simd
            for (size_t i = 0; i < half; i++) {
                real first = a[i] * cosine[i] - sign * b[i] * sine[i];
                b[i] = sign * a[i] * sine[i] + b[i] * cosine[i];
                a[i] = first;
            }
        }
    }
}
