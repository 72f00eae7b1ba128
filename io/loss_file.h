/* Losses per token of an evaluation (docs/format.md): /per_token_loss (sequences, T) float32, written by all ranks, each
   its own windows and its own segment of them; and, where wanted, the tokens that they belong to. */
#ifndef POLYSKETCH_IO_LOSS_FILE_H
#define POLYSKETCH_IO_LOSS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"
#include "src/base/real.h"
#include "src/core/sequence_link.h"

typedef struct LossFile LossFile;

/* `with_tokens`: /inputs and /targets (sequences, T) int32 too. Collective over all ranks. NULL with the same message on every
   rank when the file cannot be written, or when there is a file of another sort. The file grows under a temporary name. */
LossFile *loss_file_create(const char *path, size_t sequences, size_t context_length, bool with_tokens,
                           Message *problem);

/* losses, inputs, targets (range.count) of a part of a sequence; the tokens are written where the file has room for them. Not
   collective. */
void loss_file_write(LossFile *file, size_t sequence, TokenRange range, const real *losses, const int32_t *inputs,
                     const int32_t *targets);

/* Gives the file its name, and frees. Collective; false with the same message on every rank, and no file is left. */
bool loss_file_finish(LossFile *file, Message *problem);

/* Removes what was written, and frees. Collective. */
void loss_file_abandon(LossFile *file);

#endif
