/* What `prepare` reads: documents, each a stretch of a row of numbers in a file. */
#ifndef POLYSKETCH_PROGRAMS_CORPUS_H
#define POLYSKETCH_PROGRAMS_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "io/tokenizer.h"
#include "src/base/error.h"
#include "src/programs/input_files.h"

/* Tokens that are read at a time, at most. */
enum { CORPUS_CHUNK = 1 << 18 };

/* How a number stands in a file. */
typedef struct NumberForm {
    int bytes; /* 1, 2, 4 or 8 */
    bool with_sign, big_endian;
} NumberForm;

/* A row of numbers: the bytes of a text, the tokens of a file that another program made, or those of standard input. */
typedef struct Source {
    char *path;      /* its name, also for messages; owned by the corpus */
    int descriptor;  /* -1: it is opened when it is read */
    bool text;       /* its numbers are bytes of a text */
    uint64_t offset; /* bytes before the first number */
    NumberForm form;
} Source;

typedef struct Document {
    size_t start, length; /* numbers of its source */
    int source;
    bool gets_end; /* the token that ends documents is appended to it */
} Document;

/* All zero, but `vocab_size` and `end_of_document`, is an empty corpus. What is read stays on disk, since it may be larger
   than the memory: a document takes 24 bytes there, and the lists of them may be twice as long as they need be. */
typedef struct Corpus {
    int64_t vocab_size;      /* every token is below it */
    int64_t end_of_document; /* the token that ends documents; -1: none */
    Source *sources;
    size_t source_count, source_capacity;
    Document *documents;
    size_t count, capacity;
    size_t empty;                     /* documents without tokens, or of white space alone, that are left out */
    int open_source, open_descriptor; /* the file that was read last; 0 descriptors are none of ours, so 0 is "none" */
    uint8_t *raw;                     /* (8 CORPUS_CHUNK) numbers as they stand in the file */
} Corpus;

/* The bytes of each file. With a `separator` (may be "") lines equal to it end a document and are left out; it must be found.
   With `utf8` a file that is no valid UTF-8 is refused with its name and the place. */
bool corpus_read_texts(Corpus *corpus, const InputFiles *files, const char *separator, bool utf8, Message *problem);

/* Decimal numbers separated by white space, one document a line, whatever their number: they are kept in a file without a name
   in `folder`, 4 bytes each. */
bool corpus_read_ids(Corpus *corpus, FILE *input, const char *folder, Message *problem);

/* Puts the tokens of texts in the place of their bytes: `tokenizer` has a file, by whose rules each document is cut, several at a
   time. They are kept as those of corpus_read_ids(). Documents without tokens are left out. */
bool corpus_cut_texts(Corpus *corpus, Tokenizer *tokenizer, const char *folder, Message *problem);

/* Token files of other programs. */
typedef enum TokenFormat { TOKENS_AUTO, TOKENS_NPY, TOKENS_LLMC, TOKENS_RAW16, TOKENS_RAW32 } TokenFormat;
#define TOKEN_FORMAT_CHOICES "auto|npy|llmc|raw16|raw32"

/* All tokens of each file; a document ends after each end_of_document, and with the file. `auto` tells formats apart by their
   first bytes, and takes a name that ends in .bin for raw16. */
bool corpus_read_token_files(Corpus *corpus, const InputFiles *files, TokenFormat format, Message *problem);

/* For the readers above: takes over source->path, and returns the number of the source. */
int corpus_add_source(Corpus *corpus, Source source);

/* One without numbers is only counted. `last` is its last number, -1 for none. */
void corpus_add_document(Corpus *corpus, int source, size_t start, size_t length, int64_t last);

/* Numbers first .. first + count - 1 of a source, at most CORPUS_CHUNK; each must be a token. */
bool corpus_read(Corpus *corpus, int source, size_t first, size_t count, int32_t *tokens, Message *problem);

/* The same, as they stand in the file, however many. */
bool corpus_read_raw(Corpus *corpus, int source, size_t first, size_t count, uint8_t *bytes, Message *problem);

/* With the end that is appended. */
size_t corpus_document_tokens(const Document *document);
size_t corpus_total_tokens(const Corpus *corpus);

void corpus_destroy(Corpus *corpus);

#endif
