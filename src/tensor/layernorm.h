/* Layer norm over rows of `width` numbers: y = (x - mean) / sqrt(variance + 1e-5) * weight + bias.

   Rows come as (tokens, heads, width): row (t, j) of x starts at x + t * x_stride + j * width. heads = 1 is the plain
   case. The backward pass computes mean and deviation again from x, which is in cache by then: nothing is saved. */
#ifndef POLYSKETCH_TENSOR_LAYERNORM_H
#define POLYSKETCH_TENSOR_LAYERNORM_H

#include <stddef.h>

#include "src/base/real.h"

void layernorm_forward(real *y, size_t y_stride, const real *x, size_t x_stride, const real *weight, const real *bias,
                       size_t tokens, size_t heads, size_t width);

/* d_x += ..., d_weight += ..., d_bias += ... `scratch` holds layernorm_scratch() numbers. */
void layernorm_backward(real *d_x, size_t d_x_stride, real *d_weight, real *d_bias, const real *d_y, size_t d_y_stride,
                        const real *x, size_t x_stride, const real *weight, size_t tokens, size_t heads, size_t width,
                        real *scratch);

/* For one set of rows on the calling thread, inside a parallel region. */
void layernorm_backward_rows(real *d_x, size_t d_x_stride, real *d_weight, real *d_bias, const real *d_y,
                             size_t d_y_stride, const real *x, size_t x_stride, const real *weight, size_t tokens,
                             size_t heads, size_t width);

size_t layernorm_scratch(size_t width);

#endif
