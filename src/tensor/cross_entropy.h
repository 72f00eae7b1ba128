/* Softmax cross entropy of rows of logits. */
#ifndef POLYSKETCH_TENSOR_CROSS_ENTROPY_H
#define POLYSKETCH_TENSOR_CROSS_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"

/* What becomes of logits, and what is asked of them. */
typedef struct LossSpec {
    real soft_cap;       /* 0: none */
    real gradient_scale; /* 0: losses alone */
} LossSpec;

/* logits (V) += bias (V), and with soft_cap > 0 cap tanh(logits / cap) of that. Returns the largest. */
real finish_logits(real *logits, const real *bias, size_t vocab_size, real soft_cap);

/* losses (rows) = -log softmax(y)[target], natural logarithm, y = finish_logits(logits). With gradient_scale != 0 the logits
   become their gradients times that factor: (softmax - one-hot) * gradient_scale, times dy / d logits. */
void cross_entropy(real *losses, real *logits /* (rows, V) */, const real *bias /* (V) */, const int32_t *targets,
                   size_t rows, size_t vocab_size, const LossSpec *spec);

/* sums (columns) += sum of the rows of x; threads own columns, so the order of the sums is fixed. */
void add_column_sums(real *sums, const real *x, size_t rows, size_t columns);

#endif
