/* The pieces of a tokenizer in an HDF5 group, as token files and checkpoints have them: `bytes` (uint8, all pieces end
   to end) and `ends` (uint64, one per token). Plain numbers, not HDF5's variable-length elements, which the library
   cannot read safely from a damaged file. */
#ifndef POLYSKETCH_IO_PIECE_STORE_H
#define POLYSKETCH_IO_PIECE_STORE_H

#include <hdf5.h>

#include "io/tokenizer.h"
#include "src/base/error.h"

/* The pieces of a tokenizer that has them, with digests. By one process; false when the disk does not take them. */
bool piece_store_write(hid_t group, const Tokenizer *tokenizer);

/* Into `tokenizer`, which the caller destroys whatever the outcome. False with a message that names `path` when they
   are damaged or do not agree with their digests. */
bool piece_store_read(hid_t group, const char *path, Tokenizer *tokenizer, Message *problem);

#endif
