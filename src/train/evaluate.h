/* Loss of a model on a token file, on any grid of ranks. */
#ifndef POLYSKETCH_TRAIN_EVALUATE_H
#define POLYSKETCH_TRAIN_EVALUATE_H

#include <stdint.h>

#include "io/batch_loader.h"
#include "io/loss_file.h"
#include "io/token_file.h"
#include "mpi/topology.h"
#include "src/model/model.h"

typedef struct Evaluation {
    double loss;          /* nats per token */
    double perplexity;    /* exp(loss) */
    double bits_per_byte; /* NaN when the token file has no pieces */
    int64_t sequences, tokens, bytes;
    double seconds;
} Evaluation;

typedef struct Evaluator Evaluator;

/* A loader of the tokens that a pass works on. */
BatchLoader *pass_loader(const ModelPass *pass, TokenFile *file, uint64_t seed, Message *problem);

/* Data for evaluations over the first `max_sequences` windows of `file` (0: all), as many at a time per data rank as
   `pass` holds sequences. The pass may be that of a training run: evaluation then takes no memory of its own. NULL with a
   message when the file is too short. All arguments must outlive the evaluator. */
Evaluator *evaluator_create(const Topology *topology, TokenFile *file, ModelPass *pass, int64_t max_sequences,
                            Message *problem);
void evaluator_destroy(Evaluator *evaluator);

int64_t evaluator_sequences(const Evaluator *evaluator);

/* Collective over all ranks; every rank gets the same result. Losses per token go to `losses` unless it is NULL. */
Evaluation evaluator_run(Evaluator *evaluator, const real *params, LossFile *losses);

#endif
