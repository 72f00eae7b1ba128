/* Text that goes on where prompts end: several at a time, each drawn on its own. One process. */
#ifndef POLYSKETCH_INFERENCE_GENERATOR_H
#define POLYSKETCH_INFERENCE_GENERATOR_H

#include "io/tokenizer.h"
#include "src/inference/stop_text.h"
#include "src/model/decode.h"
#include "src/model/sampler.h"

typedef struct GeneratorSettings {
    SamplerSettings sampler;
    uint64_t seed;
    size_t tokens;    /* of a continuation, at most */
    const char *stop; /* a continuation ends before this text; "": none. Needs a tokenizer with pieces */
} GeneratorSettings;

/* One text. */
typedef struct Continuation {
    uint64_t number; /* its draws are a function of the seed and this, whatever else is written beside it */
    size_t written;  /* tokens so far */
    bool stopped;    /* by the stop text */
    ByteSink sink;   /* gets its bytes as soon as they are certain; NULL: nobody */
    void *context;   /* of the sink */
} Continuation;

typedef struct Generator Generator;

/* The tokenizer and the settings' texts outlive it; all groups of `params` are acquired. shape.max_tokens: of a prompt and what
   follows it. `slots`: texts at a time. */
Generator *generator_create(const Model *model, ParamStore *params, const Tokenizer *tokenizer, DecodeShape shape,
                            size_t slots, const GeneratorSettings *settings);
void generator_destroy(Generator *generator); /* NULL allowed */

/* Its decoder, whose sequences are the slots; and the logits (V) of the token that comes next there, which generator_read()
   fills. */
Decoder *generator_decoder(Generator *generator);
real *generator_logits(Generator *generator, size_t slot);

/* Tokens that stand before what is written in a slot. */
void generator_read(Generator *generator, size_t slot, const int32_t *tokens, size_t count);

/* Goes on in slots 0 to count - 1 until each of them has its tokens or its stop text. */
void generator_write(Generator *generator, Continuation *texts, size_t count);

/* The bytes that tokens stand for, or their numbers with a blank behind each where the tokenizer has no pieces. */
void generator_say(const Tokenizer *tokenizer, const int32_t *tokens, size_t count, ByteSink sink, void *context);

#endif
