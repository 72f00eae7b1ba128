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
    bool help;
} TrainOptions;

static const OptionRow rows[] = {
    {"", "from", OPTION_INTEGER, offsetof(TrainOptions, choice.from), "-1", -1, 1e9, "", false,
     "continue from the checkpoint of this step, this once: later checkpoints and rows are kept under other names; -1 "
     "= "
     "from the newest"},
    {"", "overwrite", OPTION_BOOL, offsetof(TrainOptions, choice.overwrite), "false", 0, 0, "", false,
     "start anew in the folder of a run that has no checkpoint left; its tables are kept under other names"},
    {"", "help", OPTION_BOOL, offsetof(TrainOptions, help), "false", 0, 0, "", false, "print this"},
};

static void print_help(const OptionTable tables[2])
{
    printf("Usage: mpirun -n RANKS polysketch train FILE.ini [--section.key=value ...]\n"
           "       mpirun -n RANKS polysketch train RUN_FOLDER [--section.key=value ...]\n\n"
           "Trains, and writes checkpoints, metrics (HDF5 and CSV), the configuration and a log to "
           "output.folder.\n"
           "Where that folder has a checkpoint, the run continues from it, on any number of ranks: the same command "
           "starts\n"
           "and continues. The command line wins over the file, the file over the defaults.\n\n"
           "SIGTERM, SIGINT, SIGUSR1, a file STOP in the run folder and output.stop_after_minutes end a run after the "
           "step under "
           "way and a\ncheckpoint, with exit code 85: the same command goes on. SIGUSR2 saves and goes on. Exit code "
           "0: all steps "
           "are done;\n1: an error, said in one line.\n\n");
    option_print_help(&tables[0], stdout);
    option_print_help(&tables[1], stdout);
    printf(
        "\nExample:\n  mpirun -n 4 polysketch train configs/default.ini --output.folder=results/a --train.steps=200\n");
}

/* A rank that was started with other options would wait for the others for ever. */
static void require_same_configuration(const Config *config)
{
    Message problem;
    bool same = world_same(config_hash(config));
    if (!same) fail(&problem, "the ranks have different options. Start all of them with the same command line");
    require_all(same, &problem);
}

static TokenFile *open_tokens(const char *option, const char *path, const Config *config, Message *problem)
{
    if (!path[0]) {
        fail(problem, "%s is not set. Give --%s=FILE.h5; polysketch prepare makes one from text", option, option);
        return NULL;
    }
    TokenFile *file = token_file_open(path, problem);
    if (file && world().rank == 0 && !token_file_check(file, problem)) { /* one rank reads all of it, once */
        token_file_close(file);
        return NULL;
    }
    if (!file || config->model.vocab_size == 0 || file->vocab_size <= config->model.vocab_size) return file;
    fail(problem,
         "'%s' has a vocabulary of %lld tokens, the model one of %lld. Use data made with the same tokenizer, or "
         "set model.vocab_size = %lld for a new model",
         path, (long long)file->vocab_size, (long long)config->model.vocab_size, (long long)file->vocab_size);
    token_file_close(file);
    return NULL;
}

static TokenFile *require_tokens(const char *option, const char *path, const Config *config)
{
    Message problem;
    TokenFile *file = open_tokens(option, path, config, &problem);
    require_all(file != NULL, &problem);
    return file;
}

static void open_files(Config *config, TokenFile **train, TokenFile **validation)
{
    *train = require_tokens("data.train", config->data.train, config);
    if (config->model.vocab_size == 0 && !source_is_made(&config->data.source))
        config->model.vocab_size = (*train)->vocab_size;
    if (!config->data.validation[0]) return;
    *validation = require_tokens("data.validation", config->data.validation, config);
    if (!tokenizer_same(&(*train)->tokenizer, &(*validation)->tokenizer))
        log_line("warning: data.train has tokenizer '%s', data.validation '%s' or other pieces",
                 (*train)->tokenizer.name, (*validation)->tokenizer.name);
}

static void finish_configuration(Config *config)
{
    Message problem;
    require_all(config_finish(config, world().size, &problem) && schedule_check(&config->train, &problem), &problem);
    require_same_configuration(config);
}

/* Where documents start, if it matters. All ranks know by now that they have the same options. */
static void read_documents(const Config *config, TokenFile *train, TokenFile *validation)
{
    Message problem;
    if (!config->train.document_mask) return;
    require_all(documents_read(train, &problem), &problem);
    require_all(!validation || documents_read(validation, &problem), &problem);
}

int train_main(int argc, char **argv)
{
    static Config config, asked;
    TrainOptions options;
    OptionTable tables[2] = {{rows, sizeof rows / sizeof *rows, &options}, config_options(&config)};
    configuration_read(&tables[0], &config, argc, argv);
    if (options.help) {
        if (world().rank == 0) print_help(tables);
        return EXIT_SUCCESS;
    }
    asked = config;
    TokenFile *train = NULL, *validation = NULL;
    if (source_reads_file(&config.data.source)) open_files(&config, &train, &validation);
    finish_configuration(&config);
    read_documents(&config, train, validation);
    Trainer *trainer = trainer_create(&config, &asked, &options.choice, train, validation);
    bool finished = trainer_run(trainer);
    trainer_destroy(trainer);
    if (validation) token_file_close(validation);
    if (train) token_file_close(train);
    return finished ? EXIT_SUCCESS : EXIT_CONTINUE;
}
