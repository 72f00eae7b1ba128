/* polysketch score: how likely a checkpoint finds continuations, and which answer to a question. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/disk.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/base/usage.h"
#include "src/library/loaded_model.h"
#include "src/programs/configuration.h"
#include "src/programs/programs.h"
#include "src/programs/score.h"

typedef struct ScoreOptions {
    char checkpoint[OPTION_TEXT_SIZE], samples[OPTION_TEXT_SIZE];
    const char *delimiter;
    int64_t start, context_length;
} ScoreOptions;

#define AT(field) offsetof(ScoreOptions, field)

static const OptionRow rows[] = {
    {"", "checkpoint", OPTION_TEXT, AT(checkpoint), "", 1, 0, "", false, "the model"},
    {"", "samples", OPTION_TEXT, AT(samples), "", 1, 0, "", false,
     "write a line of JSON for each item to this file, in the form of the samples of lm_eval"},
    {"", "delimiter", OPTION_LONG_TEXT, AT(delimiter), " ", 0, 0, "", false,
     "what stands between a question and a choice, by default a blank; a continuation stands right behind its context"},
    {"", "start", OPTION_INTEGER, AT(start), "-1", -1, 1 << 24, "", false,
     "token before texts without a context; -1 = the one that ends documents, where the tokenizer has one"},
    {"model", "context_length", OPTION_INTEGER, AT(context_length), "0", 0, 1e9, "", false,
     "tokens that the model is given at most: of longer texts the beginning is left out; 0 = as trained"},
};

const CommandHelp score_help = {
    .usage = "[mpirun -n RANKS] polysketch score FILE.jsonl --checkpoint=FILE [options]",
    .text =
        "Each line of the file is an item: {\"context\": TEXT, \"continuation\": TEXT} asks how likely the "
        "continuation is, "
        "{\"query\": TEXT, \"choices\": [TEXT, ...], \"gold\": NUMBER} whether the right choice is the likeliest "
        "(\"context\" will do for \"query\").\n"
        "Prints the means: acc, and acc_norm by log likelihood per byte, of questions; log likelihood, perplexity per "
        "continuation, bits per byte, and the share that greedy decoding would write, of continuations. Texts are cut "
        "into "
        "tokens as lm_eval does it. The items are divided among the ranks.",
    .example = "mpirun -n 4 polysketch score hellaswag.jsonl --samples=samples.jsonl "
               "--checkpoint=results/a/checkpoints/step-00001000.h5",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
};

static ScoreReader reader_of(const ScoreOptions *options, LoadedModel *loaded)
{
    int found;
    int64_t trained = loaded->config.model.context_length;
    return (ScoreReader){
        .tokenizer = &loaded->tokenizer,
        .delimiter = options->delimiter,
        .start = options->start < 0 ? tokenizer_find_end(&loaded->tokenizer, &found) : options->start,
        .vocab_size = loaded->model->vocab_size,
        .context_length = (size_t)(options->context_length > 0 ? options->context_length : trained),
    };
}

/* All ranks read all items, and come to the same verdict. */
static ScoreList read_items(const char *path, const ScoreReader *reader)
{
    Message cause, problem;
    ScoreList list = {0};
    bool known = reader->start < (int64_t)reader->vocab_size;
    if (!known)
        fail(&problem, "--start=%lld is no token of this model, which has %zu", (long long)reader->start,
             reader->vocab_size);
    require_all(known, &problem);
    size_t length;
    char *text = read_on_all_ranks(path, "items", &length);
    bool good = score_list_read(&list, reader, text, length, &cause);
    if (!good) fail(&problem, "'%s': %.900s", path, cause.text);
    free(text);
    require_all(good, &problem);
    return list;
}

/* Texts are dealt to the ranks one by one; all ranks get all scores. */
static void score_all(ScoreList *list, LoadedModel *loaded)
{
    size_t ranks = (size_t)world().size, rank = (size_t)world().rank, mine = 0, count = list->text_count;
    ScoreRequest *requests = checked_calloc(count / ranks + 1, sizeof *requests);
    Score *scores = checked_calloc(count / ranks + 1, sizeof *scores);
    double *numbers =
        checked_calloc(2 * count, sizeof *numbers); /* log likelihood and greedy of each, 0 where not mine */
    for (size_t i = rank; i < count; i += ranks) requests[mine++] = list->texts[i].request;
    score_requests(loaded->model, loaded->params, (size_t)loaded->config.block_length, requests, mine, scores, NULL);
    for (size_t i = 0; i < mine; i++) {
        numbers[2 * (rank + i * ranks)] = scores[i].log_likelihood;
        numbers[2 * (rank + i * ranks) + 1] = scores[i].greedy;
    }
    const size_t part = 1 << 20;
    for (size_t first = 0; first < 2 * count; first += part)
        world_sum_doubles(numbers + first, (int)(2 * count - first < part ? 2 * count - first : part));
    for (size_t i = 0; i < count; i++) list->texts[i].score = (Score){numbers[2 * i], numbers[2 * i + 1] > 0};
    free(numbers);
    free(scores);
    free(requests);
}

static void require_finite(const ScoreList *list, const char *checkpoint)
{
    Message problem;
    bool finite = true;
    for (size_t i = 0; i < list->text_count; i++) finite = finite && isfinite(list->texts[i].score.log_likelihood);
    if (!finite) fail(&problem, "a log likelihood of '%s' is not finite: the model has diverged", checkpoint);
    require_all(finite, &problem);
}

/* The file appears when it is complete. */
static bool write_samples(const ScoreList *list, const char *path, Message *problem)
{
    FILE *file = disk_create(path, problem);
    if (!file) return false;
    score_write_samples(list, file); /* a failure stays with the file */
    return disk_replace(file, path, problem);
}

static void require_separate_output(const ScoreOptions *options, const char *path)
{
    Message problem;
    const char *input = disk_same_file(options->samples, options->checkpoint) ? options->checkpoint
                        : disk_same_file(options->samples, path)              ? path
                                                                              : NULL;
    if (input) fail(&problem, "--samples='%s' would replace what is read. Choose another name", options->samples);
    require_all(!input, &problem);
}

static void score(const ScoreOptions *options, const char *path)
{
    Message problem;
    require_separate_output(options, path);
    LoadedModel loaded = loaded_model_read(options->checkpoint);
    ScoreReader reader = reader_of(options, &loaded);
    double start = usage_seconds();
    ScoreList list = read_items(path, &reader);
    score_all(&list, &loaded);
    require_finite(&list, options->checkpoint);
    bool writes = options->samples[0] && world().rank == 0;
    require_all(!writes || write_samples(&list, options->samples, &problem), &problem);
    log_line("checkpoint       %s (step %lld)", options->checkpoint, (long long)loaded.step);
    log_line("items            %s", path);
    if (list.shortened > 0)
        log_line("shortened        %zu texts lost the beginning of their context: --model.context_length=N keeps more",
                 list.shortened);
    score_print_summary(&list);
    log_line("texts            %zu in %.2f s", list.text_count, usage_seconds() - start);
    score_list_free(&list);
    loaded_model_destroy(&loaded);
}

int score_main(int argc, char **argv)
{
    ScoreOptions options;
    OptionTable table = {rows, sizeof rows / sizeof *rows, &options};
    Message problem;
    const char *path = NULL;
    option_set_defaults(&table);
    bool good = option_read_arguments(&table, 1, argc, argv, &path, 1, &problem);
    if (good && !path)
        good = fail(&problem, "which items? Usage: polysketch score FILE.jsonl --checkpoint=FILE; --help explains");
    require_all(good, &problem);
    score(&options, path);
    return EXIT_SUCCESS;
}
