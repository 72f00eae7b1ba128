/* Dropout whose mask depends only on the stream, the position in the sequence and the column: the same on any grid of
   ranks, and the same when the backward pass, or a recomputation, asks again. */
#ifndef POLYSKETCH_TENSOR_DROPOUT_H
#define POLYSKETCH_TENSOR_DROPOUT_H

#include <stddef.h>

#include "src/base/real.h"
#include "src/base/rng.h"

/* x (tokens, width) *= mask / (1 - rate), in place; row t is position first_position + t. Forward and backward. */
void dropout_apply(real *x, double rate, RngStream stream, size_t first_position, size_t tokens, size_t width);

#endif
