/* One training step of this rank, and all that it needs: the pass, the parameters with gradients and states, the optimizer. The
   trainer makes steps of it, `polysketch bench step` times them. */
#ifndef POLYSKETCH_TRAIN_STEP_H
#define POLYSKETCH_TRAIN_STEP_H

#include "mpi/topology.h"
#include "src/core/param_store.h"
#include "src/model/pass.h"
#include "src/train/config.h"
#include "src/train/optimizer.h"

typedef struct TrainStep {
    const Config *config;
    ModelPass *pass;
    Optimizer *optimizer;
    ParamStore *store;
    int64_t micro_batches;   /* of a data rank */
    uint64_t first_sequence; /* number in the batch of this data rank's first one */
    TokenBatch batch;        /* (B, N) of the micro-batch under way */
} TrainStep;

/* Parameters are zero. config, model and topology must outlive it. Collective. */
TrainStep *train_step_create(const Config *config, const Model *model, const Topology *topology);
void train_step_destroy(TrainStep *step);

/* Fills the arrays of `part`, of B sequences, the first of which is number `in_batch` of the batch. */
typedef void (*TokenSource)(void *context, uint64_t in_batch, const TokenBatch *part);

/* Gradients of the mean loss of the batch, summed over all ranks; returns the sum of the losses of this rank's tokens.
   `number` is that of the step, for dropout. Collective. */
double train_step_gradients(TrainStep *step, TokenSource tokens, void *context, uint64_t number);

/* The update, with the gradients' norm for clipping; `updates`: 1, 2, ... since the states began. Collective. */
void train_step_update(TrainStep *step, double learning_rate, double gradient_norm, int64_t updates);

#endif
