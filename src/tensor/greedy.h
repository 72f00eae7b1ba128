/* Whether a model that always says the likeliest token would be right. */
#ifndef POLYSKETCH_TENSOR_GREEDY_H
#define POLYSKETCH_TENSOR_GREEDY_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"

/* correct (rows) = 1 where the first largest of logits + bias is the target, else 0; also 0 where that is -1. */
void greedy_correct(uint8_t *correct, const real *logits /* (rows, V) */, const real *bias /* (V) */,
                    const int32_t *targets, size_t rows, size_t vocab_size);

#endif
