/* polysketch generate: text from a prompt, token by token from the recurrent state. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/disk.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/base/usage.h"
#include "src/model/decode.h"
#include "src/model/sampler.h"
#include "src/programs/configuration.h"
#include "src/programs/programs.h"

typedef struct GenerateOptions {
    char checkpoint[OPTION_TEXT_SIZE], prompt_file[OPTION_TEXT_SIZE];
    const char *prompt;
    int64_t tokens, top_k, seed;
    double temperature, top_p;
    bool timing, help;
} GenerateOptions;

#define AT(field) offsetof(GenerateOptions, field)

static const OptionRow rows[] = {
    {"", "checkpoint", OPTION_TEXT, AT(checkpoint), "", 1, 0, "", false, "the model"},
    {"", "prompt", OPTION_LONG_TEXT, AT(prompt), "", 1, 0, "", false,
     "text to continue; token numbers where the model has no table of pieces"},
    {"", "prompt_file", OPTION_TEXT, AT(prompt_file), "", 1, 0, "", false,
     "the prompt from a file, of which every byte counts; not together with --prompt"},
    {"", "tokens", OPTION_INTEGER, AT(tokens), "200", 1, 1e12, "", false, "tokens to write"},
    {"", "temperature", OPTION_REAL, AT(temperature), "0.8", 0, 100, "", false, "0 = always the most likely token"},
    {"", "top_k", OPTION_INTEGER, AT(top_k), "0", 0, 1 << 24, "", false, "only the k most likely tokens; 0 = all"},
    {"", "top_p", OPTION_REAL, AT(top_p), "1", 0, 1, "", false,
     "only the most likely tokens that together have this probability"},
    {"", "seed", OPTION_INTEGER, AT(seed), "1", 0, 9e15, "", false, "of the draws"},
    {"", "timing", OPTION_BOOL, AT(timing), "false", 0, 0, "", false,
     "end with a line on standard error: seconds per token over the run"},
    {"", "help", OPTION_BOOL, AT(help), "false", 0, 0, "", false, "print this"},
};

static void print_help(const OptionTable *table)
{
    printf("Usage: polysketch generate --checkpoint=FILE --prompt=TEXT [options]\n\n"
           "Writes the prompt and its continuation to standard output. One process works; memory and time per token do "
           "not\n"
           "grow with the position for the linear attention kinds (polysketch, performer).\n\n");
    option_print_help(table, stdout);
    printf("\nExample:\n  polysketch generate --checkpoint=results/a/checkpoints/step-00001000.h5 --prompt='In the "
           "beginning' --tokens=500\n");
}

static char *read_prompt_file(const char *path, size_t *length, Message *problem)
{
    Message cause;
    char *text = disk_read_all(path, SIZE_MAX, length, &cause);
    if (!text) fail(problem, "cannot read a prompt from '%s': %.200s. Check --prompt_file", path, cause.text);
    return text;
}

/* The prompt as text, which the caller frees; NULL with a message. */
static char *read_prompt(const GenerateOptions *options, size_t *length, Message *problem)
{
    if (options->prompt[0] && options->prompt_file[0]) {
        fail(problem, "--prompt and --prompt_file are both given. Leave one of them out");
        return NULL;
    }
    if (options->prompt_file[0]) return read_prompt_file(options->prompt_file, length, problem);
    *length = strlen(options->prompt);
    return strdup(options->prompt);
}

/* Token numbers between blanks, for a model whose tokenizer has no pieces. */
static bool parse_ids(const char *text, size_t length, size_t vocab_size, int32_t *ids, size_t *count, Message *problem)
{
    static const char blanks[] = " \t\r\n";
    *count = 0;
    if (strlen(text) != length)
        return fail(problem,
                    "the prompt has a zero byte at place %zu: this model has no table of pieces, so it must be "
                    "token numbers between blanks",
                    strlen(text));
    for (const char *place = text + strspn(text, blanks); *place; place += strspn(place, blanks)) {
        char *end;
        long long id = strtoll(place, &end, 10);
        if (end == place || (*end && !strchr(blanks, *end)) || id < 0 || (size_t)id >= vocab_size)
            return fail(problem,
                        "'%.*s' in the prompt is no token number below %zu: this model has no table of pieces, so the "
                        "prompt must be token numbers between blanks",
                        (int)strcspn(place, blanks) < 40 ? (int)strcspn(place, blanks) : 40, place, vocab_size);
        ids[(*count)++] = (int32_t)id;
        place = end;
    }
    return true;
}

static int32_t *encode_prompt(const GenerateOptions *options, const LoadedModel *loaded, size_t *count,
                              Message *problem)
{
    size_t length;
    char *text = read_prompt(options, &length, problem);
    if (!text) return NULL;
    int32_t *ids = checked_calloc(length + 1, sizeof *ids);
    bool ok = tokenizer_has_pieces(&loaded->tokenizer)
                  ? tokenizer_encode(&loaded->tokenizer, text, length, ids, count, problem)
                  : parse_ids(text, length, loaded->model->vocab_size, ids, count, problem);
    free(text);
    if (ok && *count > 0) return ids;
    if (ok)
        fail(problem,
             "the prompt is empty: a model continues at least one token. Give --prompt=TEXT or --prompt_file=FILE");
    free(ids);
    return NULL;
}

static void write_piece(const Tokenizer *tokenizer, int32_t token)
{
    if (tokenizer_has_pieces(tokenizer)) {
        size_t length;
        const uint8_t *piece = tokenizer_piece(tokenizer, token, &length);
        fwrite(piece, 1, length, stdout);
    } else {
        printf("%d ", token);
    }
    fflush(stdout);
}

static void generate(const GenerateOptions *options, const LoadedModel *loaded, const int32_t *prompt, size_t count)
{
    size_t total = count + (size_t)options->tokens;
    DecodeShape shape = {total, (size_t)loaded->config.block_length};
    Decoder *decoder = decoder_create(loaded->model, loaded->params, shape, 1);
    /* A vocabulary may be rounded up for speed: only tokens that have a piece are drawn. */
    bool has_pieces = tokenizer_has_pieces(&loaded->tokenizer);
    size_t drawable = has_pieces && (size_t)loaded->tokenizer.vocab_size < loaded->model->vocab_size
                          ? (size_t)loaded->tokenizer.vocab_size
                          : loaded->model->vocab_size;
    Sampler *sampler =
        sampler_create((SamplerSettings){options->temperature, options->top_k, options->top_p}, drawable);
    RngStream stream = rng_stream((uint64_t)options->seed, "generate", 0);
    for (size_t i = 0; i < count; i++) write_piece(&loaded->tokenizer, prompt[i]);
    const real *logits = decoder_read(decoder, 0, prompt, count);
    double start = usage_seconds();
    for (size_t i = count; i < total; i++) {
        int32_t token = sampler_draw(sampler, logits, rng_uniform(stream, i));
        write_piece(&loaded->tokenizer, token);
        if (i + 1 < total) logits = decoder_step(decoder, token);
    }
    printf("\n");
    char state[32];
    if (options->timing)
        fprintf(stderr, "%lld tokens from position %zu on, %.4g ms each; recurrent state %s\n",
                (long long)options->tokens, count, 1e3 * (usage_seconds() - start) / (double)options->tokens,
                log_bytes((double)decoder_state_bytes(decoder), state));
    sampler_destroy(sampler);
    decoder_destroy(decoder);
}

int generate_main(int argc, char **argv)
{
    GenerateOptions options;
    OptionTable table = {rows, sizeof rows / sizeof *rows, &options};
    arguments_read(&table, argc, argv);
    if (options.help) {
        if (world().rank == 0) print_help(&table);
        return EXIT_SUCCESS;
    }
    Message problem;
    size_t count;
    LoadedModel loaded = loaded_model_read(options.checkpoint);
    int32_t *prompt = encode_prompt(&options, &loaded, &count, &problem);
    require_all(prompt != NULL, &problem);
    param_store_acquire_all(loaded.params);
    if (world().rank == 0) generate(&options, &loaded, prompt, count);
    param_store_release_all(loaded.params);
    free(prompt);
    loaded_model_destroy(&loaded);
    return EXIT_SUCCESS;
}
