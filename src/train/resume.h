/* Which checkpoint of its run folder a run continues from, and whether it may. */
#ifndef POLYSKETCH_TRAIN_RESUME_H
#define POLYSKETCH_TRAIN_RESUME_H

#include <stdbool.h>

#include "io/checkpoint.h"
#include "io/token_file.h"
#include "src/train/config.h"

typedef struct Resume {
    bool found;
    char path[CHECKPOINT_PATH_SIZE];
    int64_t step;
    Config config; /* what it was trained with */
} Resume;

/* Leaves together when the newest checkpoint is of another model. Changes nothing, so it can come before the folder is
   locked; a damaged checkpoint is for resume_choose(). Collective. */
void resume_check_model(const Config *config);

/* The newest checkpoint whose bits are those that were written; damaged ones are set aside with a line each. Leaves
   together when there were only damaged ones, or none although the folder has metrics of a run (unless `overwrite`).
   Collective, under the lock of the folder. */
void resume_choose(const Config *config, bool overwrite, Resume *resume);

/* What must be the same, or is worth a line when it is not: the tokenizer, the training data, options. Leaves together
   when the tokenizer is another. `train` may be NULL: no file. Collective. */
void resume_compare(const Resume *resume, const Config *config, const TokenFile *train, const CheckpointData *data);

/* Loads into `into`, and sets the number of the next sequence: that of the checkpoint, or where as many tokens have
   been seen when the context length is another or an older file does not say. Collective. */
void resume_load(const Resume *resume, const Config *config, Checkpoint *into);

#endif
