/* What follows the layers: the final norm, logits by the embedding, loss; forward and backward. Logits are made chunk of rows by
   chunk of rows, with their gradients at once, so that (tokens, V) never exists. */
#ifndef POLYSKETCH_MODEL_OUTPUT_LAYER_H
#define POLYSKETCH_MODEL_OUTPUT_LAYER_H

#include "src/base/arena.h"
#include "src/core/param_store.h"
#include "src/model/model.h"

typedef struct OutputRun {
    const Model *model;
    ParamStore *params; /* its groups are acquired and released here */
    Arena *scratch;
    const real *x;          /* (tokens, C): the last residual stream */
    const int32_t *targets; /* (tokens); -1: does not count */
    uint8_t *correct;       /* (tokens) or NULL: where to say which targets are the likeliest token */
    size_t tokens;
    real z_loss, label_smoothing; /* as in LossSpec: of the backward pass alone */
} OutputRun;

/* Takes and releases the scratch of both. */
void output_layer_plan(const Model *model, size_t tokens, Arena *scratch);

/* Sum of the losses; each into `losses` (tokens) unless it is NULL. */
double output_layer_loss(const OutputRun *run, real *losses);

/* The same, and d_x (tokens, C) = gradient of loss_scale times it, or rather of what z_loss and label_smoothing make of it; adds
   to the gradients of the parameters. */
double output_layer_backward(const OutputRun *run, real *d_x, real loss_scale);

#endif
