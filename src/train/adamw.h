/* AdamW (Loshchilov and Hutter, ICLR 2019).

       m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
       x = x - rate * ( m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + decay x )

   t counts steps from 1. Weight decay applies to matrices, not to norms, biases and the embedding (the table says which). */
#ifndef POLYSKETCH_TRAIN_ADAMW_H
#define POLYSKETCH_TRAIN_ADAMW_H

#include "src/train/optimizer.h"

extern const OptimizerKind optimizer_adamw;

/* For optimizers that leave some tensors to AdamW: its states of a tensor, and the update of one. */
int adamw_states(const Param *param, const char *names[OPTIMIZER_STATES]);
void adamw_update_tensor(const Optimizer *optimizer, ParamStore *store, const OptimizerStep *step, int param);

#endif
