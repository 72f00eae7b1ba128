/* Loaders of the tokens that a pass works on: this rank's ranges of every sequence. The caller owns them; file must outlive them.
   NULL with a message when the file is too short. */
#ifndef POLYSKETCH_TRAIN_PASS_LOADER_H
#define POLYSKETCH_TRAIN_PASS_LOADER_H

#include "io/batch_loader.h"
#include "src/model/pass.h"

/* Sequences in the order that `seed` draws. */
BatchLoader *pass_loader_training(const ModelPass *pass, TokenFile *file, uint64_t seed, Message *problem);

/* Windows `stride` apart, from the start of the file. */
BatchLoader *pass_loader_evaluation(const ModelPass *pass, TokenFile *file, size_t stride, Message *problem);

#endif
