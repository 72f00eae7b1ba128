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
    int ranks_per_node;      /* that have values together: 1 without parallel.node_shared */
} StoreMessages;

/* On a network all of whose fields are 0, seconds mean nothing. `optimizer`: of optimizer_plan(). Muon's steps of matrices, which
   ranks send round without shares, are not counted. Of values that a node shares each rank gathers the rows of its rail,
   and of several where its node, the last, is not full, which is counted here (mpi/node_values.h). Local. */
StoreMessages store_messages(const Config *config, const Model *model, const Optimizer *optimizer, int ranks,
                             int ranks_per_node, const Network *network);

#endif
