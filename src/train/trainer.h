/* A training run: its state, its steps, what it writes.

   The state is (parameters, optimizer states, Progress): which tokens a step uses, its dropout and its learning rate follow
   from the configuration and the progress alone. */
#ifndef POLYSKETCH_TRAIN_TRAINER_H
#define POLYSKETCH_TRAIN_TRAINER_H

#include <stdbool.h>

#include "io/token_mix.h"
#include "src/train/config.h"
#include "src/train/resume.h"

typedef struct Trainer Trainer;

/* `config` is finished, `asked` the same as file and command line have it. Both stay with the caller, as do the token files,
   which are open. `validation` may be NULL, and so may `train` where the source reads no file. Continues from a checkpoint of
   config->output.folder where there is one, as `choice` says; `config` then gets its train.init_from. Collective over all ranks;
   leaves together with one line when something is wrong. */
Trainer *trainer_create(Config *config, const Config *asked, const ResumeChoice *choice, TokenMix *train,
                        TokenFile *validation);

/* Trains up to config->train.steps, writes checkpoints and metrics. False when a signal, the file STOP or
   output.stop_after_minutes ended it before, after a checkpoint. Collective. */
bool trainer_run(Trainer *trainer);

void trainer_destroy(Trainer *trainer);

#endif
