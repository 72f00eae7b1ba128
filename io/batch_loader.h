/* Which tokens a training step or an evaluation uses.

   The tokens of a file are cut into W = floor((tokens - 1) / T) windows of T inputs; the targets are the tokens one
   place further, so a window reads T + 1 tokens. Training sequences are numbered 0, 1, 2, ... over the whole run. An
   epoch is W sequences and uses each window once: in an order drawn anew for each epoch, and with the windows shifted
   by a phase drawn anew, so that the cuts and the tokens left over differ from epoch to epoch.

   What sequence `number` holds depends on (seed, number) alone: never on the ranks, the batch size or what was read
   before. So nothing of the loader need be saved, and a run continues anywhere. */
#ifndef POLYSKETCH_IO_BATCH_LOADER_H
#define POLYSKETCH_IO_BATCH_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/token_file.h"
#include "src/base/error.h"
#include "src/base/sequence_link.h"

typedef struct BatchLoader BatchLoader;

/* `ranges` are the parts of a sequence that this rank holds, N tokens in all; they are delivered one after another. The file
   stays with the caller and must outlive the loader. NULL with a message when the file has fewer than T + 1 tokens. */
BatchLoader *batch_loader_create(TokenFile *file, size_t context_length, const TokenRange *ranges, size_t range_count,
                                 uint64_t seed, Message *problem);
void batch_loader_destroy(BatchLoader *loader);

/* W: windows of an epoch, and of an evaluation over the whole file. */
uint64_t batch_loader_windows(const BatchLoader *loader);

/* This rank's part of training sequences first_sequence .. first_sequence + count - 1. Local, not collective. */
bool batch_loader_training(BatchLoader *loader, uint64_t first_sequence, int64_t count,
                           int32_t *inputs /* (count, N) */, int32_t *targets /* (count, N) */, Message *problem);

/* The same for windows in the order of the file, without a phase: window i starts at token i T; i < W. */
bool batch_loader_sequential(BatchLoader *loader, uint64_t first_window, int64_t count,
                             int32_t *inputs /* (count, N) */, int32_t *targets /* (count, N) */, Message *problem);

#endif
