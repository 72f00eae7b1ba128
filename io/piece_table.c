#define _GNU_SOURCE /* memrchr */
#include "io/piece_table.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/disk.h"
#include "src/base/memory.h"

enum { MOST_PIECES = 1 << 24 }; /* as token files have them */

typedef struct TableReader {
    const char *path;
    char *text; /* of the whole file, with a zero behind it */
    size_t length, place;
    size_t line;     /* the number of the one under way, from 1 */
    bool carriage;   /* lines end with CR LF */
    bool scored;     /* the first line has a TAB and a score */
    size_t newlines; /* empty lines before this one, which are part of its piece */
    size_t foreign;  /* plain pieces that begin with the sign of another tool for a space */
    size_t id_capacity, byte_capacity;
    Tokenizer *tokenizer;
    Message *problem;
} TableReader;

/* ---- lines ---- */

static bool fail_at(const TableReader *reader, const char *cause)
{
    return fail(reader->problem, "'%s':%zu: %s", reader->path, reader->line, cause);
}

/* The next line without its end; false at the end of the text, or when its end is not like the others. */
static bool next_line(TableReader *reader, char **line, size_t *length)
{
    if (reader->place == reader->length) return false;
    *line = reader->text + reader->place;
    char *newline = memchr(*line, '\n', reader->length - reader->place);
    *length = newline ? (size_t)(newline - *line) : reader->length - reader->place;
    reader->place += *length + (newline != NULL);
    reader->line++;
    bool carriage = *length > 0 && (*line)[*length - 1] == '\r';
    if (reader->line == 1) reader->carriage = carriage;
    if (carriage && reader->carriage) --*length;
    if (carriage == reader->carriage || !newline) return true;
    return fail_at(reader,
                   "this line and the first end differently, with CR LF and with LF. Make all ends equal (dos2unix); a "
                   "piece that is a carriage return is written <0x0D>");
}

/* Ends the line before its TAB and score; false when it has none. */
static bool cut_score(const char *line, size_t *length)
{
    const char *tab = memrchr(line, '\t', *length);
    char score[64], *end;
    size_t score_length = tab ? *length - (size_t)(tab + 1 - line) : 0;
    if (score_length == 0 || score_length >= sizeof score) return false;
    memcpy(score, tab + 1, score_length);
    score[score_length] = 0;
    strtod(score, &end);
    if (*end) return false;
    *length = (size_t)(tab - line);
    return true;
}

/* ---- pieces ---- */

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
    if (length == 4 && memcmp(piece, "<0x>", 4) == 0) return 0;
    bool escaped = length == 6 && memcmp(piece, "<0x", 3) == 0 && isxdigit((unsigned char)piece[3]) &&
                   isxdigit((unsigned char)piece[4]) && piece[5] == '>';
    if (!escaped) return length;
    piece[0] = (char)strtol((char[]){piece[3], piece[4], 0}, NULL, 16);
    return 1;
}

static void add_bytes(TableReader *reader, size_t *end, const char *bytes, size_t count)
{
    Tokenizer *tokenizer = reader->tokenizer;
    while (*end + count > reader->byte_capacity)
        tokenizer->bytes = checked_grow(tokenizer->bytes, reader->byte_capacity, &reader->byte_capacity, 1);
    if (count > 0) memcpy(tokenizer->bytes + *end, bytes, count);
    *end += count;
}

static void add_piece(TableReader *reader, const char *piece, size_t length)
{
    Tokenizer *tokenizer = reader->tokenizer;
    size_t id = (size_t)tokenizer->vocab_size, end = id > 0 ? tokenizer->ends[id - 1] : 0;
    for (; reader->newlines > 0; reader->newlines--) add_bytes(reader, &end, "\n", 1);
    add_bytes(reader, &end, piece, length);
    tokenizer->ends = checked_grow(tokenizer->ends, id, &reader->id_capacity, sizeof *tokenizer->ends);
    tokenizer->ends[id] = end;
    tokenizer->vocab_size++;
}

static bool begins_with(const char *piece, size_t length, const char *start)
{
    return length >= strlen(start) && memcmp(piece, start, strlen(start)) == 0;
}

static bool add_line(TableReader *reader, char *line, size_t length)
{
    if (reader->tokenizer->vocab_size == MOST_PIECES)
        return fail_at(reader, "more than 2^24 pieces. Is it a table of pieces?");
    if (!reader->scored) {
        if (reader->newlines > 0) {
            reader->line--;
            return fail_at(reader,
                           "an empty line. Write a piece that is a newline as <0x0A>, a piece without text as <0x>");
        }
        /* of SentencePiece, and of the bytes of GPT-2 */
        reader->foreign += begins_with(line, length, "\xe2\x96\x81") || begins_with(line, length, "\xc4\xa0");
    } else {
        if (!cut_score(line, &length))
            return fail_at(reader, "no TAB and score, as the first line has them. Make the table again");
        if (reader->newlines > 0 && length > 0) {
            reader->line--;
            return fail_at(reader, "an empty line, and no piece of newlines alone. Make the table again");
        }
        length = unescape_spaces(line, length);
    }
    add_piece(reader, line, unescape_byte(line, length));
    return true;
}

/* ---- the file ---- */

static bool read_text(TableReader *reader)
{
    Message cause;
    reader->text = disk_read_all(reader->path, SIZE_MAX, &reader->length, &cause);
    return reader->text || fail(reader->problem, "cannot read the table of pieces '%s': %.200s. Check --pieces",
                                reader->path, cause.text);
}

/* Files that hold a vocabulary in another form. */
static bool refuse_other_forms(TableReader *reader)
{
    const char *name_end = strrchr(reader->path, '.'), *zero = memchr(reader->text, 0, reader->length);
    if (name_end && strcmp(name_end, ".json") == 0)
        return fail(reader->problem,
                    "'%s' is JSON, not a table of pieces. Write the pieces in the order of their numbers, one a "
                    "line",
                    reader->path);
    if (name_end && strcmp(name_end, ".tiktoken") == 0)
        return fail(reader->problem,
                    "'%s' has pieces in base64. Write them plainly in the order of their numbers, one a line",
                    reader->path);
    if (!zero) return true;
    reader->line = 1;
    for (const char *byte = reader->text; byte < zero; byte++) reader->line += *byte == '\n';
    return fail_at(reader,
                   "a zero byte, so it is no text. SentencePiece writes the table beside the .model as .vocab; other "
                   "files can be turned into UTF-8 with iconv");
}

static bool read_pieces(TableReader *reader)
{
    char *line;
    size_t length;
    while (next_line(reader, &line, &length)) {
        if (reader->tokenizer->vocab_size == 0) {
            size_t piece = length;
            reader->scored = cut_score(line, &piece);
        }
        if (length == 0)
            reader->newlines++; /* what these are shows when there is another line */
        else if (!add_line(reader, line, length))
            return false;
    }
    if (reader->problem->text[0]) return false;
    if (reader->tokenizer->vocab_size >= 2) return true;
    return fail(reader->problem, "'%s' has %lld pieces, but a vocabulary has at least 2. Check --pieces", reader->path,
                (long long)reader->tokenizer->vocab_size);
}

static void write_remark(const TableReader *reader, bool marked, Message *remark)
{
    char blank[64] = "", foreign[256] = "";
    if (reader->newlines > 0)
        snprintf(blank, sizeof blank, " %zu empty line%s at the end %s left out.", reader->newlines,
                 reader->newlines > 1 ? "s" : "", reader->newlines > 1 ? "are" : "is");
    if (reader->foreign > 0)
        snprintf(foreign, sizeof foreign,
                 " %zu pieces begin with U+2581 or U+0120, by which other programs mean a space; in a plain table they "
                 "are taken "
                 "as they are.",
                 reader->foreign);
    remark->text[0] = 0;
    if (marked || blank[0] || foreign[0])
        fail(remark, "'%s':%s%s%s", reader->path, marked ? " the byte order mark at the start is left out." : "", blank,
             foreign);
}

bool piece_table_read(const char *path, Tokenizer *tokenizer, Message *remark, Message *problem)
{
    TableReader reader = {.path = path, .tokenizer = tokenizer, .problem = problem};
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    *tokenizer = (Tokenizer){0};
    problem->text[0] = 0;
    if (strlen(name) >= sizeof tokenizer->name)
        return fail(problem,
                    "'%s': the name of a tokenizer is that of its table, and has at most %zu bytes. Rename the file",
                    path, sizeof tokenizer->name - 1);
    strcpy(tokenizer->name, name);
    bool good = read_text(&reader) && refuse_other_forms(&reader);
    bool marked = good && begins_with(reader.text, reader.length, "\xef\xbb\xbf");
    reader.place = marked ? 3 : 0;
    good = good && read_pieces(&reader);
    if (good) write_remark(&reader, marked, remark);
    free(reader.text);
    if (!good) tokenizer_destroy(tokenizer);
    return good;
}
