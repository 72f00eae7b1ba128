#include "src/programs/corpus.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/memory.h"

int corpus_add_source(Corpus *corpus, Source source)
{
    corpus->sources = checked_grow(corpus->sources, corpus->source_count, &corpus->source_capacity, sizeof source);
    corpus->sources[corpus->source_count] = source;
    return (int)corpus->source_count++;
}

void corpus_add_document(Corpus *corpus, int source, size_t start, size_t length, int64_t last)
{
    if (length == 0) {
        corpus->empty++;
        return;
    }
    corpus->documents = checked_grow(corpus->documents, corpus->count, &corpus->capacity, sizeof *corpus->documents);
    bool gets_end = corpus->end_of_document >= 0 && last != corpus->end_of_document;
    corpus->documents[corpus->count++] = (Document){start, length, source, gets_end};
}

/* ---- reading ---- */

/* The descriptor of a source; one file is kept open, since its documents follow each other. */
static int open_source(Corpus *corpus, int number)
{
    const Source *source = &corpus->sources[number];
    if (source->descriptor >= 0) return source->descriptor;
    if (corpus->open_descriptor > 0 && corpus->open_source == number) return corpus->open_descriptor;
    if (corpus->open_descriptor > 0) close(corpus->open_descriptor);
    corpus->open_source = number;
    corpus->open_descriptor = open(source->path, O_RDONLY);
    return corpus->open_descriptor;
}

static bool read_bytes(int descriptor, uint8_t *bytes, size_t count, uint64_t offset)
{
    while (count > 0) {
        ssize_t got = pread(descriptor, bytes, count, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        bytes += got, offset += (uint64_t)got, count -= (size_t)got;
    }
    return true;
}

static uint64_t number_at(const uint8_t *bytes, NumberForm form)
{
    uint64_t number = 0;
    for (int i = 0; i < form.bytes; i++) number |= (uint64_t)bytes[i] << 8 * (form.big_endian ? form.bytes - 1 - i : i);
    bool negative = form.with_sign && number >> (8 * form.bytes - 1);
    return negative && form.bytes < 8 ? number | ~UINT64_C(0) << 8 * form.bytes : number;
}

static bool fail_of_token(const Corpus *corpus, const Source *source, size_t place, uint64_t number, Message *problem)
{
    char text[32];
    if (source->form.with_sign)
        snprintf(text, sizeof text, "%" PRId64, (int64_t)number);
    else
        snprintf(text, sizeof text, "%" PRIu64, number);
    return fail(problem,
                "'%s': token %zu is %s, but the vocabulary has tokens 0 to %lld. Check --vocab_size, --pieces and "
                "--token_format",
                source->path, place, text, (long long)corpus->vocab_size - 1);
}

bool corpus_read_raw(Corpus *corpus, int number, size_t first, size_t count, uint8_t *bytes, Message *problem)
{
    const Source *source = &corpus->sources[number];
    size_t each = (size_t)source->form.bytes;
    int descriptor = open_source(corpus, number);
    if (descriptor < 0)
        return fail(problem, "cannot open '%s': %s. Try again when it can be read", source->path, strerror(errno));
    return read_bytes(descriptor, bytes, count * each, source->offset + first * each) ||
           fail(problem, "cannot read '%s': it changed meanwhile, or its disk fails. Try again", source->path);
}

bool corpus_read(Corpus *corpus, int number, size_t first, size_t count, int32_t *tokens, Message *problem)
{
    const Source *source = &corpus->sources[number];
    size_t bytes = (size_t)source->form.bytes;
    if (!corpus->raw) corpus->raw = checked_calloc(CORPUS_CHUNK, sizeof(uint64_t));
    if (!corpus_read_raw(corpus, number, first, count, corpus->raw, problem)) return false;
    for (size_t i = 0; i < count; i++) {
        uint64_t token = number_at(corpus->raw + i * bytes, source->form);
        if (token >= (uint64_t)corpus->vocab_size) return fail_of_token(corpus, source, first + i, token, problem);
        tokens[i] = (int32_t)token;
    }
    return true;
}

/* ---- all of it ---- */

size_t corpus_document_tokens(const Document *document) { return document->length + document->gets_end; }

size_t corpus_total_tokens(const Corpus *corpus)
{
    size_t total = 0;
    for (size_t i = 0; i < corpus->count; i++) total += corpus_document_tokens(&corpus->documents[i]);
    return total;
}

void corpus_destroy(Corpus *corpus)
{
    for (size_t i = 0; i < corpus->source_count; i++) {
        if (corpus->sources[i].descriptor >= 0) close(corpus->sources[i].descriptor);
        free(corpus->sources[i].path);
    }
    if (corpus->open_descriptor > 0) close(corpus->open_descriptor);
    free(corpus->sources);
    free(corpus->documents);
    free(corpus->raw);
    *corpus = (Corpus){0};
}
