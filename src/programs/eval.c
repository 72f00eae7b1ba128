/* polysketch eval: how well a checkpoint predicts a token file. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/programs/configuration.h"
#include "src/programs/programs.h"
#include "src/train/evaluate.h"

typedef struct EvalOptions {
    char checkpoint[OPTION_TEXT_SIZE], data[OPTION_TEXT_SIZE], per_token_loss[OPTION_TEXT_SIZE];
    int64_t sequences, stride, context_length, block_length, micro_batch_sequences, stretch_length, data_ranks;
    bool help;
} EvalOptions;

#define AT(field) offsetof(EvalOptions, field)

static const OptionRow rows[] = {
    {"", "checkpoint", OPTION_TEXT, AT(checkpoint), "", 0, 0, "", false, "the model"},
    {"", "data", OPTION_TEXT, AT(data), "", 0, 0, "", false, "token file"},
    {"", "per_token_loss", OPTION_TEXT, AT(per_token_loss), "", 0, 0, "", false,
     "write the loss of every token to this HDF5 file, /per_token_loss (sequences, T)"},
    {"", "sequences", OPTION_INTEGER, AT(sequences), "0", 0, 1e12, "", false,
     "windows of T tokens from the start of the file; 0 = all, each token is scored once"},
    {"", "stride", OPTION_INTEGER, AT(stride), "0", 0, 1e9, "", false,
     "tokens from one window to the next, of which the last so many are scored; 0 = T. Smaller: more context, more "
     "time"},
    {"", "help", OPTION_BOOL, AT(help), "false", 0, 0, "", false, "print this"},
    {"model", "context_length", OPTION_INTEGER, AT(context_length), "0", 0, 1e9, "", false,
     "tokens of a sequence, T; 0 = as trained. Any length is allowed"},
    {"attention", "block_length", OPTION_INTEGER, AT(block_length), "0", 0, 1 << 20, "", false,
     "where blocks are not part of the model (not polysketch with local = exact); 0 = as trained"},
    {"train", "micro_batch_sequences", OPTION_INTEGER, AT(micro_batch_sequences), "0", 0, 1 << 20, "", false,
     "sequences computed at a time; 0 = as many as make 8192 tokens, at least 1"},
    {"train", "stretch_length", OPTION_INTEGER, AT(stretch_length), "-1", -1, 1e9, "", false,
     "tokens of a sequence computed at a time, linear kinds only; 0 = all; -1 = as trained"},
    {"parallel", "data_ranks", OPTION_INTEGER, AT(data_ranks), "1", 1, 1 << 20, "", false,
     "groups of ranks that hold different sequences"},
};

static void print_help(const OptionTable *table)
{
    printf("Usage: [mpirun -n RANKS] polysketch eval --checkpoint=FILE --data=TOKENS [options]\n\n"
           "Prints loss (nats per token), perplexity and bits per byte over the token file, each of its tokens scored\n"
           "once: in consecutive sequences, or in windows that overlap (--stride). The last one may be short.\n\n");
    option_print_help(table, stdout);
    printf("\nExample:\n  mpirun -n 2 polysketch eval --checkpoint=results/a/checkpoints/step-00001000.h5 "
           "--data=data/validation.h5\n");
}

static TokenFile *open_data(const char *path, const LoadedModel *loaded)
{
    Message problem;
    bool given = path[0] != 0;
    if (!given) fail(&problem, "--data=TOKENS is missing. polysketch eval --help explains");
    require_all(given, &problem);
    TokenFile *file = token_file_open(path, &problem);
    bool good = file && (world().rank > 0 || token_file_check(file, &problem));
    require_all(good, &problem);
    if (tokenizer_has_pieces(&loaded->tokenizer) && !tokenizer_same(&loaded->tokenizer, &file->tokenizer))
        log_line("warning: '%s' was made with tokenizer '%s', the model with '%s' or other pieces", path,
                 file->tokenizer.name, loaded->tokenizer.name);
    if (file->vocab_size > (int64_t)loaded->model->vocab_size) {
        fail(&problem,
             "'%s' has a vocabulary of %lld tokens, the model one of %zu. Use data made with the model's tokenizer",
             path, (long long)file->vocab_size, loaded->model->vocab_size);
        token_file_close(file);
        file = NULL;
    }
    require_all(file != NULL, &problem);
    return file;
}

static void write_and_run(Evaluator *evaluator, const EvalOptions *options, const LoadedModel *loaded,
                          size_t context_length)
{
    Message problem;
    LossFile *losses = NULL;
    if (options->per_token_loss[0]) {
        losses =
            loss_file_create(options->per_token_loss, (size_t)evaluator_windows(evaluator), context_length, &problem);
        require_all(losses != NULL, &problem);
    }
    Evaluation e = evaluator_run(evaluator, loaded->params, losses, NULL);
    bool finite = isfinite(e.loss);
    if (!finite) fail(&problem, "the loss of '%s' is not finite: the model has diverged", options->checkpoint);
    if (!finite && losses) loss_file_abandon(losses);
    require_all(finite, &problem);
    require_all(!losses || loss_file_finish(losses, &problem), &problem);
    log_line("checkpoint       %s (step %lld)", options->checkpoint, (long long)loaded->step);
    log_line("data             %s", options->data);
    log_line("windows          %lld of %zu tokens, stride %lld", (long long)e.windows, context_length,
             (long long)e.stride);
    log_line("loss             %.9g", e.loss);
    log_line("perplexity       %.6g", e.perplexity);
    if (!isnan(e.bits_per_byte)) log_line("bits per byte    %.6g", e.bits_per_byte);
    log_line("tokens           %lld in %.2f s", (long long)e.tokens, e.seconds);
}

/* The model on another length, checked like a configuration for training. */
static void set_length(Config *config, const EvalOptions *options)
{
    Message problem;
    Config trained = *config;
    if (options->context_length > 0) config->model.context_length = options->context_length;
    if (options->block_length > 0) config->block_length = options->block_length;
    require_all(config_same_model(config, &trained, &problem), &problem);
    int64_t several = 8192 / config->model.context_length;
    int64_t micro = options->micro_batch_sequences > 0 ? options->micro_batch_sequences : several > 0 ? several : 1;
    if (options->stretch_length >= 0) config->train.stretch_length = options->stretch_length;
    config->evaluate = (EvaluateConfig){.sequences = options->sequences, .stride = options->stride};
    config->parallel.data_ranks = options->data_ranks;
    config->train.micro_batch_sequences = micro;
    config->train.batch_sequences = micro * options->data_ranks;
    require_all(config_finish(config, world().size, &problem), &problem);
}

int eval_main(int argc, char **argv)
{
    EvalOptions options;
    OptionTable table = {rows, sizeof rows / sizeof *rows, &options};
    arguments_read(&table, argc, argv);
    if (options.help) {
        if (world().rank == 0) print_help(&table);
        return EXIT_SUCCESS;
    }
    Message problem;
    LoadedModel loaded = loaded_model_read(options.checkpoint);
    Config *config = &loaded.config;
    TokenFile *file = open_data(options.data, &loaded);
    set_length(config, &options);
    Topology topology = topology_create((int)options.data_ranks, (ScanKind)config->parallel.scan);
    size_t context_length = (size_t)config->model.context_length;
    PassSpec spec = config_pass_spec(config);
    ModelPass *pass = model_pass_create(loaded.model, &spec, topology.link, PASS_EVALUATE);
    Evaluator *evaluator = evaluator_create(&topology, file, pass, &config->evaluate, &problem);
    require_all(evaluator != NULL, &problem);
    write_and_run(evaluator, &options, &loaded, context_length);
    evaluator_destroy(evaluator);
    model_pass_destroy(pass);
    topology_destroy(&topology);
    token_file_close(file);
    loaded_model_destroy(&loaded);
    return EXIT_SUCCESS;
}
