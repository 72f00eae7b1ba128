/* polysketch generate: text from a prompt, token by token from the recurrent state. */
#include "src/programs/generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/disk.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/base/usage.h"
#include "src/library/decoder_state.h"
#include "src/programs/configuration.h"
#include "src/programs/programs.h"

#define AT(field) offsetof(GenerateOptions, field)

static const OptionRow rows[] = {
    {"", "checkpoint", OPTION_TEXT, AT(checkpoint), "", 1, 0, "", false, "the model"},
    {"", "prompt", OPTION_LONG_TEXT, AT(prompt), "", 1, 0, "", false,
     "text to continue; token numbers where the model has no table of pieces"},
    {"", "prompt_file", OPTION_TEXT, AT(prompt_file), "", 1, 0, "", false,
     "the prompt from a file, of which every byte counts; not together with --prompt"},
    {"", "prompts", OPTION_TEXT, AT(prompts), "", 1, 0, "", false,
     "a file with a prompt on each line: each is continued by itself, and printed with its text as one line of JSON"},
    {"", "at_once", OPTION_INTEGER, AT(at_once), "8", 1, 1 << 16, "", false,
     "of --prompts: how many a rank continues side by side, which is faster than one after the other"},
    {"", "tokens", OPTION_INTEGER, AT(tokens), "200", 0, 1e12, "", false, "tokens to write, at most"},
    {"", "stop", OPTION_LONG_TEXT, AT(stop), "", 1, 0, "", false, "end before this text, should it be written"},
    {"", "temperature", OPTION_REAL, AT(temperature), "0.8", 0, 100, "", false, "0 = always the most likely token"},
    {"", "top_k", OPTION_INTEGER, AT(top_k), "0", 0, 1 << 24, "", false, "only the k most likely tokens; 0 = all"},
    {"", "top_p", OPTION_REAL, AT(top_p), "1", 0, 1, "", false,
     "only the most likely tokens that together have this probability"},
    {"", "seed", OPTION_INTEGER, AT(seed), "1", 0, 9e15, "", false, "of the draws"},
    {"", "save_state", OPTION_TEXT, AT(save_state), "", 1, 0, "", false,
     "write the recurrent state behind the prompt to this HDF5 file"},
    {"", "load_state", OPTION_TEXT, AT(load_state), "", 1, 0, "", false,
     "go on from such a file, of the same model; a prompt comes behind what it has read"},
    {"", "timing", OPTION_BOOL, AT(timing), "false", 0, 0, "", false,
     "end with a line on standard error: seconds per token over the run"},
};

const CommandHelp generate_help = {
    .usage = "polysketch generate --checkpoint=FILE --prompt=TEXT [options]",
    .text =
        "Writes the prompt and its continuation to standard output, token by token. One process works; the lines of "
        "--prompts "
        "are divided among the ranks. Memory and time per token do not grow with the position for the linear attention "
        "kinds (polysketch, performer), whose prompts are read in stretches and may be of any length.",
    .example = "polysketch generate --checkpoint=results/a/checkpoints/step-00001000.h5 --prompt='In the beginning' "
               "--tokens=500\n"
               "polysketch generate --checkpoint=FILE --prompt_file=book.txt --tokens=0 --save_state=book.h5\n"
               "polysketch generate --checkpoint=FILE --load_state=book.h5 --prompt='And then' --stop='.'\n"
               "polysketch generate --checkpoint=FILE --prompts=lines.txt --temperature=0 >texts.jsonl",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
};

GeneratorSettings generate_settings(const GenerateOptions *options)
{
    return (GeneratorSettings){
        .sampler = {options->temperature, options->top_k, options->top_p},
        .seed = (uint64_t)options->seed,
        .tokens = (size_t)options->tokens,
        .stop = options->stop,
    };
}

/* ---- the prompt ---- */

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
static bool parse_ids(const char *text, size_t length, size_t vocab_size, TokenList *tokens, Message *problem)
{
    static const char blanks[] = " \t\r\n";
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
        token_list_append(tokens, &(int32_t){(int32_t)id}, 1);
        place = end;
    }
    return true;
}

int32_t *generate_encode(LoadedModel *loaded, const char *text, size_t length, size_t *count, Message *problem)
{
    TokenList tokens = {0};
    bool ok = tokenizer_has_pieces(&loaded->tokenizer)
                  ? tokenizer_encode(&loaded->tokenizer, text, length, &tokens, problem)
                  : parse_ids(text, length, loaded->model->vocab_size, &tokens, problem);
    *count = tokens.count;
    if (ok && *count > 0) return tokens.ids;
    if (ok)
        fail(problem,
             "the prompt is empty: a model continues at least one token. Give --prompt=TEXT or --prompt_file=FILE");
    free(tokens.ids);
    return NULL;
}

/* ---- one text ---- */

/* What has been read so far: a state from a file, a prompt, or both. The generator is rank 0's. */
typedef struct Session {
    LoadedModel *loaded;
    char *text; /* (length): the prompt as it was given */
    size_t length;
    int32_t *prompt; /* (count): its tokens */
    size_t count;
    size_t before; /* tokens of the state from a file */
    Generator *generator;
    double read_seconds;
} Session;

/* Behind a state from a file there need not be a prompt. */
static bool encode_prompt(Session *session, const GenerateOptions *options, Message *problem)
{
    session->text = read_prompt(options, &session->length, problem);
    if (!session->text) return false;
    if (session->length == 0 && options->load_state[0]) return true;
    session->prompt = generate_encode(session->loaded, session->text, session->length, &session->count, problem);
    return session->prompt != NULL;
}

static bool start_session(Session *session, const GenerateOptions *options, const char *digest, Message *problem)
{
    LoadedModel *loaded = session->loaded;
    bool loads = options->load_state[0] != 0;
    if (loads && !decoder_state_position(options->load_state, digest, &session->before, problem)) return false;
    size_t total = session->before + session->count + (size_t)options->tokens;
    DecodeShape shape = {total, (size_t)loaded->config.block_length};
    GeneratorSettings settings = generate_settings(options);
    session->generator = generator_create(loaded->model, loaded->params, &loaded->tokenizer, shape, 1, &settings);
    return !loads || decoder_state_load(options->load_state, loaded->model, generator_decoder(session->generator), 0,
                                        generator_logits(session->generator, 0), problem);
}

/* ByteSinks: what is written is seen at once. */
static void print_bytes(void *context, const uint8_t *bytes, size_t count)
{
    (void)context;
    fwrite(bytes, 1, count, stdout);
}

static void show_bytes(void *context, const uint8_t *bytes, size_t count)
{
    print_bytes(context, bytes, count);
    fflush(stdout);
}

/* A prompt is printed as it was given: pieces may say it otherwise, with a space before it. Of numbers, as what follows them. */
static void print_prompt(const Session *session)
{
    if (tokenizer_has_pieces(&session->loaded->tokenizer))
        print_bytes(NULL, (const uint8_t *)session->text, session->length);
    else
        generator_say(&session->loaded->tokenizer, session->prompt, session->count, print_bytes, NULL);
    fflush(stdout);
}

static void read_tokens(Session *session)
{
    double start = usage_seconds();
    print_prompt(session);
    generator_read(session->generator, 0, session->prompt, session->count);
    session->read_seconds = usage_seconds() - start;
}

static void write_tokens(Session *session, bool timing)
{
    Continuation text = {.sink = show_bytes};
    char state[32];
    double start = usage_seconds();
    generator_write(session->generator, &text, 1);
    printf("\n");
    if (!timing) return;
    double each = text.written > 0 ? 1e3 * (usage_seconds() - start) / (double)text.written : 0;
    fprintf(stderr, "%zu tokens from position %zu on, %.4g ms each; prompt read in %.4g s; recurrent state %s\n",
            text.written, session->before + session->count, each, session->read_seconds,
            log_bytes((double)decoder_state_bytes(generator_decoder(session->generator)), state));
}

/* Collective; rank 0 works. */
static void generate_text(const GenerateOptions *options, LoadedModel *loaded)
{
    Message problem;
    Session session = {.loaded = loaded};
    char digest[DIGEST_TEXT_SIZE] = "";
    bool first = world().rank == 0;
    if (options->save_state[0] || options->load_state[0]) model_digest(&loaded->config, loaded->params, digest);
    require_all(encode_prompt(&session, options, &problem), &problem);
    require_all(!first || start_session(&session, options, digest, &problem), &problem);
    if (first) read_tokens(&session);
    Decoder *decoder = first ? generator_decoder(session.generator) : NULL;
    const real *logits = first ? generator_logits(session.generator, 0) : NULL;
    if (options->save_state[0])
        require_all(decoder_state_save(options->save_state, digest, loaded->model, decoder, 0, logits, &problem),
                    &problem);
    if (first) write_tokens(&session, options->timing);
    generator_destroy(session.generator);
    free(session.prompt);
    free(session.text);
}

/* ---- the subcommand ---- */

static bool check_options(const GenerateOptions *options, const Tokenizer *tokenizer, Message *problem)
{
    const char *beside = options->prompt[0]        ? "prompt"
                         : options->prompt_file[0] ? "prompt_file"
                         : options->save_state[0]  ? "save_state"
                         : options->load_state[0]  ? "load_state"
                                                   : NULL;
    if (options->prompts[0] && beside)
        return fail(problem, "--prompts and --%s are both given. Leave one of them out", beside);
    if (options->stop[0] && !tokenizer_has_pieces(tokenizer))
        return fail(problem, "--stop needs text, but this model has no table of pieces. Leave --stop out");
    return true;
}

int generate_main(int argc, char **argv)
{
    GenerateOptions options;
    OptionTable table = {rows, sizeof rows / sizeof *rows, &options};
    arguments_read(&table, argc, argv);
    Message problem;
    LoadedModel loaded = loaded_model_read(options.checkpoint);
    require_all(check_options(&options, &loaded.tokenizer, &problem), &problem);
    param_store_acquire_all(loaded.params);
    if (options.prompts[0])
        generate_prompts(&options, &loaded);
    else
        generate_text(&options, &loaded);
    param_store_release_all(loaded.params);
    loaded_model_destroy(&loaded);
    return EXIT_SUCCESS;
}
