/* Softmax cross entropy of rows of logits. */
#ifndef POLYSKETCH_TENSOR_CROSS_ENTROPY_H
#define POLYSKETCH_TENSOR_CROSS_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"

/* What becomes of logits, and what is asked of them. */
typedef struct LossSpec {
    real soft_cap;                /* 0: none */
    real gradient_scale;          /* 0: losses alone */
    real z_loss, label_smoothing; /* change the gradients, not the losses; 0: nothing */
} LossSpec;

/* logits (V) += bias (V), and with soft_cap > 0 cap tanh(logits / cap) of that. Returns the largest. */
real finish_logits(real *logits, const real *bias, size_t vocab_size, real soft_cap);

/* losses (rows) = -log softmax(y)[target], natural logarithm, y = finish_logits(logits). With gradient_scale != 0 the logits
   become gradient_scale times the gradients of

       - sum over c of target_c log softmax(y)[c] + z_loss (log sum of e^y)^2

   where target = (1 - label_smoothing) one-hot + label_smoothing / V: of the losses themselves when both are 0.
   A target of -1 does not count: loss and gradients are 0. */
void cross_entropy(real *losses, real *logits /* (rows, V) */, const real *bias /* (V) */, const int32_t *targets,
                   size_t rows, size_t vocab_size, const LossSpec *spec);

/* sums (columns) += sum of the rows of x; threads own columns, so the order of the sums is fixed. */
void add_column_sums(real *sums, const real *x, size_t rows, size_t columns);

#endif
