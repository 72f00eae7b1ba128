/* polysketch generate --prompts: every line of a file is continued, several at a time on each rank. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/json_text.h"
#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/base/usage.h"
#include "src/programs/configuration.h"
#include "src/programs/generate.h"

/* What has been written after a prompt. */
typedef struct Outcome {
    size_t tokens, bytes;
    bool stopped;
} Outcome;

/* A line of the file, its tokens, and the text after it. */
typedef struct Prompt {
    const char *line; /* in the file's memory */
    size_t length;
    int32_t *tokens;
    size_t count;
    char *text; /* (outcome.bytes) */
    size_t capacity;
    Outcome outcome;
} Prompt;

typedef struct PromptList {
    char *file; /* whole */
    Prompt *prompts;
    size_t count, capacity;
    size_t longest; /* tokens */
} PromptList;

static void free_prompts(PromptList *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->prompts[i].tokens);
        free(list->prompts[i].text);
    }
    free(list->prompts);
    free(list->file);
}

/* `line` is in the list's file, and gets an end. */
static bool add_prompt(PromptList *list, LoadedModel *loaded, char *line, size_t length, Message *problem)
{
    Message cause;
    size_t count;
    if (length > 0 && line[length - 1] == '\r') length--;
    line[length] = 0;
    int32_t *tokens = generate_encode(loaded, line, length, &count, &cause);
    if (!tokens) return fail(problem, "--prompts, line %zu: %.800s", list->count + 1, cause.text);
    list->prompts = checked_grow(list->prompts, list->count, &list->capacity, sizeof *list->prompts);
    list->prompts[list->count++] = (Prompt){.line = line, .length = length, .tokens = tokens, .count = count};
    if (count > list->longest) list->longest = count;
    return true;
}

static bool cut_lines(PromptList *list, const char *path, size_t length, LoadedModel *loaded, Message *problem)
{
    for (size_t start = 0; start < length;) {
        char *line = list->file + start, *end = memchr(line, '\n', length - start);
        size_t line_length = end ? (size_t)(end - line) : length - start;
        if (!add_prompt(list, loaded, line, line_length, problem)) return false;
        start += line_length + 1;
    }
    return list->count > 0 || fail(problem, "'%s' has no line. Write one prompt on each line", path);
}

/* ---- writing ---- */

/* ByteSink */
static void keep_bytes(void *context, const uint8_t *bytes, size_t count)
{
    Prompt *prompt = context;
    size_t needed = prompt->outcome.bytes + count;
    prompt->text = checked_room(prompt->text, needed, &prompt->capacity, 1);
    memcpy(prompt->text + prompt->outcome.bytes, bytes, count);
    prompt->outcome.bytes = needed;
}

/* Prompts [first, end), in as many slots. */
static void continue_some(Generator *generator, PromptList *list, size_t first, size_t end)
{
    if (first >= end) return;
    size_t count = end - first;
    Continuation *texts = checked_calloc(count, sizeof *texts);
    for (size_t slot = 0; slot < count; slot++) {
        Prompt *prompt = &list->prompts[first + slot];
        texts[slot] = (Continuation){.number = first + slot, .sink = keep_bytes, .context = prompt};
        decoder_restart(generator_decoder(generator), slot);
        generator_read(generator, slot, prompt->tokens, prompt->count);
    }
    generator_write(generator, texts, count);
    for (size_t slot = 0; slot < count; slot++) {
        list->prompts[first + slot].outcome.tokens = texts[slot].written;
        list->prompts[first + slot].outcome.stopped = texts[slot].stopped;
    }
    free(texts);
}

static void print_prompt(const Prompt *prompt)
{
    json_print_line(json_pack("{s:o, s:o, s:I, s:s}", "prompt", json_from_bytes(prompt->line, prompt->length), "text",
                              json_from_bytes(prompt->text, prompt->outcome.bytes), "tokens",
                              (json_int_t)prompt->outcome.tokens, "finish",
                              prompt->outcome.stopped ? "stop" : "length"));
}

/* What a rank has written reaches rank 0, which prints it. Collective. */
static void hand_in(Prompt *prompt, int rank)
{
    world_broadcast_from(rank, &prompt->outcome, sizeof prompt->outcome);
    if (world().rank != rank) prompt->text = checked_calloc(prompt->outcome.bytes + 1, 1);
    world_broadcast_from(rank, prompt->text, prompt->outcome.bytes);
    if (world().rank == 0) print_prompt(prompt);
    free(prompt->text);
    prompt->text = NULL;
}

/* In rounds, in which every rank takes the next few prompts. Returns the tokens written by all. */
static size_t continue_all(Generator *generator, PromptList *list, size_t slots)
{
    size_t ranks = (size_t)world().size, rank = (size_t)world().rank, written = 0;
    for (size_t first = 0; first < list->count; first += ranks * slots) {
        size_t mine = first + rank * slots, end = mine + slots < list->count ? mine + slots : list->count;
        continue_some(generator, list, mine, end);
        for (size_t i = first; i < list->count && i < first + ranks * slots; i++) {
            hand_in(&list->prompts[i], (int)((i - first) / slots));
            written += list->prompts[i].outcome.tokens;
        }
        fflush(stdout);
    }
    return written;
}

void generate_prompts(const GenerateOptions *options, LoadedModel *loaded)
{
    Message problem;
    PromptList list = {0};
    size_t length;
    list.file = read_on_all_ranks(options->prompts, "prompts", &length);
    require_all(cut_lines(&list, options->prompts, length, loaded, &problem), &problem);
    size_t share = (list.count + (size_t)world().size - 1) / (size_t)world().size;
    size_t slots = (size_t)options->at_once < share ? (size_t)options->at_once : share;
    DecodeShape shape = {list.longest + (size_t)options->tokens, (size_t)loaded->config.block_length};
    GeneratorSettings settings = generate_settings(options);
    double start = usage_seconds();
    Generator *generator = generator_create(loaded->model, loaded->params, &loaded->tokenizer, shape, slots, &settings);
    size_t written = continue_all(generator, &list, slots);
    char state[32];
    if (options->timing && world().rank == 0)
        fprintf(stderr, "%zu tokens after %zu prompts in %.4g s; recurrent state %s each\n", written, list.count,
                usage_seconds() - start, log_bytes((double)decoder_state_bytes(generator_decoder(generator)), state));
    generator_destroy(generator);
    free_prompts(&list);
}
