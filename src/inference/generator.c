#include "src/inference/generator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"
#include "src/base/rng.h"

struct Generator {
    const Model *model;
    const Tokenizer *tokenizer;
    GeneratorSettings settings;
    Decoder *decoder;
    Sampler *sampler;
    size_t slots;
    real *logits;    /* (slots, V) */
    StopText *stops; /* (slots) */
    size_t *running; /* (slots): those that still write */
    int32_t *drawn;  /* (slots): a token for each of these */
};

/* A vocabulary may be rounded up for speed: only tokens that have a piece are drawn. */
static size_t drawable_tokens(const Model *model, const Tokenizer *tokenizer)
{
    bool fewer = tokenizer_has_pieces(tokenizer) && (size_t)tokenizer->vocab_size < model->vocab_size;
    return fewer ? (size_t)tokenizer->vocab_size : model->vocab_size;
}

Generator *generator_create(const Model *model, ParamStore *params, const Tokenizer *tokenizer, DecodeShape shape,
                            size_t slots, const GeneratorSettings *settings)
{
    Generator *generator = checked_calloc(1, sizeof *generator);
    *generator = (Generator){.model = model, .tokenizer = tokenizer, .settings = *settings, .slots = slots};
    generator->decoder = decoder_create(model, params, shape, slots);
    generator->sampler = sampler_create(settings->sampler, drawable_tokens(model, tokenizer));
    generator->logits = checked_calloc(slots * model->vocab_size, sizeof *generator->logits);
    generator->stops = checked_calloc(slots, sizeof *generator->stops);
    generator->running = checked_calloc(slots, sizeof *generator->running);
    generator->drawn = checked_calloc(slots, sizeof *generator->drawn);
    return generator;
}

void generator_destroy(Generator *generator)
{
    if (!generator) return;
    decoder_destroy(generator->decoder);
    sampler_destroy(generator->sampler);
    free(generator->logits);
    free(generator->stops);
    free(generator->running);
    free(generator->drawn);
    free(generator);
}

Decoder *generator_decoder(Generator *generator) { return generator->decoder; }

real *generator_logits(Generator *generator, size_t slot)
{
    return generator->logits + slot * generator->model->vocab_size;
}

static void keep_logits(Generator *generator, size_t slot, const real *logits)
{
    memcpy(generator_logits(generator, slot), logits, generator->model->vocab_size * sizeof *logits);
}

void generator_read(Generator *generator, size_t slot, const int32_t *tokens, size_t count)
{
    if (count > 0) keep_logits(generator, slot, decoder_read(generator->decoder, slot, tokens, count));
}

/* The bytes of a token; `number` has room for it as a number. */
static const uint8_t *bytes_of(const Tokenizer *tokenizer, int32_t token, char number[16], size_t *length)
{
    if (tokenizer_has_pieces(tokenizer)) return tokenizer_piece(tokenizer, token, length);
    *length = (size_t)snprintf(number, 16, "%d ", token);
    return (const uint8_t *)number;
}

void generator_say(const Tokenizer *tokenizer, const int32_t *tokens, size_t count, ByteSink sink, void *context)
{
    char number[16];
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const uint8_t *bytes = bytes_of(tokenizer, tokens[i], number, &length);
        sink(context, bytes, length);
    }
}

/* Draws the next token of a slot. False when the text ends with it. */
static bool draw(Generator *generator, size_t slot, Continuation *text, int32_t *token)
{
    RngStream stream = rng_stream(generator->settings.seed, "generate", text->number);
    double uniform = rng_uniform(stream, decoder_position(generator->decoder, slot));
    char number[16];
    size_t length;
    *token = sampler_draw(generator->sampler, generator_logits(generator, slot), uniform);
    const uint8_t *bytes = bytes_of(generator->tokenizer, *token, number, &length);
    text->written++;
    text->stopped = stop_text_add(&generator->stops[slot], bytes, length, text->sink, text->context);
    return !text->stopped && text->written < generator->settings.tokens;
}

/* Draws for all running slots; those whose text ends leave them. Returns how many go on. */
static size_t draw_all(Generator *generator, Continuation *texts, size_t running)
{
    size_t left = 0;
    for (size_t i = 0; i < running; i++) {
        size_t slot = generator->running[i];
        int32_t token;
        if (!draw(generator, slot, &texts[slot], &token)) continue;
        generator->running[left] = slot;
        generator->drawn[left++] = token;
    }
    return left;
}

void generator_write(Generator *generator, Continuation *texts, size_t count)
{
    size_t V = generator->model->vocab_size, running = generator->settings.tokens > 0 ? count : 0;
    for (size_t slot = 0; slot < count; slot++) {
        generator->stops[slot] = stop_text_create(generator->settings.stop);
        generator->running[slot] = slot;
    }
    while ((running = draw_all(generator, texts, running)) > 0) {
        const real *logits = decoder_step_all(generator->decoder, generator->running, generator->drawn, running);
        for (size_t i = 0; i < running; i++) keep_logits(generator, generator->running[i], logits + i * V);
    }
    for (size_t slot = 0; slot < count; slot++) {
        if (!texts[slot].stopped) stop_text_finish(&generator->stops[slot], texts[slot].sink, texts[slot].context);
        stop_text_destroy(&generator->stops[slot]);
    }
}
