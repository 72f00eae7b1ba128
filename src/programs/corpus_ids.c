/* Documents of token numbers on standard input (src/programs/corpus.h), which go to a file at once: they may be more than the
   memory holds, and standard input can be read only once. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/disk.h"
#include "src/base/memory.h"
#include "src/programs/corpus.h"

enum { BUFFER = 1 << 16, SHOWN = 40 };

typedef struct IdReader {
    Corpus *corpus;
    int source;
    const char *folder; /* of the file */
    size_t document;    /* start of the one under way */
    size_t count;       /* tokens so far */
    size_t line;        /* from 1 */
    char word[SHOWN];   /* its first characters */
    size_t word_length;
    int64_t id;        /* its value; vocab_size and above mean too large */
    bool not_digits;   /* the word has something else in it */
    uint8_t *gathered; /* (BUFFER) numbers of 4 bytes that are not in the file yet */
    size_t gathered_bytes;
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

static bool write_gathered(IdReader *reader)
{
    Source *source = &reader->corpus->sources[reader->source];
    uint64_t place = (uint64_t)reader->count * sizeof(int32_t) - reader->gathered_bytes;
    bool good = disk_write_at(source->descriptor, reader->gathered, reader->gathered_bytes, place);
    reader->gathered_bytes = 0;
    return good ||
           fail(reader->problem,
                "cannot keep the token numbers in '%s', 4 bytes each: %s. Free some space or choose another disk",
                reader->folder, strerror(errno));
}

static bool end_word(IdReader *reader)
{
    char text[4 * SHOWN + 4];
    long long most = (long long)reader->corpus->vocab_size - 1;
    if (reader->word_length == 0) return true;
    if (reader->not_digits)
        return fail(reader->problem, "standard input, line %zu: '%s' is no token number. Give numbers between blanks",
                    reader->line, shown_word(reader, text));
    if (reader->id > most)
        return fail(reader->problem,
                    "standard input, line %zu: token %s, but the vocabulary has tokens 0 to %lld. Check "
                    "--pieces or --vocab_size",
                    reader->line, shown_word(reader, text), most);
    for (int byte = 0; byte < 4; byte++) reader->gathered[reader->gathered_bytes++] = (uint8_t)(reader->id >> 8 * byte);
    reader->count++;
    reader->word_length = 0;
    reader->id = 0;
    return reader->gathered_bytes < BUFFER || write_gathered(reader);
}

static void end_line(IdReader *reader, int64_t last)
{
    corpus_add_document(reader->corpus, reader->source, reader->document, reader->count - reader->document, last);
    reader->document = reader->count;
    reader->line++;
}

static void add_to_word(IdReader *reader, unsigned char byte)
{
    if (reader->word_length < SHOWN) reader->word[reader->word_length] = (char)byte;
    reader->not_digits = (reader->word_length > 0 && reader->not_digits) || byte < '0' || byte > '9';
    reader->word_length++;
    if (reader->id < reader->corpus->vocab_size) reader->id = 10 * reader->id + (byte - '0');
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
    return write_gathered(reader);
}

/* A file without a name: it goes when the program ends, however it ends. */
static int open_nameless(const char *folder, Message *problem)
{
    char wanted[DISK_PATH_SIZE], path[DISK_PATH_SIZE];
    snprintf(wanted, sizeof wanted, "%.900s/ids", folder);
    disk_temporary_of(wanted, path);
    int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0)
        fail(problem, "cannot make a file in '%s': %s. Choose another folder with --output", folder, strerror(errno));
    else
        unlink(path);
    return descriptor;
}

bool corpus_read_ids(Corpus *corpus, FILE *input, const char *folder, Message *problem)
{
    int descriptor = open_nameless(folder, problem);
    if (descriptor < 0) return false;
    IdReader reader = {.corpus = corpus, .folder = folder, .line = 1, .problem = problem};
    reader.source = corpus_add_source(
        corpus, (Source){.path = strdup("standard input"), .descriptor = descriptor, .form = {.bytes = 4}});
    reader.gathered = checked_calloc(BUFFER, 1);
    char *buffer = checked_calloc(BUFFER, 1);
    bool good = read_all(&reader, input, buffer);
    free(buffer);
    free(reader.gathered);
    return good;
}
