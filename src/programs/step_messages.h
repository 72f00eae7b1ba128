/* The messages of attention in one training step of a rank, and what all messages take on a network: for `polysketch plan`. */
#ifndef POLYSKETCH_PROGRAMS_STEP_MESSAGES_H
#define POLYSKETCH_PROGRAMS_STEP_MESSAGES_H

#include <stdbool.h>

#include "mpi/message_cost.h"
#include "src/base/facts.h"
#include "src/programs/store_messages.h"
#include "src/train/config.h"

/* "100Gb,1us": bits or bytes per second of a link (kb, Mb, Gb, Tb; kB, MB, GB) and the latency of a message (ns, us, ms, s).
   False with a message. */
bool network_read(const char *text, Network *network, Message *problem);

/* Of all layers, forward and backward, of all micro-batches. */
typedef struct StepMessages {
    double count, numbers;
    double sums;           /* exclusive sums over the ranks of a sequence, of which the ... */
    size_t largest_sum;    /* ... largest has so many numbers */
    double chain_seconds;  /* what these take one after the other, none hidden: as chains of packets, ... */
    double whole_seconds;  /* ... or of whole messages */
    double others_seconds; /* messages to neighbours, sums over stretches */
} StepMessages;

/* On a network all of whose fields are 0, seconds mean nothing. */
StepMessages step_messages(const Config *config, const Model *model, int sequence_ranks, const Network *network);

/* A step of which a rank computes for so long. */
typedef struct StepCompute {
    double seconds;
    double alone_seconds; /* one rank with as many tokens, in a sequence of their own */
    const char *basis;    /* where the figures come from */
} StepCompute;

/* Lines, and an object "network". `store`: of store_messages() on this network. `ranks_per_node`: 0 where nothing is known. */
void network_say(const Network *network, const Config *config, const Model *model, int ranks, int ranks_per_node,
                 const StoreMessages *store, const StepCompute *compute, Facts *facts);

#endif
