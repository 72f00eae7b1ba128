/* Layer norm over rows of `width` numbers: y = (x - mean) / sqrt(variance + 1e-5) * weight + bias.

   Matrices are (tokens, heads * width): each of their rows is `heads` rows of `width` numbers side by side, normed one by
   one. heads = 1 is the plain case. The backward pass computes mean and deviation again from x, which is in cache by then:
   nothing is saved. */
#ifndef POLYSKETCH_TENSOR_LAYERNORM_H
#define POLYSKETCH_TENSOR_LAYERNORM_H

#include <stddef.h>

#include "src/base/real.h"
#include "src/tensor/matrix.h"

/* The tensors of a norm, (width) each, and their gradients. */
typedef struct NormWeights {
    const real *weight, *bias;
} NormWeights;

typedef struct NormGradients {
    real *d_weight, *d_bias;
} NormGradients;

/* y may be x. */
void layernorm_forward(Matrix y, ConstMatrix x, NormWeights norm, size_t heads);

/* d_x += ..., d_weight += ..., d_bias += ... `scratch` holds layernorm_scratch() numbers. */
void layernorm_backward(Matrix d_x, NormGradients gradients, ConstMatrix d_y, ConstMatrix x, const real *weight,
                        size_t heads, real *scratch);

/* For one set of rows on the calling thread, inside a parallel region. */
void layernorm_backward_rows(Matrix d_x, NormGradients gradients, ConstMatrix d_y, ConstMatrix x, const real *weight,
                             size_t heads);

size_t layernorm_scratch(size_t width);

#endif
