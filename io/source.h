/* Where the sequences of a run come from (data.source): a token file, or a test of recall whose sequences are made as they are
   needed (docs/format.md, "Tests of recall").

   What a made sequence holds depends on (seed, use, T, number) alone: never on the ranks, the batch or what was made before. So
   every rank makes its own part of it, and training and validation have no sequence in common. At most places nothing is
   asked: their target is -1, which counts neither in the loss nor in the gradient. How many targets of a sequence do count is
   the same for all sequences of a source, so means over a batch need no messages. */
#ifndef POLYSKETCH_IO_SOURCE_H
#define POLYSKETCH_IO_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/token_file.h"
#include "src/base/error.h"
#include "src/base/options.h"
#include "src/core/sequence_link.h"

/* What options say. */
typedef struct SourceSpec {
    int kind;      /* row of the table of sources; the first is a token file */
    int64_t items; /* that a sequence of copying or recall asks for */
    int64_t
        alphabet; /* data.source_vocab: tokens that carry data; 0 until source_resolve(): as the literature has it */
} SourceSpec;

/* The rows data.source, data.items and data.source_vocab; offsets are those of SourceSpec. */
const OptionRow *source_options(int *count);

const char *source_name(const SourceSpec *spec);
const char *source_summary(const SourceSpec *spec);

/* Not a file of which every target counts. */
bool source_is_made(const SourceSpec *spec);

/* A token file: for the sequences themselves, or for the text around a needle. */
bool source_reads_file(const SourceSpec *spec);

/* Replaces "0 = by rule". */
void source_resolve(SourceSpec *spec);

/* Tokens of a made source, numbered from 0; 0 when the file says it. */
int64_t source_vocab_size(const SourceSpec *spec);

/* Targets of a sequence of T that count; T for a token file. */
size_t source_counted(const SourceSpec *spec, size_t context_length);

/* Sequence `number` belongs to stratum number % strata of the places where its answer stands (needle: tenths of the depth); 1
   for the others. */
enum { SOURCE_MAX_STRATA = 10 };
int source_strata(const SourceSpec *spec);

/* Can sequences of T be made? False with a message. Of a resolved spec. */
bool source_check(const SourceSpec *spec, size_t context_length, Message *problem);

/* An open source. */
typedef struct DataSource {
    SourceSpec spec; /* resolved */
    TokenFile *file; /* NULL where none is read */
    uint64_t seed;   /* of training */
} DataSource;

/* Is its file one that it can be made from? */
bool source_check_file(const DataSource *source, size_t context_length, Message *problem);

/* Which sequences: those of different uses are different. */
typedef enum SourceUse { USE_TRAINING, USE_EVALUATION } SourceUse;

/* A part of a made sequence, and where it goes. */
typedef struct SourcePart {
    const DataSource *source;
    SourceUse use;
    size_t context_length; /* T */
    uint64_t number;       /* of the sequence */
    TokenRange range;      /* of its T places */
    int32_t *inputs;       /* (range.count) */
    int32_t *targets;      /* (range.count); -1: nothing is asked here */
} SourcePart;

/* Makes it. False with a message when a file cannot be read. Local. */
bool source_make(const SourcePart *part, Message *problem);

#endif
