/* The whole model on this process alone: the reference of every test over ranks. */
#ifndef POLYSKETCH_TESTS_HARNESS_SINGLE_RANK_H
#define POLYSKETCH_TESTS_HARNESS_SINGLE_RANK_H

#include "src/model/pass.h"

/* Sum of losses of inputs and targets (spec->sequences, T), and grads (trained_count) += gradient of loss_scale times it; grads
   NULL: the loss alone, computed without the backward pass. params (total_count). Documents, if there are any, are those of
   variant_document_starts(). */
double single_rank_loss(const Model *model, const PassSpec *spec, real *params, real *grads, const int32_t *inputs,
                        const int32_t *targets, real loss_scale);

#endif
