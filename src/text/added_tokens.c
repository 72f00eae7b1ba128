#include "src/text/added_tokens.h"

#include <stdlib.h>

#include "src/base/memory.h"
#include "src/base/utf8.h"

void added_tokens_add(AddedTokens *added, const char *name, size_t length, AddedToken token)
{
    size_t count = (size_t)added->names.count;
    if (length == 0) return; /* is in every place and in none */
    added->names.ends = checked_grow(added->names.ends, count, &added->end_capacity, sizeof *added->names.ends);
    added->tokens = checked_grow(added->tokens, count, &added->token_capacity, sizeof *added->tokens);
    added->tokens[count] = token;
    pieces_append(&added->names, name, length, &added->name_capacity);
    added->begins[(uint8_t)name[0]] = true;
}

void added_tokens_finish(AddedTokens *added) { added->order = pieces_sort(&added->names); }

void added_tokens_free(AddedTokens *added)
{
    pieces_free(&added->names);
    free(added->tokens);
    free(added->order);
}

/* The property White_Space of Unicode. */
static bool is_space(uint32_t character)
{
    return (character >= 0x09 && character <= 0x0D) || character == 0x20 || character == 0x85 || character == 0xA0 ||
           character == 0x1680 || (character >= 0x2000 && character <= 0x200A) || character == 0x2028 ||
           character == 0x2029 || character == 0x202F || character == 0x205F || character == 0x3000;
}

static size_t space_before(const uint8_t *text, size_t place, size_t taken)
{
    size_t length;
    for (size_t start = place; start > taken; place = start) {
        do start--;
        while (start > taken && (text[start] & 0xC0) == 0x80);
        if (!is_space(utf8_decode(text + start, &length))) break;
    }
    return place;
}

static size_t space_behind(const uint8_t *text, size_t place, size_t end)
{
    for (size_t length; place < end && is_space(utf8_decode(text + place, &length));) place += length;
    return place;
}

AddedMatch added_tokens_find(const AddedTokens *added, const uint8_t *text, size_t length, size_t from, size_t taken)
{
    for (size_t start = from; start < length && added->names.count > 0; start++) {
        size_t bytes;
        if (!added->begins[text[start]]) continue;
        int32_t name = pieces_longest(&added->names, added->order, text + start, length - start, &bytes);
        if (name < 0) continue;
        const AddedToken *token = &added->tokens[name];
        size_t end = start + bytes;
        return (AddedMatch){token, token->strip_left ? space_before(text, start, taken) : start,
                            token->strip_right ? space_behind(text, end, length) : end, end};
    }
    return (AddedMatch){NULL, length, length, length};
}
