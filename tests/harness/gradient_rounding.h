/* Loss and gradients of a whole model, and how far rounding moves them (rounding.h): what other ways to compute them are
   compared with. */
#ifndef POLYSKETCH_TESTS_HARNESS_GRADIENT_ROUNDING_H
#define POLYSKETCH_TESTS_HARNESS_GRADIENT_ROUNDING_H

#include <stdbool.h>

#include "src/model/pass.h"

/* What one process finds, the plain way. */
typedef struct PlainGradients {
    const ParamTable *table;
    double loss, loss_movement;
    real *grads;       /* trained_count */
    double *movements; /* of each tensor's gradient */
} PlainGradients;

/* Of inputs and targets (spec->sequences, T). Collective: the draws are shared out among the ranks. */
PlainGradients plain_gradients_create(const Model *model, const PassSpec *spec, real *params, const int32_t *inputs,
                                      const int32_t *targets, real loss_scale);
void plain_gradients_destroy(PlainGradients *plain);

/* Checks loss and gradients found another way, tensor by tensor. */
void check_gradients(const char *what, const PlainGradients *plain, double loss, const real *grads);

/* The largest difference of a tensor's gradient, as a multiple of what check_gradients() allows. */
double gradient_excess(const PlainGradients *plain, const real *grads);

#endif
