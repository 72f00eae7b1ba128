#define _GNU_SOURCE /* qsort_r */
#include "io/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"

static const char bytes_with_end[] = "bytes+end";

Tokenizer tokenizer_bytes(void)
{
    Tokenizer tokenizer = {.name = "bytes", .vocab_size = 256};
    tokenizer.bytes = checked_calloc(256, sizeof *tokenizer.bytes);
    tokenizer.ends = checked_calloc(256, sizeof *tokenizer.ends);
    for (size_t i = 0; i < 256; i++) {
        tokenizer.bytes[i] = (uint8_t)i;
        tokenizer.ends[i] = i + 1;
    }
    return tokenizer;
}

Tokenizer tokenizer_bytes_with_end(void)
{
    Tokenizer tokenizer = tokenizer_bytes();
    strcpy(tokenizer.name, bytes_with_end);
    tokenizer.ends = realloc(tokenizer.ends, 257 * sizeof *tokenizer.ends);
    CHECK(tokenizer.ends, "cannot allocate a vocabulary of 257 tokens");
    tokenizer.ends[tokenizer.vocab_size++] = 256;
    return tokenizer;
}

bool tokenizer_has_pieces(const Tokenizer *tokenizer) { return tokenizer->ends != NULL; }

const uint8_t *tokenizer_piece(const Tokenizer *tokenizer, int64_t id, size_t *length)
{
    ASSERT(id >= 0 && id < tokenizer->vocab_size);
    *length = 0;
    if (!tokenizer_has_pieces(tokenizer)) return NULL;
    uint64_t start = id > 0 ? tokenizer->ends[id - 1] : 0;
    *length = tokenizer->ends[id] - start;
    return tokenizer->bytes + start;
}

const char *const tokenizer_end_names[TOKENIZER_END_NAMES] = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"};

static bool names_an_end(const uint8_t *piece, size_t length)
{
    for (int i = 0; i < TOKENIZER_END_NAMES; i++)
        if (length == strlen(tokenizer_end_names[i]) && memcmp(piece, tokenizer_end_names[i], length) == 0) return true;
    return false;
}

int64_t tokenizer_find_end(const Tokenizer *tokenizer, int *found)
{
    int64_t end = -1;
    *found = 0;
    for (int64_t id = 0; id < tokenizer->vocab_size && tokenizer_has_pieces(tokenizer); id++) {
        size_t length;
        const uint8_t *piece = tokenizer_piece(tokenizer, id, &length);
        bool last_of_bytes = id == 256 && strcmp(tokenizer->name, bytes_with_end) == 0;
        if (!last_of_bytes && !names_an_end(piece, length)) continue;
        end = id;
        ++*found;
    }
    return *found == 1 ? end : -1;
}

bool tokenizer_same(const Tokenizer *a, const Tokenizer *b)
{
    if (strcmp(a->name, b->name) != 0) return false;
    if (!tokenizer_has_pieces(a) || !tokenizer_has_pieces(b)) return true;
    size_t count = (size_t)a->vocab_size;
    if (a->vocab_size != b->vocab_size || memcmp(a->ends, b->ends, count * sizeof *a->ends) != 0) return false;
    return count == 0 || memcmp(a->bytes, b->bytes, a->ends[count - 1]) == 0;
}

void tokenizer_destroy(Tokenizer *tokenizer)
{
    free(tokenizer->bytes);
    free(tokenizer->ends);
    free(tokenizer->order);
    *tokenizer = (Tokenizer){0};
}

/* ---- the longest piece that fits ----

   The tokens sorted by their pieces. Those that start with the same bytes lie together, the shortest first, so a search
   narrows a range of this order byte by byte and remembers the last piece that ended there. */

/* By bytes, then by length, then the greater number first. */
static int compare_pieces(const void *a, const void *b, void *tokenizer)
{
    int32_t id_a = *(const int32_t *)a, id_b = *(const int32_t *)b;
    size_t length_a, length_b;
    const uint8_t *piece_a = tokenizer_piece(tokenizer, id_a, &length_a);
    const uint8_t *piece_b = tokenizer_piece(tokenizer, id_b, &length_b);
    int order = memcmp(piece_a, piece_b, length_a < length_b ? length_a : length_b);
    if (order) return order;
    if (length_a != length_b) return length_a < length_b ? -1 : 1;
    return (id_a < id_b) - (id_a > id_b);
}

static int32_t *sorted_ids(const Tokenizer *tokenizer)
{
    int32_t *ids = checked_calloc((size_t)tokenizer->vocab_size, sizeof *ids);
    for (int64_t i = 0; i < tokenizer->vocab_size; i++) ids[i] = (int32_t)i;
    qsort_r(ids, (size_t)tokenizer->vocab_size, sizeof *ids, compare_pieces, (void *)tokenizer);
    return ids;
}

/* The first place in low .. high - 1 whose piece has a byte >= `byte` at `position`; a piece that ended before counts
   as having a smaller one. All of them agree in the bytes before. */
static int64_t first_at_least(const Tokenizer *tokenizer, const int32_t *order, int64_t low, int64_t high,
                              size_t position, int byte)
{
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        size_t length;
        const uint8_t *piece = tokenizer_piece(tokenizer, order[middle], &length);
        if (length > position && piece[position] >= byte)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The token whose piece is the longest start of `text`, -1 when there is none; its length into *length. */
static int32_t longest_match(const Tokenizer *tokenizer, const int32_t *order, const uint8_t *text, size_t available,
                             size_t *length)
{
    int32_t best = -1;
    int64_t low = 0, high = tokenizer->vocab_size;
    for (size_t position = 0; position < available; position++) {
        low = first_at_least(tokenizer, order, low, high, position, text[position]);
        high = first_at_least(tokenizer, order, low, high, position, text[position] + 1);
        if (low == high) break;
        size_t shortest;
        tokenizer_piece(tokenizer, order[low], &shortest);
        if (shortest != position + 1) continue;
        best = order[low];
        *length = shortest;
    }
    return best;
}

bool tokenizer_encode(Tokenizer *tokenizer, const char *text, size_t length, int32_t *ids, size_t *count,
                      Message *problem)
{
    *count = 0;
    if (!tokenizer_has_pieces(tokenizer))
        return fail(problem,
                    "tokenizer '%s' has no table of pieces, so text cannot be turned into tokens. Prepare the data "
                    "with --pieces, or give token numbers",
                    tokenizer->name);
    if (!tokenizer->order) tokenizer->order = sorted_ids(tokenizer);
    const uint8_t *bytes = (const uint8_t *)text;
    size_t start = 0;
    while (start < length) {
        size_t taken = 0;
        int32_t id = longest_match(tokenizer, tokenizer->order, bytes + start, length - start, &taken);
        if (id < 0) break;
        ids[(*count)++] = id;
        start += taken;
    }
    return start == length || fail(problem,
                                   "no token of tokenizer '%s' fits the text at byte %zu (value 0x%02x). Leave this "
                                   "character out",
                                   tokenizer->name, start, bytes[start]);
}
