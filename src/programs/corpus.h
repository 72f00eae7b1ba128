/* What `prepare` reads: documents, each a stretch of a text file or of a list of token numbers. */
#ifndef POLYSKETCH_PROGRAMS_CORPUS_H
#define POLYSKETCH_PROGRAMS_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "src/base/error.h"

typedef struct Document {
    int file;             /* of corpus->paths; -1: of corpus->ids */
    size_t start, length; /* in bytes, or in ids: a token either way */
} Document;

/* All zero is an empty corpus. Texts stay on disk, since they may be larger than the memory. */
typedef struct Corpus {
    char **paths;
    int path_count, path_capacity;
    Document *documents;
    size_t count, capacity;
    int32_t *ids;
    size_t id_count, id_capacity;
} Corpus;

/* A file, or all regular files of a folder and the folders in it, sorted by name; empty ones are skipped. With a
   `separator` (may be "") lines equal to it end a document and are left out. With `utf8` false bytes are taken as they
   are, otherwise a file that is no valid UTF-8 is refused with its name and the place. */
bool corpus_read_texts(Corpus *corpus, const char *input, const char *separator, bool utf8, Message *problem);

/* Token numbers separated by white space, one document a line, each below vocab_size. */
bool corpus_read_ids(Corpus *corpus, FILE *input, int64_t vocab_size, Message *problem);

/* Tokens first .. first + count - 1 of a document: its bytes, or its ids. */
bool corpus_tokens(const Corpus *corpus, const Document *document, size_t first, size_t count, int32_t *tokens,
                   Message *problem);

void corpus_destroy(Corpus *corpus);

/* Where the first byte stands that is not part of valid UTF-8 (RFC 3629); `length` when there is none. */
size_t utf8_first_error(const uint8_t *text, size_t length);

#endif
