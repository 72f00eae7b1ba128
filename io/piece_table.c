#include "io/piece_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the line before its TAB and score; false when it has none. */
static bool cut_score(char *line, size_t *length)
{
    char *tab = strrchr(line, '\t'), *end;
    if (!tab) return false;
    strtod(tab + 1, &end);
    if (end == tab + 1 || *end) return false;
    *tab = 0;
    *length = (size_t)(tab - line);
    return true;
}

/* Replaces every U+2581, in UTF-8 the bytes E2 96 81, by a space; returns the new length. */
static size_t unescape_spaces(char *piece, size_t length)
{
    size_t out = 0;
    for (size_t in = 0; in < length; out++) {
        bool space = length - in >= 3 && memcmp(piece + in, "\xe2\x96\x81", 3) == 0;
        piece[out] = space ? ' ' : piece[in];
        in += space ? 3 : 1;
    }
    return out;
}

static size_t unescape_byte(char *piece, size_t length)
{
    unsigned byte;
    int used = 0;
    if (length != 6 || sscanf(piece, "<0x%2X>%n", &byte, &used) != 1 || used != 6) return length;
    piece[0] = (char)byte;
    return 1;
}

static void add_piece(Tokenizer *tokenizer, const char *piece, size_t length, size_t *capacity)
{
    size_t id = (size_t)tokenizer->vocab_size, start = id > 0 ? tokenizer->ends[id - 1] : 0;
    if (start + length > *capacity || (id & (id + 1)) == 0) { /* the second: id + 1 is a power of two */
        *capacity = 2 * (start + length) + 64;
        tokenizer->bytes = realloc(tokenizer->bytes, *capacity);
        tokenizer->ends = realloc(tokenizer->ends, (2 * id + 2) * sizeof *tokenizer->ends);
        CHECK(tokenizer->bytes && tokenizer->ends, "cannot allocate a table of %zu pieces", id);
    }
    memcpy(tokenizer->bytes + start, piece, length);
    tokenizer->ends[id] = start + length;
    tokenizer->vocab_size++;
}

bool piece_table_read(const char *path, Tokenizer *tokenizer, Message *problem)
{
    FILE *file = fopen(path, "r");
    if (!file) return fail(problem, "cannot open the table of pieces '%s': %s. Check --pieces", path, strerror(errno));
    const char *slash = strrchr(path, '/');
    *tokenizer = (Tokenizer){0};
    snprintf(tokenizer->name, sizeof tokenizer->name, "%s", slash ? slash + 1 : path);
    char *line = NULL;
    size_t room = 0, capacity = 0;
    bool scored = false, good = true;
    for (ssize_t read; good && (read = getline(&line, &room, file)) >= 0;) {
        size_t length = (size_t)read;
        if (length > 0 && line[length - 1] == '\n') line[--length] = 0;
        bool has_score = (tokenizer->vocab_size == 0 || scored) && cut_score(line, &length);
        if (tokenizer->vocab_size == 0) scored = has_score;
        if (scored && !has_score)
            good = fail(problem, "'%s':%lld: no TAB and score, as the first line has them. Make the table again", path,
                        (long long)tokenizer->vocab_size + 1);
        if (scored) length = unescape_spaces(line, length);
        length = unescape_byte(line, length);
        add_piece(tokenizer, line, length, &capacity);
    }
    free(line);
    fclose(file);
    if (good && tokenizer->vocab_size < 2)
        good = fail(problem, "'%s' has %lld pieces, but a vocabulary has at least 2. Check --pieces", path,
                    (long long)tokenizer->vocab_size);
    if (!good) tokenizer_destroy(tokenizer);
    return good;
}
