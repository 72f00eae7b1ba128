/* Token files (docs/format.md): one long row of token numbers with the vocabulary it uses, in HDF5.

   Reading is local to a rank and not collective: each rank opens the file and reads its own short pieces, which are
   small and scattered, and the page cache of the machine serves all of its ranks. */
#ifndef POLYSKETCH_IO_TOKEN_FILE_H
#define POLYSKETCH_IO_TOKEN_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/tokenizer.h"
#include "src/base/error.h"

typedef struct TokenFile {
    char *path;
    int64_t vocab_size;
    size_t count;          /* tokens */
    int token_bytes;       /* bytes of a stored token: 1, 2 or 4 */
    int64_t file_bytes;    /* when it was opened */
    size_t document_count; /* 0: the file does not say where documents start */
    Tokenizer tokenizer;
    struct Documents *documents;  /* NULL until documents_read() of io/documents.h */
    int64_t file, tokens, starts; /* handles of HDF5; starts, of /documents, is -1 without them */
} TokenFile;

/* Checks the format, the attributes and the shape, not yet every token. NULL with a message when the file is missing,
   damaged or something else. The caller closes. */
TokenFile *token_file_open(const char *path, Message *problem);
void token_file_close(TokenFile *file);

/* Tokens first .. first + count - 1. False with a message when the file cannot be read, is shorter or has become so, or has a
   token that is not below vocab_size. From any thread, one at a time. */
bool token_file_read(TokenFile *file, size_t first, size_t count, int32_t *tokens, Message *problem);

/* Where documents first .. first + count - 1 start: numbers of tokens, which rise strictly from 0 for the first document and
   are below file->count; a document ends where the next one starts, the last one with the file. `first` + `count` is at most
   document_count. False with a message when they cannot be read or are not as said here. */
bool token_file_documents(TokenFile *file, size_t first, size_t count, int64_t *starts, Message *problem);

/* Of the number of tokens and of samples spread over all of them: tells files apart without reading them whole. */
bool token_file_digest(TokenFile *file, uint64_t *digest, Message *problem);

/* Reads all tokens and starts of documents: each token must be below vocab_size, and together they must agree with the
   digests that token_file_finish() left, where there are some. False with a message. A file that is good gets a verdict
   beside it. */
bool token_file_examine(TokenFile *file, Message *problem);

/* The same, before tokens are used; but a file that has not changed since its verdict (io/token_verdict.h) is not read
   again. */
bool token_file_check(TokenFile *file, Message *problem);

/* Writing, by one process. The file grows under a temporary name (io/disk.h) and takes its own when it is finished, so that
   a file under its final name is always whole. Tokens are stored in 1, 2 or 4 bytes as tokenizer->vocab_size needs.

   token_file_create() returns NULL with a message when the folder is not writable or has no room for `expected` tokens
   (0: not known). A disk that fills up later ends the job; the unfinished file is removed. */
typedef struct TokenWriter TokenWriter;

TokenWriter *token_file_create(const char *path, const Tokenizer *tokenizer, size_t expected, Message *problem);

/* The next token that is appended starts a document. Called before the first token, or never: then the file does not say
   where documents start. A document without tokens leaves no trace. */
void token_file_begin_document(TokenWriter *writer);

/* False with a message for an id that is not below vocab_size. */
bool token_file_append(TokenWriter *writer, const int32_t *ids, size_t count, Message *problem);

/* Brings `count` files to disk, then names all of them in the place of earlier ones and removes the file `obsolete`
   (NULL: none), so that files which belong together appear together. The writers are freed, whatever the outcome; when it
   is false (one cannot be renamed or removed) none of the files is there, and the earlier ones are. */
bool token_file_finish(TokenWriter *const *writers, int count, const char *obsolete, Message *problem);

/* Removes the unfinished file and frees the writer; NULL is allowed. */
void token_file_abandon(TokenWriter *writer);

#endif
