/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef POLYSKETCH_BASE_UTF8_H
#define POLYSKETCH_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at `text`, of which `available` > 0 are there; 0 when none begins here. */
size_t utf8_length(const uint8_t *text, size_t available);

/* Where the first byte stands that is not part of a character; `length` when there is none. */
size_t utf8_first_error(const uint8_t *text, size_t length);

/* The code point of the character at `text`, which is valid; its bytes into *length. */
uint32_t utf8_decode(const uint8_t *text, size_t *length);

/* Writes a character below U+0800 and returns its bytes. */
size_t utf8_encode_short(uint32_t character, char text[2]);

#endif
