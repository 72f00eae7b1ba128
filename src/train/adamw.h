/* AdamW (Loshchilov and Hutter, ICLR 2019) over the parameter table.

       m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
       x = x - rate * ( m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + decay x )

   Weight decay applies to matrices, not to norms, biases and the embedding (the table says which). */
#ifndef POLYSKETCH_TRAIN_ADAMW_H
#define POLYSKETCH_TRAIN_ADAMW_H

#include <stdint.h>

#include "src/base/config.h"
#include "src/base/param_table.h"

/* Norm of the gradient over all trained tensors; the same bits on any number of threads. */
double adamw_gradient_norm(const ParamTable *table, const real *grads);

/* Step t = 1, 2, ...; gradients are taken times gradient_factor (clipping). Pads stay zero. */
void adamw_update(const ParamTable *table, const TrainConfig *train, real *values, real *m, real *v, const real *grads,
                  double learning_rate, double gradient_factor, int64_t step);

/* The factor that brings a gradient of norm `norm` down to clip_norm; 1 when it is shorter or clip_norm is 0. */
double adamw_clip_factor(double norm, double clip_norm);

#endif
