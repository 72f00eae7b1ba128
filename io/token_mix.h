/* The token files that a run is trained on, each with its share of the sequences: data.train = a.h5:0.7,b.h5:0.3.

   Of every MIX_BLOCK training sequences in a row each file has its quota, at places that are drawn anew for each block. So which
   file a sequence is from, and which of that file's sequences it is, depends on (seed, number) alone, and no sequence of a
   file is left out or comes twice (io/batch_loader.h says what they are). */
#ifndef POLYSKETCH_IO_TOKEN_MIX_H
#define POLYSKETCH_IO_TOKEN_MIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/token_file.h"
#include "src/base/error.h"

enum { MIX_BLOCK = 10000, MIX_MAX_FILES = 100 };

typedef struct TokenMix {
    int count;
    TokenFile *files[MIX_MAX_FILES]; /* (count), of one vocabulary and one tokenizer */
    int quotas[MIX_MAX_FILES];       /* (count): sequences of a block; together MIX_BLOCK */
} TokenMix;

/* Opens FILE or FILE:WEIGHT,FILE:WEIGHT,... Weights are positive numbers of any sum, 1 unless given; quotas are the whole numbers
   next to them. A comma or colon that belongs to a name has a backslash before it, but for a text that is itself the name of a
   file. NULL with a message when a file cannot be opened or is named twice, a weight is no number or too small to matter, or the
   files are of different vocabularies or tokenizers. Local. */
TokenMix *token_mix_open(const char *text, Message *problem);

/* NULL is allowed. */
void token_mix_close(TokenMix *mix);

/* Tokens of all files. */
size_t token_mix_tokens(const TokenMix *mix);

/* Of what token_file_digest() says of all files, of their quotas and, where documents_read() was called, of where documents
   start. A single file has its own digest. */
bool token_mix_digest(TokenMix *mix, uint64_t *digest, Message *problem);

/* Training sequence `number` of the run: the file, and its number among the sequences of that file. */
typedef struct MixPlace {
    int file;
    uint64_t number;
} MixPlace;

MixPlace token_mix_place(const TokenMix *mix, uint64_t seed, uint64_t number);

#endif
