/* Which checkpoint of its run folder a run continues from, and whether it may. */
#ifndef POLYSKETCH_TRAIN_RESUME_H
#define POLYSKETCH_TRAIN_RESUME_H

#include <stdbool.h>

#include "io/checkpoint.h"
#include "io/token_mix.h"
#include "src/train/config.h"

/* What the command line says about it. */
typedef struct ResumeChoice {
    int64_t from;   /* the checkpoint of this step; -1: the newest */
    bool overwrite; /* a new run may begin over the metrics of one that has no checkpoint left */
} ResumeChoice;

typedef struct Resume {
    bool found;
    char path[CHECKPOINT_PATH_SIZE];
    int64_t step;
    Config config; /* what it was trained with */
} Resume;

/* Is there a checkpoint? Leaves together when it is of another model, or when there is none of the step that was chosen. Changes
   nothing in the folder, so it can come before that is locked; a damaged checkpoint is for resume_choose(). Collective. */
bool resume_check_model(const Config *config, const ResumeChoice *choice);

/* The newest checkpoint whose bits are those that were written; damaged ones are set aside with a line each. Of the chosen
   step: that one, and no other. Leaves together when there were only damaged ones, or none although the folder has metrics of
   a run (unless choice->overwrite). Collective, under the lock of the folder. */
void resume_choose(Config *config, const ResumeChoice *choice, Resume *resume);

/* Checkpoints of later steps get other names, under which nothing looks for them, with a line each. Collective. */
void resume_leave_later(const Config *config, const Resume *resume);

/* What is kept of the training data; tokens = -1 where there are no files (NULL). All ranks must read the same, each perhaps
   from a disk of its own: else they leave together. Collective. */
CheckpointData resume_data(TokenMix *train);

/* What must be the same, or is worth a line when it is not: the tokenizer, the training data, options. Leaves together
   when the tokenizer is another. `train` is a training file, or NULL: there are none. Collective. */
void resume_compare(const Resume *resume, const Config *config, const TokenFile *train, const CheckpointData *data);

/* False with a message when the checkpoint was trained with another tokenizer than the data have. Local. */
bool resume_same_tokenizer(const char *path, const TokenFile *train, Message *problem);

/* Loads into `into`, and sets the number of the next sequence: that of the checkpoint, or where as many tokens have
   been seen when the context length is another or an older file does not say. Collective. */
void resume_load(const Resume *resume, const Config *config, Checkpoint *into);

#endif
