/* The bytes that each token stands for.

   A token is a number below vocab_size; its piece is the string of bytes it adds to a text. With pieces, text can be
   turned into tokens and back; a token file may come without, and then a model trains on bare numbers. With the file of the
   program that it was made by, texts are cut as that program cuts them. */
#ifndef POLYSKETCH_IO_TOKENIZER_H
#define POLYSKETCH_IO_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"
#include "src/text/cutter.h"

/* The file of a tokenizer's own program, as it was. */
typedef struct TokenizerFile {
    const CutterKind *kind; /* NULL: there is none */
    uint8_t *bytes;
    size_t count;
} TokenizerFile;

typedef struct Tokenizer {
    char name[64];
    int64_t vocab_size;
    uint8_t *bytes;
    uint64_t *ends; /* (vocab_size): piece i is bytes[ends[i-1] .. ends[i]), piece 0 starts at 0; NULL when unknown */
    TokenizerFile file;
    /* made by the first tokenizer_encode(): */
    int32_t *order; /* (vocab_size): tokens sorted by their pieces; without a file */
    Cutter *cutter; /* of the file */
    CutterWorker *worker;
} Tokenizer;

/* The 256 bytes themselves, name "bytes". */
Tokenizer tokenizer_bytes(void);

/* And token 256, without text, which ends documents; name "bytes+end". */
Tokenizer tokenizer_bytes_with_end(void);

bool tokenizer_has_pieces(const Tokenizer *tokenizer);

/* The piece of token `id`, which must be in 0 .. vocab_size - 1; not zero-terminated, owned by the tokenizer. NULL and
   length 0 without pieces. */
const uint8_t *tokenizer_piece(const Tokenizer *tokenizer, int64_t id, size_t *length);

/* From the file of another program, a tokenizer.json or the .model of SentencePiece (src/text). It is named after the file, or
   after its folder where many have that name. `remark`: "" when there is nothing to say. False with a message; the caller
   destroys it whatever the outcome. */
bool tokenizer_read(const char *path, Tokenizer *tokenizer, Message *remark, Message *problem);

/* What cuts texts with its file; the tokenizer keeps it. NULL with a message. */
const Cutter *tokenizer_cutter(Tokenizer *tokenizer, Message *problem);

/* Replaces what is in `tokens` by the tokens of a text. The caller frees the list. By one thread at a time.

   With a file the text is cut as its program does it, special tokens that stand in it under their names included, and none put
   before or behind it. Without, at each place the longest piece that fits is taken; of equal pieces the one with the greatest
   number, because SentencePiece tables list the bytes of last resort first. For tokenizer "bytes" this is the identity. Other
   tokenizers may cut a text differently, so it is meant for prompts. False when no piece fits, or when there are no pieces. */
bool tokenizer_encode(Tokenizer *tokenizer, const char *text, size_t length, TokenList *tokens, Message *problem);

/* The token that ends documents: the one whose piece is a usual name for that, or the last of "bytes+end". -1 when there is
   none, or more than one; *found says how many. */
enum { TOKENIZER_END_NAMES = 4 };
extern const char *const tokenizer_end_names[TOKENIZER_END_NAMES];
int64_t tokenizer_find_end(const Tokenizer *tokenizer, int *found);

/* Can one stand for the other? Where both have files these cut all texts alike; where one has, the pieces are equal; else the
   names are, and the pieces where both have them. */
bool tokenizer_same(const Tokenizer *a, const Tokenizer *b);

/* "'gpt2' (tokenizer.json, xxh3 0123456789abcdef)", for messages and reports. */
enum { TOKENIZER_TEXT_SIZE = 160 };
const char *tokenizer_describe(const Tokenizer *tokenizer, char text[TOKENIZER_TEXT_SIZE]);

/* Frees what the tokenizer owns; all zero is allowed. */
void tokenizer_destroy(Tokenizer *tokenizer);

#endif
