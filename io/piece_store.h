/* A tokenizer in an HDF5 group, as token files and checkpoints have it: `bytes` (uint8, all pieces end to end) and `ends`
   (uint64, one per token); with the file of its own program also that, `file` (uint8), and the attribute `file_name`, which
   says its form. Plain numbers, not HDF5's variable-length elements, which the library cannot read safely from a damaged file. */
#ifndef POLYSKETCH_IO_PIECE_STORE_H
#define POLYSKETCH_IO_PIECE_STORE_H

#include <hdf5.h>

#include "io/tokenizer.h"
#include "src/base/error.h"

/* The datasets of a tokenizer. */
typedef struct PieceRow {
    const char *name;
    hid_t type;
    hsize_t count;
    const void *values; /* (count), the tokenizer's */
} PieceRow;

enum { MOST_PIECE_ROWS = 3 };

/* How many there are: none for one without pieces. */
int piece_store_rows(const Tokenizer *tokenizer, PieceRow rows[MOST_PIECE_ROWS]);

/* The attribute. */
void piece_store_write_form(hid_t group, const Tokenizer *tokenizer);

/* All of it, for a tokenizer that has pieces, with digests. By one process; false when the disk does not take it. */
bool piece_store_write(hid_t group, const Tokenizer *tokenizer);

/* Into `tokenizer`, which the caller destroys whatever the outcome. False with a message that names `path` when something is
   damaged or does not agree with its digest. */
bool piece_store_read(hid_t group, const char *path, Tokenizer *tokenizer, Message *problem);

#endif
