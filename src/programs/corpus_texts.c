/* Documents of text files (src/programs/corpus.h). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/utf8.h"
#include "src/programs/corpus.h"

/* ---- documents ---- */

typedef struct TextReader {
    Corpus *corpus;
    const char *separator;
    bool utf8;
    size_t separators; /* lines that are equal to it */
    size_t similar;    /* lines that differ from it in blanks only */
    char example[256]; /* file:line of the first of those */
    Message *problem;
} TextReader;

static bool is_blank(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/* White space alone, as it stands after the last separator of a file, is no document. */
static void add_stretch(TextReader *reader, int source, const uint8_t *text, size_t start, size_t end)
{
    size_t place = start;
    while (place < end && is_blank(text[place])) place++;
    bool empty = place == end;
    corpus_add_document(reader->corpus, source, start, empty ? 0 : end - start, empty ? -1 : text[end - 1]);
}

static bool equal(const uint8_t *line, size_t length, const char *separator)
{
    return length == strlen(separator) && memcmp(line, separator, length) == 0;
}

static void trim(const uint8_t **text, size_t *length)
{
    while (*length > 0 && is_blank((*text)[*length - 1])) --*length;
    while (*length > 0 && is_blank(**text)) ++*text, --*length;
}

static bool equal_without_blanks(const uint8_t *line, size_t length, const char *separator)
{
    const uint8_t *words = (const uint8_t *)separator;
    size_t word_length = strlen(separator);
    trim(&line, &length);
    trim(&words, &word_length);
    return length > 0 && length == word_length && memcmp(line, words, length) == 0;
}

/* One document for each stretch between lines equal to the separator. */
static void split(TextReader *reader, int source, const uint8_t *text, size_t length)
{
    size_t start = 0, number = 1;
    for (size_t line = 0; line < length && reader->separator[0]; number++) {
        const uint8_t *newline = memchr(text + line, '\n', length - line);
        size_t end = newline ? (size_t)(newline - text) : length, next = newline ? end + 1 : length;
        if (end > line && text[end - 1] == '\r') end--;
        if (equal(text + line, end - line, reader->separator)) {
            add_stretch(reader, source, text, start, line);
            start = next;
            reader->separators++;
        } else if (equal_without_blanks(text + line, end - line, reader->separator) && reader->similar++ == 0)
            snprintf(reader->example, sizeof reader->example, "'%.200s':%zu", reader->corpus->sources[source].path,
                     number);
        line = next;
    }
    if (start < length || length == 0) add_stretch(reader, source, text, start, length);
}

static bool read_text(TextReader *reader, int source, const uint8_t *text, size_t length)
{
    const char *path = reader->corpus->sources[source].path;
    if (length >= 8 && memcmp(text, "\x89HDF\r\n\x1a\n", 8) == 0)
        return fail(reader->problem,
                    "'%s' is an HDF5 file, not a text. Keep it out of --input, and --output outside of that", path);
    size_t error = reader->utf8 ? utf8_first_error(text, length) : length;
    if (error < length)
        return fail(reader->problem,
                    "'%s' is no valid UTF-8 at byte %zu (value 0x%02x). Correct the file, or leave --utf8 out", path,
                    error, text[error]);
    split(reader, source, text, length);
    return true;
}

static bool read_file(TextReader *reader, const char *path)
{
    struct stat status;
    int source = corpus_add_source(
        reader->corpus, (Source){.path = strdup(path), .descriptor = -1, .text = true, .form = {.bytes = 1}});
    int descriptor = open(path, O_RDONLY);
    bool good = descriptor >= 0 && fstat(descriptor, &status) == 0;
    if (!good) fail(reader->problem, "cannot open '%s': %s. Check --input", path, strerror(errno));
    size_t length = good ? (size_t)status.st_size : 0;
    void *text = length > 0 ? mmap(NULL, length, PROT_READ, MAP_PRIVATE, descriptor, 0) : NULL;
    if (text == MAP_FAILED)
        good = fail(reader->problem, "cannot read '%s': %s. Check --input", path, strerror(errno));
    else if (good)
        good = read_text(reader, source, text, length);
    if (length > 0 && text != MAP_FAILED) munmap(text, length);
    if (descriptor >= 0) close(descriptor);
    return good;
}

bool corpus_read_texts(Corpus *corpus, const InputFiles *files, const char *separator, bool utf8, Message *problem)
{
    TextReader reader = {.corpus = corpus, .separator = separator, .utf8 = utf8, .problem = problem};
    for (size_t i = 0; i < files->count; i++)
        if (!read_file(&reader, files->paths[i])) return false;
    if (separator[0] && reader.separators == 0)
        return fail(problem, "no line is equal to --document_separator='%s'%s%s. Correct it, or leave it out",
                    separator, reader.similar ? "; but for blanks this one is: " : "", reader.example);
    if (reader.similar)
        printf("note: %zu line%s differ%s from the separator in blanks alone, and %s kept as text; the first: %s\n",
               reader.similar, reader.similar > 1 ? "s" : "", reader.similar > 1 ? "" : "s",
               reader.similar > 1 ? "are" : "is", reader.example);
    return true;
}
