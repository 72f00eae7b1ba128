/* Softmax cross entropy of rows of logits. */
#ifndef POLYSKETCH_TENSOR_CROSS_ENTROPY_H
#define POLYSKETCH_TENSOR_CROSS_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"

/* losses (rows) = -log softmax(logits + bias)[target], natural logarithm. With gradient_scale != 0 the logits become
   their gradients times that factor: (softmax - one-hot) * gradient_scale. A target of -1 does not count: loss and gradient
   are 0. */
void cross_entropy(real *losses, real *logits /* (rows, V) */, const real *bias /* (V) */, const int32_t *targets,
                   size_t rows, size_t vocab_size, real gradient_scale);

/* sums (columns) += sum of the rows of x; threads own columns, so the order of the sums is fixed. */
void add_column_sums(real *sums, const real *x, size_t rows, size_t columns);

#endif
