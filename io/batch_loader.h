/* Which tokens a training step or an evaluation uses.

   The tokens of a file are cut into W = floor((tokens - 1) / T) windows of T inputs; the targets are the tokens one
   place further, so a window reads T + 1 tokens. Training sequences are numbered 0, 1, 2, ... over the whole run. An
   epoch is W sequences and uses each window once: in an order drawn anew for each epoch, and with the windows shifted
   by a phase drawn anew, so that the cuts and the tokens left over differ from epoch to epoch.

   Evaluation scores every target of a file exactly once: window i starts at token i * stride; of the first all targets
   count, of each later one the last `stride`, which have at least T - stride tokens before them. The last window may reach
   beyond the file and is filled up with token 0; what stands there is not scored, and no token sees later ones.

   What sequence `number` holds depends on (seed, number) alone: never on the ranks, the batch size or what was read
   before. So nothing of the loader need be saved, and a run continues anywhere. */
#ifndef POLYSKETCH_IO_BATCH_LOADER_H
#define POLYSKETCH_IO_BATCH_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/source.h"
#include "io/token_file.h"
#include "io/token_mix.h"
#include "src/base/error.h"
#include "src/core/sequence_link.h"
#include "src/core/token_batch.h"

typedef struct BatchLoader BatchLoader;

/* `ranges` are the parts of a sequence that this rank holds, N tokens in all; they are delivered one after another. The file
   stays with the caller and must outlive the loader. NULL with a message when the file has fewer than T + 1 tokens. */
BatchLoader *batch_loader_create(TokenFile *file, size_t context_length, const TokenRange *ranges, size_t range_count,
                                 uint64_t seed, Message *problem);
/* Sequences of several files, each from the file, and with the number within it, that token_mix_place() says. */
BatchLoader *batch_loader_create_mixed(const TokenMix *mix, size_t context_length, const TokenRange *ranges,
                                       size_t range_count, uint64_t seed, Message *problem);
/* For evaluation: windows `stride` tokens apart, 1 <= stride <= T. Two tokens are enough. */
BatchLoader *batch_loader_create_evaluation(TokenFile *file, size_t context_length, size_t stride,
                                            const TokenRange *ranges, size_t range_count, Message *problem);
/* Sequences of a made source, without end, in the order of their numbers. NULL with a message when its file will not do. */
BatchLoader *batch_loader_create_made(const DataSource *source, SourceUse use, size_t context_length,
                                      const TokenRange *ranges, size_t range_count, Message *problem);
void batch_loader_destroy(BatchLoader *loader);

/* W: windows of an epoch of a single file; of a loader for evaluation, those of the whole file; of a made source more than
   anybody can count. */
uint64_t batch_loader_windows(const BatchLoader *loader);

/* This rank's part of training sequences first_sequence .. first_sequence + count - 1: the arrays of the batch are (count, N), of
   which document_starts may be given where the file has documents (documents_read()). Local, not collective. */
bool batch_loader_training(BatchLoader *loader, uint64_t first_sequence, int64_t count, const TokenBatch *batch,
                           Message *problem);

/* The same for windows in the order of the file, without a phase: window i starts at token i * stride; i < W. */
bool batch_loader_sequential(BatchLoader *loader, uint64_t first_window, int64_t count, const TokenBatch *batch,
                             Message *problem);

/* Whether the target at `position` of a window counts, unless it is -1 (io/source.h). */
bool batch_loader_scores(const BatchLoader *loader, uint64_t window, size_t position);

#endif
