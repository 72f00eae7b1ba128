/* Documents of token numbers on standard input (src/programs/corpus.h), which can be read only once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"
#include "src/programs/corpus.h"
#include "src/programs/kept_tokens.h"

enum { BUFFER = 1 << 16, SHOWN = 40 };

typedef struct IdReader {
    KeptTokens kept;
    int64_t vocab_size;
    size_t line;      /* from 1 */
    char word[SHOWN]; /* its first characters */
    size_t word_length;
    int64_t id;      /* its value; vocab_size and above mean too large */
    bool not_digits; /* the word has something else in it */
    Message *problem;
} IdReader;

/* The word as it can be printed in one line. */
static const char *shown_word(const IdReader *reader, char text[4 * SHOWN + 4])
{
    size_t shown = reader->word_length < SHOWN ? reader->word_length : SHOWN;
    char *end = text;
    for (size_t i = 0; i < shown; i++) {
        unsigned char byte = (unsigned char)reader->word[i];
        end += sprintf(end, byte >= ' ' && byte < 0x7F ? "%c" : "\\x%02x", byte);
    }
    strcpy(end, reader->word_length > shown ? "..." : "");
    return text;
}

static bool end_word(IdReader *reader)
{
    char text[4 * SHOWN + 4];
    long long most = (long long)reader->vocab_size - 1;
    if (reader->word_length == 0) return true;
    if (reader->not_digits)
        return fail(reader->problem, "standard input, line %zu: '%s' is no token number. Give numbers between blanks",
                    reader->line, shown_word(reader, text));
    if (reader->id > most)
        return fail(reader->problem,
                    "standard input, line %zu: token %s, but the vocabulary has tokens 0 to %lld. Check "
                    "--pieces or --vocab_size",
                    reader->line, shown_word(reader, text), most);
    int32_t token = (int32_t)reader->id;
    reader->word_length = 0;
    reader->id = 0;
    return kept_tokens_add(&reader->kept, &token, 1, reader->problem);
}

static void end_line(IdReader *reader, int64_t last)
{
    kept_tokens_end_document(&reader->kept, last);
    reader->line++;
}

static void add_to_word(IdReader *reader, unsigned char byte)
{
    if (reader->word_length < SHOWN) reader->word[reader->word_length] = (char)byte;
    reader->not_digits = (reader->word_length > 0 && reader->not_digits) || byte < '0' || byte > '9';
    reader->word_length++;
    if (reader->id < reader->vocab_size) reader->id = 10 * reader->id + (byte - '0');
}

/* Lines that end with CR LF are fine: CR is a blank. Any other byte that is no digit is no number, zero among them. */
static bool read_all(IdReader *reader, FILE *input, char *buffer)
{
    int64_t last = -1;
    bool line_begun = false;
    for (size_t got; (got = fread(buffer, 1, BUFFER, input)) > 0;)
        for (size_t i = 0; i < got; i++) {
            char byte = buffer[i];
            line_begun = byte != '\n';
            if (byte != ' ' && byte != '\t' && byte != '\r' && byte != '\n') {
                add_to_word(reader, (unsigned char)byte);
                continue;
            }
            if (reader->word_length > 0) last = reader->id;
            if (!end_word(reader)) return false;
            if (byte == '\n') end_line(reader, last);
        }
    if (ferror(input))
        return fail(reader->problem,
                    "cannot read standard input: %s. Give token numbers through a pipe, or with < FILE",
                    strerror(errno));
    if (reader->word_length > 0) last = reader->id;
    if (!end_word(reader)) return false;
    if (line_begun) end_line(reader, last);
    return true;
}

bool corpus_read_ids(Corpus *corpus, FILE *input, const char *folder, Message *problem)
{
    IdReader reader = {.vocab_size = corpus->vocab_size, .line = 1, .problem = problem};
    if (!kept_tokens_begin(&reader.kept, corpus, "standard input", folder, problem)) return false;
    char *buffer = checked_calloc(BUFFER, 1);
    bool read = read_all(&reader, input, buffer);
    free(buffer);
    Message cause;
    bool kept = kept_tokens_finish(&reader.kept, read ? problem : &cause);
    return read && kept;
}
