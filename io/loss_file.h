/* Losses per token of an evaluation (docs/format.md): /per_token_loss (sequences, T) float32, written by all ranks, each
   its own windows and its own segment of them. */
#ifndef POLYSKETCH_IO_LOSS_FILE_H
#define POLYSKETCH_IO_LOSS_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/error.h"
#include "src/base/real.h"
#include "src/core/sequence_link.h"

typedef struct LossFile LossFile;

/* Collective over all ranks. NULL with the same message on every rank when the file cannot be written. The file grows under
   a temporary name. */
LossFile *loss_file_create(const char *path, size_t sequences, size_t context_length, Message *problem);

/* losses (count, range.count) of sequences first .. first + count - 1. Not collective. */
void loss_file_write(LossFile *file, size_t first, size_t count, TokenRange range, const real *losses);

/* Gives the file its name, and frees. Collective; false with the same message on every rank, and no file is left. */
bool loss_file_finish(LossFile *file, Message *problem);

/* Removes what was written, and frees. Collective. */
void loss_file_abandon(LossFile *file);

#endif
