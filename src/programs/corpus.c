#include "src/programs/corpus.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/memory.h"

/* Room for one more element in an array that grows by doubling. */
#define GROW(array, count, capacity)                                                                                   \
    do {                                                                                                               \
        if ((count) < (capacity)) break;                                                                               \
        (capacity) = (capacity) ? 2 * (capacity) : 64;                                                                 \
        (array) = realloc((array), (size_t)(capacity) * sizeof *(array));                                              \
        CHECK(array, "cannot allocate a list of %zu elements", (size_t)(capacity));                                    \
    } while (0)

static void add_document(Corpus *corpus, int file, size_t start, size_t length)
{
    if (length == 0) return;
    GROW(corpus->documents, corpus->count, corpus->capacity);
    corpus->documents[corpus->count++] = (Document){file, start, length};
}

/* ---- files ---- */

static bool add_folder(Corpus *corpus, const char *folder, Message *problem);

/* A link to a folder is not followed: it may lead round in a circle. */
static bool add_path(Corpus *corpus, const char *path, bool named_by_user, Message *problem)
{
    struct stat status, itself;
    if (stat(path, &status) || lstat(path, &itself))
        return fail(problem, "cannot open '%s': %s. Check --input", path, strerror(errno));
    if (S_ISDIR(status.st_mode))
        return (S_ISLNK(itself.st_mode) && !named_by_user) || add_folder(corpus, path, problem);
    if (!S_ISREG(status.st_mode))
        return !named_by_user || fail(problem, "'%s' is neither a file nor a folder. Check --input", path);
    GROW(corpus->paths, corpus->path_count, corpus->path_capacity);
    corpus->paths[corpus->path_count++] = strdup(path);
    return true;
}

static bool add_folder(Corpus *corpus, const char *folder, Message *problem)
{
    DIR *entries = opendir(folder);
    if (!entries) return fail(problem, "cannot open the folder '%s': %s. Check --input", folder, strerror(errno));
    bool good = true;
    for (struct dirent *entry; good && (entry = readdir(entries));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        size_t room = strlen(folder) + strlen(entry->d_name) + 2;
        char *path = checked_calloc(room, 1);
        snprintf(path, room, "%s/%s", folder, entry->d_name);
        good = add_path(corpus, path, false, problem);
        free(path);
    }
    closedir(entries);
    return good;
}

static int compare_paths(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* ---- texts ---- */

/* Bytes of the UTF-8 character at `text`, 0 when it is not valid. */
static size_t utf8_length(const uint8_t *text, size_t available)
{
    uint8_t first = text[0], low = 0x80, high = 0xBF; /* bounds of the second byte */
    size_t length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (length < 2) return length;
    if (length > available) return 0;
    if (first == 0xE0) low = 0xA0;  /* shorter forms exist */
    if (first == 0xED) high = 0x9F; /* surrogates */
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F; /* above U+10FFFF */
    if (text[1] < low || text[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xC0) != 0x80) return 0;
    return length;
}

size_t utf8_first_error(const uint8_t *text, size_t length)
{
    size_t place = 0;
    while (place < length) {
        size_t character = utf8_length(text + place, length - place);
        if (character == 0) break;
        place += character;
    }
    return place;
}

/* One document for each stretch between lines equal to the separator. */
static void split(Corpus *corpus, int file, const uint8_t *text, size_t length, const char *separator)
{
    size_t start = 0, size = strlen(separator);
    for (size_t line = 0; line < length && size > 0;) {
        const uint8_t *newline = memchr(text + line, '\n', length - line);
        size_t end = newline ? (size_t)(newline - text) : length, next = newline ? end + 1 : length;
        if (end > line && text[end - 1] == '\r') end--;
        if (end - line == size && memcmp(text + line, separator, size) == 0) {
            add_document(corpus, file, start, line - start);
            start = next;
        }
        line = next;
    }
    add_document(corpus, file, start, length - start);
}

static bool read_text(Corpus *corpus, int file, const uint8_t *text, size_t length, const char *separator, bool utf8,
                      Message *problem)
{
    const char *path = corpus->paths[file];
    if (length >= 8 && memcmp(text, "\x89HDF\r\n\x1a\n", 8) == 0)
        return fail(problem, "'%s' is an HDF5 file, not a text. Keep --output out of --input", path);
    size_t error = utf8 ? utf8_first_error(text, length) : length;
    if (error < length)
        return fail(problem, "'%s' is no valid UTF-8 at byte %zu (value 0x%02x). Correct the file, or leave --utf8 out",
                    path, error, text[error]);
    split(corpus, file, text, length, separator);
    return true;
}

static bool read_file(Corpus *corpus, int file, const char *separator, bool utf8, Message *problem)
{
    const char *path = corpus->paths[file];
    struct stat status;
    int descriptor = open(path, O_RDONLY);
    bool good = descriptor >= 0 && fstat(descriptor, &status) == 0;
    if (!good) fail(problem, "cannot open '%s': %s. Check --input", path, strerror(errno));
    size_t length = good ? (size_t)status.st_size : 0;
    if (length > 0) {
        void *text = mmap(NULL, length, PROT_READ, MAP_PRIVATE, descriptor, 0);
        good = text != MAP_FAILED;
        if (!good)
            fail(problem, "cannot read '%s': %s", path, strerror(errno));
        else
            good = read_text(corpus, file, text, length, separator, utf8, problem);
        if (text != MAP_FAILED) munmap(text, length);
    }
    if (descriptor >= 0) close(descriptor);
    return good;
}

bool corpus_read_texts(Corpus *corpus, const char *input, const char *separator, bool utf8, Message *problem)
{
    if (!add_path(corpus, input, true, problem)) return false;
    if (corpus->path_count > 0) qsort(corpus->paths, (size_t)corpus->path_count, sizeof *corpus->paths, compare_paths);
    for (int file = 0; file < corpus->path_count; file++)
        if (!read_file(corpus, file, separator, utf8, problem)) return false;
    return corpus->count > 0 || fail(problem, "'%s' has no text in it. Check --input", input);
}

/* ---- ids ---- */

bool corpus_read_ids(Corpus *corpus, FILE *input, int64_t vocab_size, Message *problem)
{
    char *line = NULL;
    size_t room = 0;
    bool good = true;
    for (long long number = 1; good && getline(&line, &room, input) >= 0; number++) {
        size_t start = corpus->id_count;
        for (char *rest = NULL, *word = strtok_r(line, " \t\r\n", &rest); word && good;
             word = strtok_r(NULL, " \t\r\n", &rest)) {
            char *end;
            long long id = strtoll(word, &end, 10);
            if (*end)
                good = fail(problem, "standard input, line %lld: '%.40s' is no token number", number, word);
            else if (id < 0 || id >= vocab_size)
                good = fail(problem,
                            "standard input, line %lld: token %lld, but the table has pieces 0 to %lld. Check --pieces",
                            number, id, (long long)vocab_size - 1);
            GROW(corpus->ids, corpus->id_count, corpus->id_capacity);
            corpus->ids[corpus->id_count++] = (int32_t)id;
        }
        add_document(corpus, -1, start, corpus->id_count - start);
    }
    free(line);
    if (!good) return false;
    return corpus->count > 0 || fail(problem, "no token numbers on standard input. Give one document a line");
}

/* ---- tokens ---- */

bool corpus_tokens(const Corpus *corpus, const Document *document, size_t first, size_t count, int32_t *tokens,
                   Message *problem)
{
    if (document->file < 0) {
        memcpy(tokens, corpus->ids + document->start + first, count * sizeof *tokens);
        return true;
    }
    const char *path = corpus->paths[document->file];
    uint8_t *bytes = (uint8_t *)tokens; /* read into the front, spread from the back */
    int descriptor = open(path, O_RDONLY);
    ssize_t got = descriptor < 0 ? -1 : pread(descriptor, bytes, count, (off_t)(document->start + first));
    if (descriptor >= 0) close(descriptor);
    if (got != (ssize_t)count) return fail(problem, "cannot read '%s': it changed meanwhile. Try again", path);
    for (size_t i = count; i-- > 0;) {
        int32_t token = bytes[i];
        memcpy(tokens + i, &token, sizeof token);
    }
    return true;
}

void corpus_destroy(Corpus *corpus)
{
    for (int i = 0; i < corpus->path_count; i++) free(corpus->paths[i]);
    free(corpus->paths);
    free(corpus->documents);
    free(corpus->ids);
    *corpus = (Corpus){0};
}
