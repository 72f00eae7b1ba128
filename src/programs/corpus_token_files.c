/* Token files of other programs (src/programs/corpus.h): arrays of NumPy, those of llm.c, and bare numbers as nanoGPT has them.
   The formats: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, and dev/data/data_common.py of llm.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/memory.h"
#include "src/programs/corpus.h"

/* The start of a file, enough for every header, and how long the file is. */
enum { HEAD = 1 << 16 };
typedef struct Head {
    const char *path;
    uint8_t *bytes; /* (HEAD + 1), zero behind what was read */
    size_t count;
    uint64_t file_bytes;
} Head;

static uint32_t word_at(const Head *head, size_t place)
{
    const uint8_t *b = head->bytes + place;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static bool fail_of_size(const Head *head, uint64_t tokens, const Source *source, Message *problem)
{
    return fail(problem,
                "'%s' has %llu bytes, but %llu tokens of %d bytes after a header of %llu make %llu. Copy it again",
                head->path, (unsigned long long)head->file_bytes, (unsigned long long)tokens, source->form.bytes,
                (unsigned long long)source->offset,
                (unsigned long long)(source->offset + tokens * (uint64_t)source->form.bytes));
}

/* ---- NumPy ---- */

static const char npy_magic[] = "\x93NUMPY";

static bool is_npy(const Head *head) { return head->count >= 12 && memcmp(head->bytes, npy_magic, 6) == 0; }

/* The text behind 'key': in the header, which is a Python dictionary; NULL when there is none. */
static const char *npy_value(const char *header, const char *key)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s'", key);
    const char *place = strstr(header, quoted);
    if (!place) return NULL;
    place += strlen(quoted);
    return place + strspn(place, ": ");
}

/* '<u2' and its like. */
static bool npy_form(const char *value, NumberForm *form)
{
    if (!value || strlen(value) < 5) return false; /* every character below is there */
    if (value[0] != '\'' || !strchr("<>|=", value[1]) || !strchr("iu", value[2])) return false;
    *form = (NumberForm){value[3] - '0', value[2] == 'i', value[1] == '>'};
    return strchr("1248", value[3]) && value[4] == '\'';
}

/* (N,): one dimension. */
static bool npy_count(const char *value, uint64_t *count)
{
    char *end;
    if (!value || value[0] != '(' || value[1] < '0' || value[1] > '9') return false;
    errno = 0;
    *count = strtoull(value + 1, &end, 10);
    return errno == 0 && end[0] == ',' && end[1 + strspn(end + 1, " ")] == ')';
}

static bool read_npy(const Head *head, Source *source, uint64_t *count, Message *problem)
{
    int version = head->bytes[6];
    size_t start = version == 1 ? 10 : 12;
    size_t length = version == 1 ? (size_t)(head->bytes[8] | head->bytes[9] << 8) : word_at(head, 8);
    if (version < 1 || version > 3)
        return fail(problem, "'%s' is a NumPy file of version %d; 1 to 3 are known. Save it again with numpy.save()",
                    head->path, version);
    if (length > head->count - start)
        return fail(problem, "'%s': the header of the NumPy file is damaged. Save it again with numpy.save()",
                    head->path);
    source->offset = start + length;
    char *header = checked_calloc(length + 1, 1);
    memcpy(header, head->bytes + start, length);
    const char *type = npy_value(header, "descr");
    bool typed = npy_form(type, &source->form), single = npy_count(npy_value(header, "shape"), count);
    bool good = typed && single;
    if (!typed)
        fail(problem, "'%s' has elements of type %.40s, not whole numbers. Save tokens.astype(numpy.uint32)",
             head->path, type ? type : "unknown");
    else if (!single)
        fail(problem, "'%s' is not an array of one dimension. Save tokens.reshape(-1)", head->path);
    free(header);
    bool fits = good && *count <= head->file_bytes &&
                source->offset + *count * (uint64_t)source->form.bytes == head->file_bytes;
    return good && (fits || fail_of_size(head, *count, source, problem));
}

/* ---- llm.c ---- */

static const struct {
    uint32_t magic, version;
    int bytes; /* of a token */
} llmc_kinds[] = {{20240520, 1, 2}, {20240801, 7, 4}};

enum { LLMC_HEADER = 256 * 4 };

static bool is_llmc(const Head *head)
{
    bool known = false;
    for (size_t i = 0; i < sizeof llmc_kinds / sizeof *llmc_kinds; i++)
        known |= head->count >= LLMC_HEADER && word_at(head, 0) == llmc_kinds[i].magic;
    return known;
}

static bool read_llmc(const Head *head, Source *source, uint64_t *count, Message *problem)
{
    source->offset = LLMC_HEADER;
    *count = head->count >= LLMC_HEADER ? word_at(head, 8) : 0;
    for (size_t i = 0; i < sizeof llmc_kinds / sizeof *llmc_kinds; i++) {
        if (!is_llmc(head) || word_at(head, 0) != llmc_kinds[i].magic || word_at(head, 4) != llmc_kinds[i].version)
            continue;
        source->form = (NumberForm){.bytes = llmc_kinds[i].bytes};
        return LLMC_HEADER + *count * (uint64_t)source->form.bytes == head->file_bytes ||
               fail_of_size(head, *count, source, problem);
    }
    return fail(problem,
                "'%s' begins with the numbers %u and %u; token files of llm.c with 20240520 and 1, or 20240801 and 7. "
                "Say what it is with --token_format",
                head->path, word_at(head, 0), word_at(head, 4));
}

/* ---- bare numbers ---- */

static bool read_raw(const Head *head, Source *source, uint64_t *count, Message *problem)
{
    uint64_t bytes = (uint64_t)source->form.bytes;
    *count = head->file_bytes / bytes;
    return head->file_bytes % bytes == 0 ||
           fail(problem, "'%s' has %llu bytes, no multiple of %d. Copy it again, or say what it is with --token_format",
                head->path, (unsigned long long)head->file_bytes, source->form.bytes);
}

/* ---- all of them ---- */

static bool ends_with(const char *path, const char *end)
{
    size_t length = strlen(path), end_length = strlen(end);
    return length >= end_length && strcmp(path + length - end_length, end) == 0;
}

static bool recognise(const Head *head, int64_t vocab_size, TokenFormat *format, Message *problem)
{
    if (*format != TOKENS_AUTO) return true;
    *format = is_npy(head) ? TOKENS_NPY : is_llmc(head) ? TOKENS_LLMC : TOKENS_RAW16;
    if (*format != TOKENS_RAW16 || (ends_with(head->path, ".bin") && vocab_size <= 1 << 16)) return true;
    return fail(problem, "what '%s' is cannot be seen. Say it with --token_format=npy, llmc, raw16 or raw32",
                head->path);
}

static bool read_head(const char *path, Head *head, Message *problem)
{
    struct stat status = {0};
    int descriptor = open(path, O_RDONLY);
    ssize_t got = descriptor < 0 || fstat(descriptor, &status) ? -1 : pread(descriptor, head->bytes, HEAD, 0);
    if (got < 0) fail(problem, "cannot read '%s': %s. Check --tokens", path, strerror(errno));
    if (descriptor >= 0) close(descriptor);
    head->path = path;
    head->count = got < 0 ? 0 : (size_t)got;
    head->file_bytes = (uint64_t)status.st_size;
    return got >= 0;
}

/* Where the format puts the numbers, and how many there are. */
static bool describe(const Head *head, TokenFormat format, Source *source, uint64_t *count, Message *problem)
{
    switch (format) {
    case TOKENS_NPY:
        return is_npy(head) ? read_npy(head, source, count, problem)
                            : fail(problem,
                                   "'%s' is no NumPy file: it does not begin with \\x93NUMPY. Check "
                                   "--token_format",
                                   head->path);
    case TOKENS_LLMC: return read_llmc(head, source, count, problem);
    case TOKENS_RAW16: source->form = (NumberForm){.bytes = 2}; break;
    case TOKENS_RAW32: source->form = (NumberForm){.bytes = 4}; break;
    case TOKENS_AUTO: break;
    }
    return read_raw(head, source, count, problem);
}

/* One that would have nothing but its end, as where files begin with that token, joins the next. */
static bool find_documents(Corpus *corpus, int source, uint64_t count, int32_t *tokens, Message *problem)
{
    size_t start = 0;
    int64_t last = -1;
    for (size_t first = 0; first < count; first += CORPUS_CHUNK) {
        size_t length = count - first < CORPUS_CHUNK ? (size_t)(count - first) : CORPUS_CHUNK;
        if (!corpus_read(corpus, source, first, length, tokens, problem)) return false;
        for (size_t i = 0; i < length; i++) {
            bool ends = tokens[i] == corpus->end_of_document && last >= 0 && last != corpus->end_of_document;
            last = tokens[i];
            if (!ends) continue;
            corpus_add_document(corpus, source, start, first + i + 1 - start, last);
            start = first + i + 1;
        }
    }
    if (start < count || count == 0) corpus_add_document(corpus, source, start, (size_t)count - start, last);
    return true;
}

static bool read_file(Corpus *corpus, Head *head, const char *path, TokenFormat format, int32_t *tokens,
                      Message *problem)
{
    static const char *const names[] = {"?", "npy", "llmc", "raw16", "raw32"};
    Source source = {.descriptor = -1};
    uint64_t count = 0;
    memset(head->bytes, 0, HEAD + 1);
    if (!read_head(path, head, problem) || !recognise(head, corpus->vocab_size, &format, problem) ||
        !describe(head, format, &source, &count, problem))
        return false;
    source.path = strdup(path);
    printf("%s: %s, %llu tokens of %d bytes\n", path, names[format], (unsigned long long)count, source.form.bytes);
    return find_documents(corpus, corpus_add_source(corpus, source), count, tokens, problem);
}

bool corpus_read_token_files(Corpus *corpus, const InputFiles *files, TokenFormat format, Message *problem)
{
    Head head = {.bytes = checked_calloc(HEAD + 1, 1)};
    int32_t *tokens = checked_calloc(CORPUS_CHUNK, sizeof *tokens);
    bool good = true;
    for (size_t i = 0; i < files->count && good; i++)
        good = read_file(corpus, &head, files->paths[i], format, tokens, problem);
    free(tokens);
    free(head.bytes);
    return good;
}
