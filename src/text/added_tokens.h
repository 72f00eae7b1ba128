/* Tokens that stand in a text under their own names, such as <|endoftext|>: they are found before anything else is cut. */
#ifndef POLYSKETCH_TEXT_ADDED_TOKENS_H
#define POLYSKETCH_TEXT_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/text/pieces.h"

typedef struct AddedToken {
    int32_t id;
    bool strip_left, strip_right; /* the white space before it, behind it, belongs to it */
} AddedToken;

/* All zero is an empty set. */
typedef struct AddedTokens {
    Pieces names; /* those of `tokens` */
    size_t name_capacity, end_capacity, token_capacity;
    AddedToken *tokens; /* (names.count) */
    int32_t *order;
    bool begins[256]; /* does a name begin with this byte? */
} AddedTokens;

/* Adds one, before added_tokens_finish(). */
void added_tokens_add(AddedTokens *added, const char *name, size_t length, AddedToken token);
void added_tokens_finish(AddedTokens *added);
void added_tokens_free(AddedTokens *added);

/* Where a token stands in a text. */
typedef struct AddedMatch {
    const AddedToken *token; /* NULL: there is none any more */
    size_t start, end;       /* with the white space that belongs to it */
    size_t next;             /* where to look for the next one */
} AddedMatch;

/* The first name in `text` (valid UTF-8) from byte `from` on, of several there the longest. White space before byte `taken` is
   taken already. */
AddedMatch added_tokens_find(const AddedTokens *added, const uint8_t *text, size_t length, size_t from, size_t taken);

#endif
