#include "src/tensor/dropout.h"

void dropout_apply(real *x, double rate, RngStream stream, size_t first_position, size_t tokens, size_t width)
{
    if (rate <= 0) return;
    uint32_t threshold = (uint32_t)(rate * 0x1p32);
    real kept = (real)(1 / (1 - rate));
    size_t groups = (width + 3) / 4; /* four columns share one draw of the generator */
#pragma omp parallel for schedule(static) if (tokens * width > 4096)
    for (size_t t = 0; t < tokens; t++)
        for (size_t g = 0; g < groups; g++) {
            uint32_t words[4];
            rng_words(stream, (first_position + t) * groups + g, words);
            for (size_t c = 4 * g; c < 4 * g + 4 && c < width; c++)
                x[t * width + c] *= words[c % 4] >= threshold ? kept : 0;
        }
}
