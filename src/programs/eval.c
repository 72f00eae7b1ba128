/* polysketch eval: how well a checkpoint predicts a token file, or recalls what a made source asks for. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/disk.h"
#include "io/documents.h"
#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/facts.h"
#include "src/base/log.h"
#include "src/library/loaded_model.h"
#include "src/programs/configuration.h"
#include "src/programs/programs.h"
#include "src/train/distance_report.h"
#include "src/train/evaluate.h"
#include "src/train/share_report.h"

typedef struct EvalOptions {
    char checkpoint[OPTION_TEXT_SIZE], data[OPTION_TEXT_SIZE], per_token_loss[OPTION_TEXT_SIZE];
    char attention_distance[OPTION_TEXT_SIZE];
    char source[OPTION_TEXT_SIZE];
    int document_mask; /* MaskChoice */
    int64_t sequences, stride, context_length, block_length, items, source_vocab;
    int64_t micro_batch_sequences, stretch_length, data_ranks;
    bool json;
} EvalOptions;

/* train.document_mask: in the order of its choices. */
typedef enum MaskChoice { MASK_TRAINED, MASK_FALSE, MASK_TRUE } MaskChoice;

#define AT(field) offsetof(EvalOptions, field)

static const OptionRow rows[] = {
    {"", "checkpoint", OPTION_TEXT, AT(checkpoint), "", 1, 0, "", false, "the model"},
    {"", "data", OPTION_TEXT, AT(data), "", 1, 0, "", false, "token file"},
    {"", "per_token_loss", OPTION_TEXT, AT(per_token_loss), "", 1, 0, "", false,
     "write the loss of every token to this HDF5 file, /per_token_loss (sequences, T); of a made source its tokens "
     "too"},
    {"", "attention_distance", OPTION_TEXT, AT(attention_distance), "", 1, 0, "", false,
     "write to this CSV file how many tokens each head looks back, by the mean of its weights and in powers of two; "
     "attention is then computed several times"},
    {"", "sequences", OPTION_INTEGER, AT(sequences), "0", 0, 1e12, "", false,
     "windows of T tokens from the start of the file; 0 = all, each token is scored once. Of a made source 0 = 256 "
     "sequences"},
    {"", "stride", OPTION_INTEGER, AT(stride), "0", 0, 1e9, "", false,
     "tokens from one window to the next, of which the last so many are scored; 0 = T. Smaller: more context, more "
     "time"},
    {"", "json", OPTION_BOOL, AT(json), "false", 0, 0, "", false, "one JSON document instead of text"},
    {"model", "context_length", OPTION_INTEGER, AT(context_length), "0", 0, 1e9, "", false,
     "tokens of a sequence, T; 0 = as trained. Any length is allowed"},
    {"attention", "block_length", OPTION_INTEGER, AT(block_length), "0", 0, 1 << 20, "", false,
     "where blocks are not part of the model (not polysketch with local = exact); 0 = as trained"},
    {"data", "source", OPTION_TEXT, AT(source), "", 0, 0, "", false,
     "file, or a test of recall: copying, induction, recall, needle (in the text of --data); empty = as trained"},
    {"data", "items", OPTION_INTEGER, AT(items), "0", 0, 1 << 20, "", false,
     "data tokens (copying) or key-value pairs (recall) of a sequence; 0 = as trained"},
    {"data", "source_vocab", OPTION_INTEGER, AT(source_vocab), "0", 0, 1 << 22, "", false,
     "tokens that carry data in copying, induction and recall; 0 = as trained"},
    {"train", "micro_batch_sequences", OPTION_INTEGER, AT(micro_batch_sequences), "0", 0, 1 << 20, "", false,
     "sequences computed at a time; 0 = as many as make 8192 tokens, at least 1"},
    {"train", "stretch_length", OPTION_INTEGER, AT(stretch_length), "-1", -1, 1e9, "", false,
     "tokens of a sequence computed at a time, linear kinds only; 0 = all; -1 = as trained"},
    {"train", "document_mask", OPTION_CHOICE, AT(document_mask), "trained", 0, 0, "trained|false|true", false,
     "tokens attend only to tokens of their own document, whose starts the token file says; trained = as trained"},
    {"parallel", "data_ranks", OPTION_INTEGER, AT(data_ranks), "1", 1, 1 << 20, "", false,
     "groups of ranks that hold different sequences"},
};

const CommandHelp eval_help = {
    .usage = "[mpirun -n RANKS] polysketch eval --checkpoint=FILE [--data=TOKENS] [options]",
    .text = "Prints loss (nats per token), perplexity and bits per byte over the token file, each of its tokens scored "
            "once: in consecutive sequences, or in windows that overlap (--stride). The last one may be short. For a "
            "test of recall (--data.source) loss and accuracy of its answers, in sequences that training has not seen.",
    .example = "mpirun -n 2 polysketch eval --checkpoint=results/a/checkpoints/step-00001000.h5 "
               "--data=data/validation.h5\n"
               "polysketch eval --checkpoint=results/b/checkpoints/step-00001000.h5 --data.source=induction "
               "--model.context_length=16384",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
};

/* NULL where the source reads no file. */
static TokenFile *open_data(const char *path, const LoadedModel *loaded)
{
    Message problem;
    const SourceSpec *source = &loaded->config.data.source;
    bool given = path[0] != 0, wanted = source_reads_file(source);
    if (!given) fail(&problem, "--data=TOKENS is missing. polysketch eval --help explains");
    if (!wanted)
        fail(&problem, "--data is given, but data.source = %s reads no file. Leave it out, or add --data.source=file",
             source_name(source));
    require_all(given == wanted, &problem);
    if (!wanted) return NULL;
    TokenFile *file = token_file_open(path, &problem);
    bool good = file && (world().rank > 0 || token_file_check(file, &problem));
    require_all(good, &problem);
    char of_data[TOKENIZER_TEXT_SIZE], of_model[TOKENIZER_TEXT_SIZE];
    if (tokenizer_has_pieces(&loaded->tokenizer) && !tokenizer_same(&loaded->tokenizer, &file->tokenizer))
        log_line("warning: '%s' was made with tokenizer %s, the model with %s or other pieces", path,
                 tokenizer_describe(&file->tokenizer, of_data), tokenizer_describe(&loaded->tokenizer, of_model));
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

/* What is read must not be replaced by what is written. */
static bool is_separate(const EvalOptions *options, const char *name, const char *output, Message *problem)
{
    const char *input = disk_same_file(output, options->checkpoint) ? "checkpoint"
                        : disk_same_file(output, options->data)     ? "data"
                                                                    : NULL;
    return !input ||
           fail(problem, "--%s='%s' would replace the file of --%s. Choose another name", name, output, input);
}

static void require_outputs(const EvalOptions *options)
{
    Message problem;
    const char *losses = options->per_token_loss, *distances = options->attention_distance;
    bool good = is_separate(options, "per_token_loss", losses, &problem) &&
                is_separate(options, "attention_distance", distances, &problem);
    if (good && distances[0] && (strcmp(losses, distances) == 0 || disk_same_file(losses, distances)))
        good = fail(&problem, "--per_token_loss and --attention_distance name one file, '%s'. Choose another", losses);
    if (good && distances[0] && world().rank == 0) good = distance_report_try(distances, &problem);
    require_all(good, &problem);
}

static void say_accuracy(const Evaluation *e, int strata, Facts *facts)
{
    facts_real(facts, "accuracy", "accuracy         %.6g\n", e->accuracy);
    facts_real(facts, "sequences_right", "sequences right  %.6g\n", e->sequences_right);
    if (strata == 1) return;
    facts_say(facts, "depth            accuracy\n");
    facts_open_list(facts, "accuracy_by_depth");
    for (int i = 0; i < strata; i++) {
        facts_say(facts, "%3d to %3d %%     ", 100 * i / strata, 100 * (i + 1) / strata);
        facts_real(facts, NULL, "%.6g\n", e->accuracy_by_stratum[i]);
    }
    facts_close(facts);
}

static void say_data(const EvalOptions *options, const LoadedModel *loaded, const Documents *documents, Facts *facts)
{
    const SourceSpec *source = &loaded->config.data.source;
    facts_text(facts, "checkpoint", "checkpoint       %s", options->checkpoint);
    facts_integer(facts, "step", " (step %lld)\n", loaded->step);
    facts_text(facts, "source", NULL, source_name(source));
    if (source_is_made(source)) facts_say(facts, "source           %s\n", source_summary(source));
    if (options->data[0]) facts_text(facts, "data", "data             %s\n", options->data);
    if (documents)
        facts_integer(facts, "documents", "documents        %lld, none of which sees another\n",
                      (int64_t)documents->count);
}

static void say_outcome(const EvalOptions *options, const LoadedModel *loaded, const Documents *documents,
                        const Evaluation *e)
{
    const SourceSpec *source = &loaded->config.data.source;
    Facts *facts = facts_create(options->json);
    say_data(options, loaded, documents, facts);
    facts_integer(facts, "windows", "windows          %lld", e->windows);
    facts_integer(facts, "context_length", " of %lld tokens", loaded->config.model.context_length);
    facts_integer(facts, "stride", ", stride %lld\n", e->stride);
    facts_real(facts, "loss", "loss             %.9g\n", e->loss);
    facts_real(facts, "perplexity", "perplexity       %.6g\n", e->perplexity);
    if (!isnan(e->bits_per_byte)) facts_real(facts, "bits_per_byte", "bits per byte    %.6g\n", e->bits_per_byte);
    facts_integer(facts, "tokens", "tokens           %lld", e->tokens);
    facts_real(facts, "seconds", " in %.2f s\n", e->seconds);
    if (source_is_made(source)) say_accuracy(e, source_strata(source), facts);
    share_report_say(loaded->model, e->shares, facts);
    if (e->distances) distance_report_say(loaded->model, e->distances, facts);
    facts_finish(facts);
    facts_destroy(facts);
}

/* `documents`: what the file says of them, where it was asked; or NULL. */
static void write_and_run(Evaluator *evaluator, const EvalOptions *options, const LoadedModel *loaded,
                          const Documents *documents)
{
    Message problem;
    LossFile *losses = NULL;
    size_t context_length = (size_t)loaded->config.model.context_length;
    const SourceSpec *source = &loaded->config.data.source;
    if (options->per_token_loss[0]) {
        size_t windows = (size_t)evaluator_windows(evaluator);
        losses = loss_file_create(options->per_token_loss, windows, context_length, source_is_made(source), &problem);
        require_all(losses != NULL, &problem);
    }
    Evaluation e = evaluator_run(evaluator, loaded->params, losses, NULL);
    bool finite = isfinite(e.loss);
    if (!finite) fail(&problem, "the loss of '%s' is not finite: the model has diverged", options->checkpoint);
    if (!finite && losses) loss_file_abandon(losses);
    require_all(finite, &problem);
    require_all(!losses || loss_file_finish(losses, &problem), &problem);
    require_all(
        !e.distances || world().rank > 0 ||
            distance_report_write(options->attention_distance, loaded->model, e.distances, context_length, &problem),
        &problem);
    say_outcome(options, loaded, documents, &e);
}

/* Another source, another size of it, documents or none. */
static void set_source(Config *config, const EvalOptions *options)
{
    Message problem;
    SourceSpec *source = &config->data.source;
    int trained = source->kind;
    OptionTable table = config_options(config);
    bool known = !options->source[0] || option_set(&table, 1, "data.source", options->source, &problem);
    require_all(known, &problem);
    if (source->kind != trained) source->alphabet = 0; /* by the rule of the new one */
    if (options->items > 0) source->items = options->items;
    if (options->source_vocab > 0) source->alphabet = options->source_vocab;
    if (options->document_mask != MASK_TRAINED)
        config->train.document_mask = options->document_mask == MASK_TRUE;
    else if (source_is_made(source))
        config->train.document_mask = false; /* each of its sequences is one document */
}

/* The model on another length, checked like a configuration for training. */
static void set_length(Config *config, const EvalOptions *options)
{
    Message problem;
    Config trained = *config;
    if (options->context_length > 0) config->model.context_length = options->context_length;
    if (options->block_length > 0) config->block_length = options->block_length;
    bool same = config_same_model(config, &trained, &problem);
    if (!same)
        fail(
            &problem,
            "attention.block_length = %lld is part of this model, which cannot be evaluated with blocks of %lld. Leave "
            "--attention.block_length out",
            (long long)trained.block_length, (long long)config->block_length);
    require_all(same, &problem);
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
    Message problem;
    require_outputs(&options);
    LoadedModel loaded = loaded_model_read(options.checkpoint);
    Config *config = &loaded.config;
    set_source(config, &options);
    TokenFile *file = open_data(options.data, &loaded);
    set_length(config, &options);
    require_all(!config->train.document_mask || documents_read(file, &problem), &problem);
    Topology topology = topology_create((int)options.data_ranks, (ScanKind)config->parallel.scan);
    PassSpec spec = config_pass_spec(config);
    spec.distances = options.attention_distance[0] != 0;
    ModelPass *pass = model_pass_create(loaded.model, &spec, topology.link, PASS_EVALUATE);
    DataSource source = config_data_source(config, file);
    Evaluator *evaluator = evaluator_create(&topology, &source, pass, &config->evaluate, &problem);
    require_all(evaluator != NULL, &problem);
    write_and_run(evaluator, &options, &loaded, file ? file->documents : NULL);
    evaluator_destroy(evaluator);
    model_pass_destroy(pass);
    topology_destroy(&topology);
    if (file) token_file_close(file);
    loaded_model_destroy(&loaded);
    return EXIT_SUCCESS;
}
