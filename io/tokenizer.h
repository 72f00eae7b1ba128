/* The bytes that each token stands for.

   A token is a number below vocab_size; its piece is the string of bytes it adds to a text. With pieces, text can be
   turned into tokens and back; a token file may come without, and then a model trains on bare numbers. */
#ifndef POLYSKETCH_IO_TOKENIZER_H
#define POLYSKETCH_IO_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"

typedef struct Tokenizer {
    char name[64];
    int64_t vocab_size;
    uint8_t *bytes;
    uint64_t *ends; /* (vocab_size): piece i is bytes[ends[i-1] .. ends[i]), piece 0 starts at 0; NULL when unknown */
    int32_t *order; /* (vocab_size): tokens sorted by their pieces, made by the first tokenizer_encode() */
} Tokenizer;

/* The 256 bytes themselves, name "bytes". */
Tokenizer tokenizer_bytes(void);

/* And token 256, without text, which ends documents; name "bytes+end". */
Tokenizer tokenizer_bytes_with_end(void);

bool tokenizer_has_pieces(const Tokenizer *tokenizer);

/* The piece of token `id`, which must be in 0 .. vocab_size - 1; not zero-terminated, owned by the tokenizer. NULL and
   length 0 without pieces. */
const uint8_t *tokenizer_piece(const Tokenizer *tokenizer, int64_t id, size_t *length);

/* Turns text into tokens; `ids` has room for `length` of them, *count says how many there are.

   At each place the longest piece that fits is taken; of equal pieces the one with the greatest number, because
   SentencePiece tables list the bytes of last resort first. For tokenizer "bytes" this is the identity. Other
   tokenizers (byte pair encoding, unigram) may cut a text differently, so this is meant for prompts; prepare training
   data with the tokenizer's own program. False when no piece fits, or when there are no pieces. */
bool tokenizer_encode(Tokenizer *tokenizer, const char *text, size_t length, int32_t *ids, size_t *count,
                      Message *problem);

/* The token that ends documents: the one whose piece is a usual name for that, or the last of "bytes+end". -1 when there is
   none, or more than one; *found says how many. */
enum { TOKENIZER_END_NAMES = 4 };
extern const char *const tokenizer_end_names[TOKENIZER_END_NAMES];
int64_t tokenizer_find_end(const Tokenizer *tokenizer, int *found);

/* Can one stand for the other? The names are equal, and so are the pieces where both have them. */
bool tokenizer_same(const Tokenizer *a, const Tokenizer *b);

/* Frees what the tokenizer owns; all zero is allowed. */
void tokenizer_destroy(Tokenizer *tokenizer);

#endif
