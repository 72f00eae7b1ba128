/* The head of a Slurm job script, from what a training job needs. */
#ifndef POLYSKETCH_PROGRAMS_SLURM_HEAD_H
#define POLYSKETCH_PROGRAMS_SLURM_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/error.h"

typedef struct SlurmNeeds {
    int64_t ranks, threads; /* of the job; of a rank */
    int64_t cores_per_node;
    double bytes_per_node; /* 0 = enough */
    double bytes_per_rank; /* as memory_report() counts them */
    double seconds;        /* of all steps */
    double most_seconds;   /* that a job may take; a longer run is one of several jobs */
} SlurmNeeds;

/* How they are met. */
typedef struct SlurmHead {
    int64_t nodes, tasks_per_node; /* the ranks evenly on as few nodes as have room */
    int64_t megabytes_per_node;    /* 2^20 bytes; with room for what the report does not count */
    int64_t minutes; /* with some to spare for start, evaluations and checkpoints, but no more than a job may take */
    int64_t jobs;    /* one after the other */
} SlurmHead;

/* False with a message when a rank does not fit on a node. */
bool slurm_head_make(const SlurmNeeds *needs, SlurmHead *head, Message *problem);

/* Lines of the log: `#!/bin/bash`, comments that say what the figures come from (`basis`: the time), and the `#SBATCH` lines. */
void slurm_head_print(const SlurmNeeds *needs, const SlurmHead *head, const char *basis);

#endif
