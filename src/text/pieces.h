/* The bytes of each token of a vocabulary, and the longest of them that begins a text. */
#ifndef POLYSKETCH_TEXT_PIECES_H
#define POLYSKETCH_TEXT_PIECES_H

#include <stddef.h>
#include <stdint.h>

typedef struct Pieces {
    uint8_t *bytes; /* all pieces end to end */
    uint64_t *ends; /* (count): piece i is bytes[ends[i-1] .. ends[i]), piece 0 starts at 0 */
    int64_t count;
} Pieces;

/* Piece `id` of 0 .. count - 1; not zero-terminated, owned by the pieces. */
const uint8_t *pieces_get(const Pieces *pieces, int64_t id, size_t *length);

/* The next piece, whose bytes are copied. `ends` has room for it; *capacity is the room of `bytes`, 0 to begin with. */
void pieces_append(Pieces *pieces, const void *bytes, size_t length, size_t *capacity);

/* Frees what they own; all zero is allowed. */
void pieces_free(Pieces *pieces);

/* The numbers of the pieces in the order in which pieces_longest() searches; the caller frees it. */
int32_t *pieces_sort(const Pieces *pieces);

/* The piece that is the longest start of `text`, its length into *length; of equal pieces the one with the greatest number. -1
   when there is none; one without bytes is never found. */
int32_t pieces_longest(const Pieces *pieces, const int32_t *order, const uint8_t *text, size_t available,
                       size_t *length);

#endif
