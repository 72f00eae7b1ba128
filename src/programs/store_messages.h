/* Gradients and values of parameters on their way between ranks in one training step, as parallel.shard has them travel: for
   `polysketch plan`. */
#ifndef POLYSKETCH_PROGRAMS_STORE_MESSAGES_H
#define POLYSKETCH_PROGRAMS_STORE_MESSAGES_H

#include "mpi/message_cost.h"
#include "src/train/config.h"

/* Of a rank. */
typedef struct StoreMessages {
    double gradient_numbers; /* that go into sums over ranks */
    double gradient_seconds; /* one sum after the other, none hidden; of whole gradients by halves */
    double value_numbers;    /* of groups that are gathered, those that the rank keeps itself included */
    double value_seconds;    /* one group after the other, none hidden */
} StoreMessages;

/* On a network all of whose fields are 0, seconds mean nothing. `optimizer`: of optimizer_plan(). Muon's steps of matrices, which
   ranks send round without shares, are not counted. Local. */
StoreMessages store_messages(const Config *config, const Model *model, const Optimizer *optimizer, int ranks,
                             const Network *network);

#endif
