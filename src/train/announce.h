/* What a run says of itself before its first step. Rank 0's lines. */
#ifndef POLYSKETCH_TRAIN_ANNOUNCE_H
#define POLYSKETCH_TRAIN_ANNOUNCE_H

#include "io/token_mix.h"
#include "src/model/model.h"
#include "src/train/config.h"

/* Version, ranks, threads, libraries. */
void announce_machine(const Config *config);

/* Model, attention, optimizer, batch, data, memory. Collective. */
void announce_run(const Config *config, const Model *model, const TokenMix *train);

#endif
