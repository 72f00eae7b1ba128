/* What a source of made sequences is to io/source.c, and what its makers share. */
#ifndef POLYSKETCH_IO_SOURCE_KIND_H
#define POLYSKETCH_IO_SOURCE_KIND_H

#include "io/source.h"
#include "src/base/rng.h"

/* A row of the table of sources. A function that is NULL has nothing to do. */
typedef struct SourceKind {
    const char *name, *summary;
    bool reads_file;
    int64_t alphabet; /* data.source_vocab, unless it is given */
    int64_t specials; /* tokens beside it */
    int strata;
    size_t (*counted)(const SourceSpec *spec);
    bool (*check)(const SourceSpec *spec, size_t context_length, Message *problem);
    bool (*check_file)(const TokenFile *file, size_t context_length, Message *problem);
    bool (*make)(const SourcePart *part, Message *problem); /* NULL: sequences are those of the file */
} SourceKind;

extern const SourceKind source_copying, source_induction, source_recall; /* source_symbols.c */
extern const SourceKind source_needle;                                   /* source_needle.c */

/* The stream of `purpose` of this sequence. */
RngStream source_stream(const SourcePart *part, const char *purpose);

/* A number below `count`, at `index` of a stream. */
int64_t source_draw(RngStream stream, uint64_t index, int64_t count);

/* The token at `place` of the sequence, and what must follow there; nothing where the place is not of this part. */
void source_put(const SourcePart *part, size_t place, int32_t token);
void source_ask(const SourcePart *part, size_t place, int32_t target);

#endif
