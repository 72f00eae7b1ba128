/* What cuts texts into tokens as the program of a tokenizer does it, made from the file of that program.

   A Cutter never changes; each thread that cuts has a CutterWorker. */
#ifndef POLYSKETCH_TEXT_CUTTER_H
#define POLYSKETCH_TEXT_CUTTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"
#include "src/text/pieces.h"
#include "src/text/token_list.h"

/* A form of such files. `rules` and `worker` are the form's own. */
typedef struct CutterKind {
    const char
        *file_name; /* the name of the file, by which transformers finds it, and token files and checkpoints call it */
    const char *title;
    bool (*recognise)(const uint8_t *file, size_t bytes);
    /* NULL with the cause and the remedy, as the end of a sentence about the file. `remark` is zeroed, and may be left so. */
    void *(*read)(const uint8_t *file, size_t bytes, Message *remark, Message *problem);
    void (*destroy)(void *rules);
    const Pieces *(*pieces)(const void *rules); /* they live as long as the rules */
    uint64_t (*digest)(const void *rules);      /* of what decides the tokens of texts */
    void *(*worker_create)(const void *rules);
    bool (*encode)(void *worker, const char *text, size_t length, TokenList *tokens, Message *problem);
    void (*worker_destroy)(void *worker);
} CutterKind;

/* The form of a file, by its first bytes; by its file_name. NULL: none of those known here. */
const CutterKind *cutter_recognise(const uint8_t *file, size_t bytes);
const CutterKind *cutter_kind_named(const char *file_name);

/* The libraries that work here, for reports: "PCRE2 10.42, utf8proc 2.8.0, no SentencePiece". */
void cutter_libraries(char text[128]);

typedef struct Cutter Cutter;

/* NULL with a message in which the file is called `path`; `remark` ("" when there is nothing to say) may be NULL. */
Cutter *cutter_create(const CutterKind *kind, const uint8_t *file, size_t bytes, const char *path, Message *remark,
                      Message *problem);
void cutter_destroy(Cutter *cutter); /* NULL allowed */

/* Token i stands for piece i; one without a text has none. They live as long as the cutter. */
const Pieces *cutter_pieces(const Cutter *cutter);

/* Do both cut all texts alike? Files may differ in what does not matter for that. */
bool cutter_same(const Cutter *a, const Cutter *b);

/* Of one thread; the cutter outlives it. */
typedef struct CutterWorker CutterWorker;
CutterWorker *cutter_worker_create(const Cutter *cutter);
void cutter_worker_destroy(CutterWorker *worker); /* NULL allowed */

/* Appends the tokens of a text of any bytes. */
bool cutter_encode(CutterWorker *worker, const char *text, size_t length, TokenList *tokens, Message *problem);

#endif
