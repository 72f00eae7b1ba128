/* The recurrent state of a text so far (docs/format.md, section 10): the parts of every layer as named arrays of float32,
   each with its digest. What they mean the model knows; this file knows names and shapes. */
#ifndef POLYSKETCH_IO_STATE_FILE_H
#define POLYSKETCH_IO_STATE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/digest.h"
#include "src/base/error.h"
#include "src/core/tensor_shape.h"

typedef struct StateInfo {
    int64_t position;             /* tokens so far */
    char model[DIGEST_TEXT_SIZE]; /* digest of what the model has learned: the state of another one means nothing */
} StateInfo;

/* The memory is the caller's. */
typedef struct StateArray {
    char group[32];   /* "layers.0"; "" for the file itself. Arrays of one group stand together */
    const char *name; /* outlives it */
    TensorShape shape;
    real *values; /* (shape) */
} StateArray;

/* `arrays` are those of rank 0, the others give none. Collective over all ranks; false with the same message on every rank
   when the file cannot be written or would replace one of another sort. It has its name when all of it is on disk. */
bool state_file_write(const char *path, const StateInfo *info, const StateArray *arrays, size_t count,
                      Message *problem);

/* Both on the calling rank alone. The second fills the values; false with a message when an array is missing, has another
   shape or another digest than was written. */
bool state_file_read_info(const char *path, StateInfo *info, Message *problem);
bool state_file_read(const char *path, const StateArray *arrays, size_t count, Message *problem);

#endif
