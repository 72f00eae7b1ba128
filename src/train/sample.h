/* Text that a model writes while it learns: now and then a continuation of the same prompt, into the log and into samples.txt of
   the run folder. What is written at a step is what `polysketch generate` writes from a checkpoint of that step with the same
   prompt, tokens and seed. */
#ifndef POLYSKETCH_TRAIN_SAMPLE_H
#define POLYSKETCH_TRAIN_SAMPLE_H

#include <stdint.h>

#include "io/token_file.h"
#include "src/base/options.h"
#include "src/core/param_store.h"
#include "src/model/model.h"

typedef struct SampleSpec {
    int64_t every; /* steps; 0: none */
    char prompt[OPTION_TEXT_SIZE];
    int64_t tokens, seed;
} SampleSpec;

/* Rows with offsets into a SampleSpec: sample.every, ... */
const OptionRow *sample_options(int *count);

/* Bytes that rank 0 takes while it writes one; 0 where there are none. A prompt counts as a token for each byte. */
size_t sample_bytes(const SampleSpec *spec, const Model *model, size_t block_length);

typedef struct SampleWriter SampleWriter;

/* Of a run whose tokens are those of `tokenizer`; a sample without a prompt begins with the first tokens of `text`. Both are NULL
   where the run has no texts. All but `folder` and `text` must outlive the writer. NULL with a message when there can be no
   sample, or the prompt cannot be turned into tokens. Local. */
SampleWriter *sample_writer_create(const SampleSpec *spec, const char *folder, const Model *model, size_t block_length,
                                   Tokenizer *tokenizer, TokenFile *text, Message *problem);
void sample_writer_destroy(SampleWriter *writer);

/* Writes a sample where one is due at `step`: rank 0 works, the others wait for it when they meet next. Where the file cannot be
   written that is a warning. Collective. */
void sample_writer_run(SampleWriter *writer, ParamStore *params, int64_t step);

#endif
