/* Loss of a model on a token file, on any grid of ranks. */
#ifndef POLYSKETCH_TRAIN_EVALUATE_H
#define POLYSKETCH_TRAIN_EVALUATE_H

#include <stdint.h>

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

/* Memory and data for evaluations over the first `max_sequences` windows of T = context_length tokens of `file` (0: all),
   `micro_batch` windows at a time per data rank. NULL with a message when the file is too short. `file`, `model` and
   `topology` must outlive it. */
Evaluator *evaluator_create(const Model *model, const Topology *topology, TokenFile *file, size_t context_length,
                            int64_t max_sequences, int64_t micro_batch, Message *problem);
void evaluator_destroy(Evaluator *evaluator);

int64_t evaluator_sequences(const Evaluator *evaluator);

/* Collective over all ranks; every rank gets the same result. Losses per token go to `losses` unless it is NULL. */
Evaluation evaluator_run(Evaluator *evaluator, const real *params, LossFile *losses);

#endif
