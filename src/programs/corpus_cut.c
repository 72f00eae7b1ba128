/* Texts by the rules of a tokenizer (src/programs/corpus.h). */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/memory.h"
#include "src/base/usage.h"
#include "src/programs/corpus.h"
#include "src/programs/kept_tokens.h"

/* Documents are cut in batches of about so many bytes of memory for each thread, and written in their order between them. */
enum { BATCH_BYTES = 1 << 22 };

/* A document under way. */
typedef struct Text {
    char *bytes;
    size_t length;
    TokenList tokens;
    bool good;
    Message problem;
} Text;

typedef struct TextCutter {
    Corpus *corpus;
    const Document *documents; /* (count): the texts */
    size_t count;
    CutterWorker **workers; /* (threads) */
    int threads;
    Text *texts; /* (capacity): those of a batch */
    size_t capacity;
    size_t bytes; /* of all texts so far */
    KeptTokens kept;
} TextCutter;

static bool read_text(Corpus *corpus, const Document *document, Text *text, Message *problem)
{
    *text = (Text){.bytes = checked_calloc(document->length, 1), .length = document->length};
    return corpus_read_raw(corpus, document->source, document->start, text->length, (uint8_t *)text->bytes, problem);
}

/* As many of the documents from `first` on as make a batch; those that could not be read are the last. */
static bool read_batch(TextCutter *cutter, size_t first, size_t *count, Message *problem)
{
    size_t bytes = 0, enough = (size_t)cutter->threads * BATCH_BYTES;
    bool good = true;
    for (*count = 0; first + *count < cutter->count && bytes < enough && good;) {
        cutter->texts = checked_grow(cutter->texts, *count, &cutter->capacity, sizeof *cutter->texts);
        Text *text = &cutter->texts[(*count)++];
        good = read_text(cutter->corpus, &cutter->documents[first + *count - 1], text, problem);
        cutter->bytes += text->length;
        bytes += text->length + sizeof *text; /* short ones take more memory than their texts */
    }
    return good;
}

static void cut_batch(TextCutter *cutter, size_t count)
{
#pragma omp parallel for schedule(dynamic) num_threads(cutter->threads)
    for (size_t i = 0; i < count; i++) {
        Text *text = &cutter->texts[i];
        CutterWorker *worker = cutter->workers[omp_get_thread_num()];
        text->good = cutter_encode(worker, text->bytes, text->length, &text->tokens, &text->problem);
    }
}

static bool keep_batch(TextCutter *cutter, size_t first, size_t count, Message *problem)
{
    for (size_t i = 0; i < count; i++) {
        const Text *text = &cutter->texts[i];
        const TokenList *tokens = &text->tokens;
        const char *path = cutter->corpus->sources[cutter->documents[first + i].source].path;
        if (!text->good) return fail(problem, "'%.400s': %.600s", path, text->problem.text);
        if (!kept_tokens_add(&cutter->kept, tokens->ids, tokens->count, problem)) return false;
        kept_tokens_end_document(&cutter->kept, tokens->count > 0 ? tokens->ids[tokens->count - 1] : -1);
    }
    return true;
}

static void free_batch(TextCutter *cutter, size_t count)
{
    for (size_t i = 0; i < count; i++) free(cutter->texts[i].bytes), free(cutter->texts[i].tokens.ids);
}

static bool cut_all(TextCutter *cutter, Message *problem)
{
    bool good = true;
    for (size_t first = 0, count; first < cutter->count && good; first += count) {
        good = read_batch(cutter, first, &count, problem);
        if (good) cut_batch(cutter, count);
        good = good && keep_batch(cutter, first, count, problem);
        free_batch(cutter, count);
    }
    return good;
}

static void say_result(const TextCutter *cutter, const Tokenizer *tokenizer, double seconds)
{
    size_t tokens = cutter->kept.count;
    printf("tokenizer '%s' (%s): %zu tokens of %.2f bytes, in %.2f s on %d thread%s, %.3g tokens/s\n", tokenizer->name,
           tokenizer->file.kind->title, tokens, tokens > 0 ? (double)cutter->bytes / (double)tokens : 0, seconds,
           cutter->threads, cutter->threads > 1 ? "s" : "", (double)tokens / (seconds > 1e-6 ? seconds : 1e-6));
}

bool corpus_cut_texts(Corpus *corpus, Tokenizer *tokenizer, const char *folder, Message *problem)
{
    double start = usage_seconds();
    const Cutter *rules = tokenizer_cutter(tokenizer, problem);
    TextCutter cutter = {.corpus = corpus, .count = corpus->count, .threads = omp_get_max_threads()};
    Document *texts = corpus->documents;
    if (!rules || !kept_tokens_begin(&cutter.kept, corpus, tokenizer->name, folder, problem)) return false;
    cutter.documents = texts;
    corpus->documents = NULL; /* those of tokens take their place */
    corpus->count = corpus->capacity = 0;
    cutter.workers = checked_calloc((size_t)cutter.threads, sizeof(CutterWorker *));
    for (int i = 0; i < cutter.threads; i++) cutter.workers[i] = cutter_worker_create(rules);
    Message cause;
    bool cut = cut_all(&cutter, problem), kept = kept_tokens_finish(&cutter.kept, cut ? problem : &cause);
    if (cut && kept) say_result(&cutter, tokenizer, usage_seconds() - start);
    for (int i = 0; i < cutter.threads; i++) cutter_worker_destroy(cutter.workers[i]);
    free(cutter.workers);
    free(cutter.texts);
    free(texts);
    return cut && kept;
}
