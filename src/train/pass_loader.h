/* Loaders of the tokens that a pass works on: this rank's ranges of every sequence. The caller owns them; the files of
   the source must outlive them. NULL with a message when that is too short. */
#ifndef POLYSKETCH_TRAIN_PASS_LOADER_H
#define POLYSKETCH_TRAIN_PASS_LOADER_H

#include "io/batch_loader.h"
#include "src/model/pass.h"

/* Sequences in the order that the seed draws; `mix` is NULL where the source reads no file. */
BatchLoader *pass_loader_training(const ModelPass *pass, const DataSource *source, const TokenMix *mix,
                                  Message *problem);

/* Windows `stride` apart, from the start of the file; whole sequences of a made source. */
BatchLoader *pass_loader_evaluation(const ModelPass *pass, const DataSource *source, size_t stride, Message *problem);

#endif
