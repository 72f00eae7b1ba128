#include "src/train/sample.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/disk.h"
#include "mpi/world.h"
#include "src/base/heartbeat.h"
#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/inference/generator.h"

enum { DEFAULT_PROMPT_TOKENS = 32, LOG_BYTES = 96 };

#define AT(field) offsetof(SampleSpec, field)

const OptionRow *sample_options(int *count)
{
    static const OptionRow rows[] = {
        {"sample", "every", OPTION_INTEGER, AT(every), "0", 0, 1e9, "", false,
         "steps between texts that the model writes, into the log and samples.txt; 0 = none"},
        {"sample", "prompt", OPTION_TEXT, AT(prompt), "", 0, 0, "", false,
         "what they continue; empty = the first 32 tokens of the validation data, or else of the training data"},
        {"sample", "tokens", OPTION_INTEGER, AT(tokens), "200", 1, 1e9, "", false, "tokens to write"},
        {"sample", "seed", OPTION_INTEGER, AT(seed), "1", 0, 9e15, "", false, "of the draws, at temperature 0.8"},
    };
    *count = sizeof rows / sizeof *rows;
    return rows;
}

struct SampleWriter {
    const SampleSpec *spec;
    const Model *model;
    size_t block_length;
    Tokenizer *tokenizer;
    int32_t *prompt; /* (prompt_count) */
    size_t prompt_count;
    char path[DISK_PATH_SIZE]; /* samples.txt */
};

/* ---- the prompt ---- */

static bool read_first_tokens(SampleWriter *writer, TokenFile *text, Message *problem)
{
    writer->prompt_count = text->count < DEFAULT_PROMPT_TOKENS ? text->count : DEFAULT_PROMPT_TOKENS;
    writer->prompt = checked_calloc(writer->prompt_count, sizeof *writer->prompt);
    return token_file_read(text, 0, writer->prompt_count, writer->prompt, problem);
}

static bool encode_prompt(SampleWriter *writer, Message *problem)
{
    const char *text = writer->spec->prompt;
    Message cause;
    if (!tokenizer_has_pieces(writer->tokenizer))
        return fail(problem,
                    "sample.prompt is a text, but the tokenizer '%s' of the data has no table of pieces. Leave "
                    "sample.prompt empty: the first tokens of the data are then continued",
                    writer->tokenizer->name);
    TokenList tokens = {0};
    bool good = tokenizer_encode(writer->tokenizer, text, strlen(text), &tokens, &cause);
    writer->prompt = tokens.ids;
    writer->prompt_count = tokens.count;
    return good ? tokens.count > 0 || fail(problem, "sample.prompt has no tokens. Give it more text")
                : fail(problem, "sample.prompt: %.800s", cause.text);
}

SampleWriter *sample_writer_create(const SampleSpec *spec, const char *folder, const Model *model, size_t block_length,
                                   Tokenizer *tokenizer, TokenFile *text, Message *problem)
{
    SampleWriter *writer = checked_calloc(1, sizeof *writer);
    *writer = (SampleWriter){.spec = spec, .model = model, .block_length = block_length, .tokenizer = tokenizer};
    snprintf(writer->path, sizeof writer->path, "%s/samples.txt", folder);
    bool good = true;
    if (spec->every > 0 && !tokenizer)
        good = fail(problem,
                    "sample.every = %lld, but what data.source makes is no text to continue. Set it to 0, or use "
                    "data.source = file",
                    (long long)spec->every);
    else if (spec->every > 0)
        good = spec->prompt[0] ? encode_prompt(writer, problem) : read_first_tokens(writer, text, problem);
    if (good) return writer;
    sample_writer_destroy(writer);
    return NULL;
}

void sample_writer_destroy(SampleWriter *writer)
{
    if (!writer) return;
    free(writer->prompt);
    free(writer);
}

/* ---- a sample ---- */

static DecodeShape decode_shape(const SampleSpec *spec, size_t prompt_tokens, size_t block_length)
{
    return (DecodeShape){prompt_tokens + (size_t)spec->tokens, block_length};
}

size_t sample_bytes(const SampleSpec *spec, const Model *model, size_t block_length)
{
    size_t prompt = spec->prompt[0] ? strlen(spec->prompt) : DEFAULT_PROMPT_TOKENS;
    if (spec->every == 0) return 0;
    return decoder_bytes(model, decode_shape(spec, prompt, block_length), 1, prompt);
}

static void add_bytes(void *context, const uint8_t *bytes, size_t count) { fwrite(bytes, 1, count, context); }

/* Prompt and continuation, as polysketch generate writes them. */
static void write_text(const SampleWriter *writer, ParamStore *params, FILE *text)
{
    size_t count = writer->prompt_count;
    GeneratorSettings settings = {
        .sampler = {.temperature = 0.8, .top_p = 1},
        .seed = (uint64_t)writer->spec->seed,
        .tokens = (size_t)writer->spec->tokens,
        .stop = "",
    };
    DecodeShape shape = decode_shape(writer->spec, count, writer->block_length);
    Generator *generator = generator_create(writer->model, params, writer->tokenizer, shape, 1, &settings);
    Continuation continuation = {.sink = add_bytes, .context = text};
    generator_say(writer->tokenizer, writer->prompt, count, add_bytes, text);
    generator_read(generator, 0, writer->prompt, count);
    generator_write(generator, &continuation, 1);
    generator_destroy(generator);
}

/* As much as fits into a line, on one line, whatever bytes it has. */
static void log_beginning(int64_t step, const char *text, size_t length)
{
    char line[LOG_BYTES + 1];
    size_t count = length < LOG_BYTES ? length : LOG_BYTES;
    for (size_t i = 0; i < count; i++) line[i] = (unsigned char)text[i] < ' ' ? ' ' : text[i];
    while (count < length && count > 0 && ((unsigned char)text[count] & 0xc0) == 0x80) count--; /* no half characters */
    line[count] = 0;
    log_line("sample at step %lld | %s%s", (long long)step, line, count < length ? "..." : "");
}

static void append_to_file(const char *path, int64_t step, const char *text, size_t length)
{
    FILE *file = fopen(path, "a");
    bool written = file && fprintf(file, "---- step %lld\n", (long long)step) > 0 &&
                   fwrite(text, 1, length, file) == length && fputc('\n', file) != EOF;
    if (file && fclose(file) != 0) written = false;
    if (!written) log_line("warning: cannot write '%s': %s. Training goes on", path, strerror(errno));
}

void sample_writer_run(SampleWriter *writer, ParamStore *params, int64_t step)
{
    if (writer->spec->every == 0 || step % writer->spec->every != 0) return;
    param_store_acquire_all(params);
    if (world().rank == 0) {
        char *bytes = NULL;
        size_t length = 0;
        FILE *text = open_memstream(&bytes, &length);
        CHECK(text, "cannot allocate the text of a sample");
        heartbeat_begin("sample at step %lld", (long long)step);
        write_text(writer, params, text);
        heartbeat_end();
        fclose(text);
        log_beginning(step, bytes, length);
        append_to_file(writer->path, step, bytes, length);
        free(bytes);
    }
    param_store_release_all(params);
}
