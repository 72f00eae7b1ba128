#include "src/text/cutter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "src/base/memory.h"
#include "src/text/byte_bpe.h"
#include "src/text/pattern.h"
#include "src/text/sentencepiece.h"

static const CutterKind *const kinds[] = {&cutter_byte_bpe, &cutter_sentencepiece};
enum { KINDS = sizeof kinds / sizeof *kinds };

struct Cutter {
    const CutterKind *kind;
    void *rules;
};

struct CutterWorker {
    const CutterKind *kind;
    void *worker;
};

const CutterKind *cutter_recognise(const uint8_t *file, size_t bytes)
{
    for (int i = 0; i < KINDS; i++)
        if (kinds[i]->recognise(file, bytes)) return kinds[i];
    return NULL;
}

const CutterKind *cutter_kind_named(const char *file_name)
{
    for (int i = 0; i < KINDS; i++)
        if (strcmp(kinds[i]->file_name, file_name) == 0) return kinds[i];
    return NULL;
}

void cutter_libraries(char text[128])
{
    char version[64];
    snprintf(text, 128, "PCRE2 %.40s, utf8proc %.40s, %s", pattern_library(version), utf8proc_version(),
             sentencepiece_is_built_in() ? "SentencePiece" : "no SentencePiece");
}

Cutter *cutter_create(const CutterKind *kind, const uint8_t *file, size_t bytes, const char *path, Message *remark,
                      Message *problem)
{
    Message cause, remarked = {""};
    void *rules = kind->read(file, bytes, &remarked, &cause);
    if (remark) *remark = remarked;
    if (!rules) {
        fail(problem, "the tokenizer '%.300s' cannot be used: %.600s", path, cause.text);
        return NULL;
    }
    Cutter *cutter = checked_calloc(1, sizeof *cutter);
    *cutter = (Cutter){kind, rules};
    return cutter;
}

void cutter_destroy(Cutter *cutter)
{
    if (!cutter) return;
    cutter->kind->destroy(cutter->rules);
    free(cutter);
}

const Pieces *cutter_pieces(const Cutter *cutter) { return cutter->kind->pieces(cutter->rules); }

bool cutter_same(const Cutter *a, const Cutter *b)
{
    return a->kind == b->kind && a->kind->digest(a->rules) == b->kind->digest(b->rules);
}

CutterWorker *cutter_worker_create(const Cutter *cutter)
{
    CutterWorker *worker = checked_calloc(1, sizeof *worker);
    *worker = (CutterWorker){cutter->kind, cutter->kind->worker_create(cutter->rules)};
    return worker;
}

void cutter_worker_destroy(CutterWorker *worker)
{
    if (!worker) return;
    worker->kind->worker_destroy(worker->worker);
    free(worker);
}

bool cutter_encode(CutterWorker *worker, const char *text, size_t length, TokenList *tokens, Message *problem)
{
    return worker->kind->encode(worker->worker, text, length, tokens, problem);
}
