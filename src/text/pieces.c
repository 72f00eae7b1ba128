#define _GNU_SOURCE /* qsort_r */
#include "src/text/pieces.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"

const uint8_t *pieces_get(const Pieces *pieces, int64_t id, size_t *length)
{
    uint64_t start = id > 0 ? pieces->ends[id - 1] : 0;
    *length = pieces->ends[id] - start;
    return pieces->bytes + start;
}

void pieces_append(Pieces *pieces, const void *bytes, size_t length, size_t *capacity)
{
    size_t used = pieces->count > 0 ? pieces->ends[pieces->count - 1] : 0;
    pieces->bytes = checked_room(pieces->bytes, used + length + 1, capacity, 1);
    if (length > 0) memcpy(pieces->bytes + used, bytes, length);
    pieces->ends[pieces->count++] = used + length;
}

void pieces_free(Pieces *pieces)
{
    free(pieces->bytes);
    free(pieces->ends);
    *pieces = (Pieces){0};
}

/* ---- the longest piece that fits ----

   The tokens sorted by their pieces. Those that start with the same bytes lie together, the shortest first, so a search
   narrows a range of this order byte by byte and remembers the last piece that ended there. */

/* By bytes, then by length, then the greater number first. */
static int compare_pieces(const void *a, const void *b, void *pieces)
{
    int32_t id_a = *(const int32_t *)a, id_b = *(const int32_t *)b;
    size_t length_a, length_b;
    const uint8_t *piece_a = pieces_get(pieces, id_a, &length_a);
    const uint8_t *piece_b = pieces_get(pieces, id_b, &length_b);
    int order = memcmp(piece_a, piece_b, length_a < length_b ? length_a : length_b);
    if (order) return order;
    if (length_a != length_b) return length_a < length_b ? -1 : 1;
    return (id_a < id_b) - (id_a > id_b);
}

int32_t *pieces_sort(const Pieces *pieces)
{
    int32_t *ids = checked_calloc((size_t)pieces->count, sizeof *ids);
    for (int64_t i = 0; i < pieces->count; i++) ids[i] = (int32_t)i;
    qsort_r(ids, (size_t)pieces->count, sizeof *ids, compare_pieces, (void *)pieces);
    return ids;
}

/* The first place in low .. high - 1 whose piece has a byte >= `byte` at `position`; a piece that ended before counts
   as having a smaller one. All of them agree in the bytes before. */
static int64_t first_at_least(const Pieces *pieces, const int32_t *order, int64_t low, int64_t high, size_t position,
                              int byte)
{
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        size_t length;
        const uint8_t *piece = pieces_get(pieces, order[middle], &length);
        if (length > position && piece[position] >= byte)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

int32_t pieces_longest(const Pieces *pieces, const int32_t *order, const uint8_t *text, size_t available,
                       size_t *length)
{
    int32_t best = -1;
    int64_t low = 0, high = pieces->count;
    for (size_t position = 0; position < available; position++) {
        low = first_at_least(pieces, order, low, high, position, text[position]);
        high = first_at_least(pieces, order, low, high, position, text[position] + 1);
        if (low == high) break;
        size_t shortest;
        pieces_get(pieces, order[low], &shortest);
        if (shortest != position + 1) continue;
        best = order[low];
        *length = shortest;
    }
    return best;
}
