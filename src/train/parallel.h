/* How the work of training is divided among ranks: options in section [parallel] of a configuration. */
#ifndef POLYSKETCH_TRAIN_PARALLEL_H
#define POLYSKETCH_TRAIN_PARALLEL_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/error.h"
#include "src/base/options.h"

typedef struct ParallelConfig {
    int64_t data_ranks;
    int scan;          /* ScanKind */
    int gradient_sums; /* GradientSums */
    int shard;         /* ShardStage */
    bool node_shared;
} ParallelConfig;

/* Rows with offsets in ParallelConfig. */
const OptionRow *parallel_options(int *count);

/* False with a message where options contradict each other, or so many ranks cannot be divided so. */
bool parallel_check(const ParallelConfig *parallel, int ranks, Message *problem);

#endif
