/* GELU in its tanh form, plain and as a gate. Element-wise, threaded.
   GELU_tanh(x) = x/2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), computed as x * sigmoid(2u). */
#ifndef POLYSKETCH_TENSOR_ACTIVATION_H
#define POLYSKETCH_TENSOR_ACTIVATION_H

#include <stddef.h>

#include "src/base/real.h"

/* y = GELU(x), and d_x = d_y GELU'(x); y may be x, d_x may be d_y. */
void gelu_forward(real *y, const real *x, size_t count);
void gelu_backward(real *d_x, const real *d_y, const real *x, size_t count);

/* Both at once, with one exponential: y = GELU(x), and x becomes GELU'(x). */
void gelu_forward_with_slope(real *y, real *x, size_t count);

/* y (tokens, F) = a * GELU(g) where x (tokens, 2F) = [a, g]; d_x (tokens, 2F) = [d_a, d_g] */
void glu_forward(real *y, const real *x, size_t tokens, size_t width);
void glu_backward(real *d_x, const real *d_y, const real *x, size_t tokens, size_t width);

#endif
