/* The alphabet of byte-level tokenizers since GPT-2: a printable character for each byte, so that a table of pieces is a text.
   Printable bytes of Latin-1 stand for themselves, the 68 others, in their order, for U+0100 and what follows: a space is
   U+0120. */
#ifndef POLYSKETCH_TEXT_BYTE_ALPHABET_H
#define POLYSKETCH_TEXT_BYTE_ALPHABET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes that a text in this alphabet stands for; `bytes` has room for `length`. False when it has another character. */
bool byte_alphabet_decode(const char *text, size_t length, uint8_t *bytes, size_t *count);

#endif
