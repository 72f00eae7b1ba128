#include "src/tensor/greedy.h"

static size_t largest_place(const real *x, const real *bias, size_t count)
{
    size_t place = 0;
    for (size_t c = 1; c < count; c++)
        if (x[c] + bias[c] > x[place] + bias[place]) place = c;
    return place;
}

void greedy_correct(uint8_t *correct, const real *logits, const real *bias, const int32_t *targets, size_t rows,
                    size_t vocab_size)
{
#pragma omp parallel for schedule(static) if (rows * vocab_size > 16384)
    for (size_t t = 0; t < rows; t++)
        correct[t] = targets[t] >= 0 && largest_place(logits + t * vocab_size, bias, vocab_size) == (size_t)targets[t];
}
