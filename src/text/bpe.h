/* Byte pair encoding (Sennrich, Haddow, Birch 2016): a word is the tokens of its bytes; then neighbours are merged, the pair of
   the lowest rank first, of equal ones the leftmost, until no pair has a rank. Time n log n for a word of n bytes; words that
   come again are kept. The order of merges is that of Hugging Face's tokenizers, also where a merge leads nowhere else. */
#ifndef POLYSKETCH_TEXT_BPE_H
#define POLYSKETCH_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"
#include "src/text/pieces.h"
#include "src/text/token_list.h"

/* Two tokens that become one; the rank is the place in the list. */
typedef struct BpeMerge {
    int32_t left, right, merged;
} BpeMerge;

typedef struct BpeSettings {
    int32_t byte_ids[256]; /* the token of each byte; -1: none */
    int32_t unknown;       /* the token of a byte without one; -1: such a byte is refused */
    bool fuse_unknown;     /* one for a row of them */
    bool whole_words;      /* a word that is a piece is that token, whatever merges say (`ignore_merges`) */
} BpeSettings;

typedef struct Bpe Bpe;

/* Of a pair that is listed twice the later place counts. `words`: the pieces that settings->whole_words is about, which live as
   long as the rules; NULL without. */
Bpe *bpe_create(const BpeSettings *settings, const BpeMerge *merges, size_t count, const Pieces *words);
void bpe_destroy(Bpe *bpe); /* NULL allowed */

/* Of what one thread needs to apply the rules, which outlive it. */
typedef struct BpeWorker BpeWorker;
BpeWorker *bpe_worker_create(const Bpe *bpe);
void bpe_worker_destroy(BpeWorker *worker);

/* Appends the tokens of a word of `length` > 0 bytes. False when a byte has no token, or the word 2 GB. */
bool bpe_encode(BpeWorker *worker, const uint8_t *word, size_t length, TokenList *tokens, Message *problem);

#endif
