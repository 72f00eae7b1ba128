/* Tokens that go to a file at once, since they may be more than the memory holds: a source of a corpus. */
#ifndef POLYSKETCH_PROGRAMS_KEPT_TOKENS_H
#define POLYSKETCH_PROGRAMS_KEPT_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"
#include "src/programs/corpus.h"

typedef struct KeptTokens {
    Corpus *corpus;
    int source;         /* its number */
    const char *folder; /* of the file */
    size_t document;    /* start of the one under way */
    size_t count;       /* tokens so far */
    uint8_t *gathered;  /* numbers of 4 bytes that are not in the file yet */
    size_t gathered_bytes;
} KeptTokens;

/* In a file without a name in `folder`: it goes when the program ends, however it ends. `name`: of the source, for messages. */
bool kept_tokens_begin(KeptTokens *kept, Corpus *corpus, const char *name, const char *folder, Message *problem);

/* False when the disk does not take them. */
bool kept_tokens_add(KeptTokens *kept, const int32_t *tokens, size_t count, Message *problem);

/* What was added since the document before is one; `last` is its last token, -1 without any. */
void kept_tokens_end_document(KeptTokens *kept, int64_t last);

/* Writes what is left, and frees the memory, whatever the outcome. */
bool kept_tokens_finish(KeptTokens *kept, Message *problem);

#endif
