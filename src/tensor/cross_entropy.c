#include "src/tensor/cross_entropy.h"

#include <omp.h>
#include <string.h>

#include "src/tensor/vector_math.h"

static real row_cross_entropy(real *x, const real *bias, size_t target, size_t vocab_size, real gradient_scale)
{
    real largest = -INFINITY, sum = 0;
#pragma omp simd reduction(max : largest)
    for (size_t c = 0; c < vocab_size; c++) {
        x[c] += bias[c];
        largest = x[c] > largest ? x[c] : largest;
    }
    real target_logit = x[target] - largest;
#pragma omp simd reduction(+ : sum)
    for (size_t c = 0; c < vocab_size; c++) {
        x[c] = vector_exp(x[c] - largest);
        sum += x[c];
    }
    if (gradient_scale != 0) {
        real factor = gradient_scale / sum;
#pragma omp simd
        for (size_t c = 0; c < vocab_size; c++) x[c] *= factor;
        x[target] -= gradient_scale;
    }
    return real_log(sum) - target_logit;
}

/* Of a row that does not count. */
static real no_cross_entropy(real *x, size_t vocab_size)
{
    memset(x, 0, vocab_size * sizeof *x);
    return 0;
}

void cross_entropy(real *losses, real *logits, const real *bias, const int32_t *targets, size_t rows, size_t vocab_size,
                   real gradient_scale)
{
#pragma omp parallel for schedule(static) if (rows * vocab_size > 16384)
    for (size_t t = 0; t < rows; t++) {
        real *x = logits + t * vocab_size;
        losses[t] = targets[t] < 0 ? no_cross_entropy(x, vocab_size)
                                   : row_cross_entropy(x, bias, (size_t)targets[t], vocab_size, gradient_scale);
    }
}

void add_column_sums(real *sums, const real *x, size_t rows, size_t columns)
{
#pragma omp parallel if (rows * columns > 65536)
    {
        size_t thread = (size_t)omp_get_thread_num(), team = (size_t)omp_get_num_threads();
        size_t first = columns * thread / team, end = columns * (thread + 1) / team;
        for (size_t t = 0; t < rows; t++) {
            const real *row = x + t * columns;
#pragma omp simd
            for (size_t c = first; c < end; c++) sums[c] += row[c];
        }
    }
}
