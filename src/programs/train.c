/* polysketch train: reads the configuration, opens the data, checks everything that can be checked, trains. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/documents.h"
#include "mpi/world.h"
#include "src/train/config.h"
#include "src/base/exit_code.h"
#include "src/base/log.h"
#include "src/programs/configuration.h"
#include "src/programs/programs.h"
#include "src/train/schedule.h"
#include "src/train/trainer.h"

typedef struct TrainOptions {
    ResumeChoice choice;
} TrainOptions;

static const OptionRow rows[] = {
    {"", "from", OPTION_INTEGER, offsetof(TrainOptions, choice.from), "-1", -1, 1e9, "", false,
     "continue from the checkpoint of this step, this once: later checkpoints and rows are kept under other names; -1 "
     "= "
     "from the newest"},
    {"", "overwrite", OPTION_BOOL, offsetof(TrainOptions, choice.overwrite), "false", 0, 0, "", false,
     "start anew in the folder of a run that has no checkpoint left; its tables are kept under other names"},
};

const CommandHelp train_help = {
    .usage = "mpirun -n RANKS polysketch train FILE.ini [--section.key=value ...]\n"
             "mpirun -n RANKS polysketch train RUN_FOLDER [--section.key=value ...]",
    .text =
        "Trains, and writes checkpoints, metrics (HDF5 and CSV), the configuration and a log to output.folder. Where "
        "that folder has a checkpoint, the run continues from it, on any number of ranks: the same command starts "
        "and continues. The command line wins over the file, the file over the defaults.\n"
        "SIGTERM, SIGINT, SIGUSR1, a file STOP in the run folder and output.stop_after_minutes end a run after the "
        "step under way and a checkpoint, with exit code 85: the same command goes on. SIGUSR2 saves and goes on. Exit "
        "code 0: all steps are done; 1: an error, said in one line.",
    .example = "mpirun -n 4 polysketch train configs/default.ini --output.folder=results/a --train.steps=200",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
    .configuration = CONFIGURATION_LISTED,
};

/* A rank that was started with other options would wait for the others for ever. */
static void require_same_configuration(const Config *config)
{
    Message problem;
    bool same = world_same(config_hash(config));
    if (!same) fail(&problem, "the ranks have different options. Start all of them with the same command line");
    require_all(same, &problem);
}

/* Of an open file: all of it, which one rank reads once, and whether the model has its tokens. */
static bool check_tokens(TokenFile *file, const Config *config, Message *problem)
{
    if (world().rank == 0 && !token_file_check(file, problem)) return false;
    if (config->model.vocab_size == 0 || file->vocab_size <= config->model.vocab_size) return true;
    return fail(
        problem,
        "'%s' has a vocabulary of %lld tokens, the model one of %lld. Use data made with the same tokenizer, or "
        "set model.vocab_size = %lld for a new model",
        file->path, (long long)file->vocab_size, (long long)config->model.vocab_size, (long long)file->vocab_size);
}

static bool open_training(const Config *config, TokenMix **train, Message *problem)
{
    if (!config->data.train[0])
        return fail(problem,
                    "data.train is not set. Give --data.train=FILE.h5; polysketch prepare makes one from text");
    *train = token_mix_open(config->data.train, problem);
    if (!*train) return false;
    if ((*train)->count > 1 && source_is_made(&config->data.source))
        return fail(problem, "data.train names %d files, but data.source = %s takes its text from one. Name one",
                    (*train)->count, source_name(&config->data.source));
    for (int i = 0; i < (*train)->count; i++)
        if (!check_tokens((*train)->files[i], config, problem)) return false;
    return true;
}

static bool open_validation(const Config *config, TokenFile **validation, Message *problem)
{
    *validation = token_file_open(config->data.validation, problem);
    return *validation && check_tokens(*validation, config, problem);
}

static void open_files(Config *config, TokenMix **train, TokenFile **validation)
{
    Message problem;
    require_all(open_training(config, train, &problem), &problem);
    const TokenFile *first = (*train)->files[0];
    if (config->model.vocab_size == 0 && !source_is_made(&config->data.source))
        config->model.vocab_size = first->vocab_size;
    if (!config->data.validation[0]) return;
    require_all(open_validation(config, validation, &problem), &problem);
    const Tokenizer *one = &first->tokenizer, *other = &(*validation)->tokenizer;
    char text[TOKENIZER_TEXT_SIZE], other_text[TOKENIZER_TEXT_SIZE];
    if (!tokenizer_same(one, other))
        log_line("warning: data.train has tokenizer %s, data.validation %s or other pieces",
                 tokenizer_describe(one, text), tokenizer_describe(other, other_text));
}

static void finish_configuration(Config *config)
{
    Message problem;
    require_all(config_finish(config, world().size, &problem) && schedule_check(&config->train, &problem), &problem);
    require_same_configuration(config);
}

/* Where documents start, if it matters. All ranks know by now that they have the same options. */
static void read_documents(const Config *config, const TokenMix *train, TokenFile *validation)
{
    Message problem;
    if (!config->train.document_mask) return;
    for (int i = 0; i < train->count; i++) require_all(documents_read(train->files[i], &problem), &problem);
    require_all(!validation || documents_read(validation, &problem), &problem);
}

int train_main(int argc, char **argv)
{
    static Config config, asked;
    TrainOptions options;
    OptionTable tables[2] = {{rows, sizeof rows / sizeof *rows, &options}, config_options(&config)};
    configuration_read(&tables[0], &config, argc, argv);
    asked = config;
    TokenMix *train = NULL;
    TokenFile *validation = NULL;
    if (source_reads_file(&config.data.source)) open_files(&config, &train, &validation);
    finish_configuration(&config);
    read_documents(&config, train, validation);
    Trainer *trainer = trainer_create(&config, &asked, &options.choice, train, validation);
    bool finished = trainer_run(trainer);
    trainer_destroy(trainer);
    token_file_close(validation);
    token_mix_close(train);
    return finished ? EXIT_SUCCESS : EXIT_CONTINUE;
}
