/* polysketch plan: what a job will need, for any number of ranks, on one process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/token_mix.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/programs/configuration.h"
#include "src/programs/programs.h"
#include "src/train/memory_report.h"

typedef struct PlanOptions {
    int64_t ranks;
} PlanOptions;

static const OptionRow rows[] = {
    {"", "ranks", OPTION_INTEGER, offsetof(PlanOptions, ranks), "1", 1, 1 << 24, "", false,
     "MPI ranks of the job; they need not exist here"},
};

const CommandHelp plan_help = {
    .usage = "polysketch plan FILE.ini --ranks=P [--section.key=value ...]",
    .text = "Prints parameters, memory per rank, operations and messages of a training step, without starting P ranks. "
            "OMP_NUM_THREADS counts: each thread has scratch of its own. Without data files, set model.vocab_size or "
            "data.source. Takes every option of polysketch train.",
    .example = "polysketch plan configs/default.ini --ranks=512 --model.context_length=1048576",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
    .configuration = CONFIGURATION_TAKEN,
};

/* The vocabulary, where no option says it, is that of the training data. */
static bool find_vocabulary(Config *config, Message *problem)
{
    if (config->model.vocab_size > 0 || source_is_made(&config->data.source)) return true;
    if (!config->data.train[0])
        return fail(problem, "the vocabulary is unknown. Give --model.vocab_size=N, or --data.train=FILE.h5");
    Message cause;
    TokenMix *train = token_mix_open(config->data.train, &cause);
    if (!train) return fail(problem, "the vocabulary is unknown: %.800s. Or give --model.vocab_size=N", cause.text);
    config->model.vocab_size = train->files[0]->vocab_size;
    token_mix_close(train);
    return true;
}

/* Values of the tensors whose names have `part`. */
static double count_values(const ParamTable *table, const char *part, bool trained)
{
    double values = 0;
    for (int i = 0; i < table->count; i++)
        if (table->params[i].trained == trained && strstr(table->params[i].name, part))
            values += (double)table->params[i].count;
    return values;
}

static void print_parameters(const Model *model)
{
    const char *parts[] = {"token_embedding",  "attention.qkv",  "attention.out",
                           "attention.sketch", "feedforward.in", "feedforward.out"};
    log_line("parameters");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        double values = count_values(&model->table, parts[i], true);
        if (values > 0) log_line("  %-28s %14.0f", parts[i], values);
    }
    double constant = count_values(&model->table, "", false);
    log_line("  %-28s %14.0f", "all trained", (double)param_table_trained_values(&model->table));
    if (constant > 0) log_line("  %-28s %14.0f", "constant (drawn once)", constant);
}

static void print_operations(const Config *config, const Model *model, int64_t ranks)
{
    double T = (double)config->model.context_length, batch = (double)config->train.batch_sequences;
    double flops = model_train_flops(model, (size_t)config->model.context_length, (size_t)config->block_length);
    log_line("operations (products, packed features, causal halves; nothing computed again)");
    log_line("  %-28s %14.4g", "flops per token", flops / T);
    log_line("  %-28s %14.4g", "flops per step", flops * batch);
    log_line("  %-28s %14.4g", "flops per step and rank", flops * batch / (double)ranks);
}

static void print_bytes(const char *what, double numbers)
{
    char text[32];
    log_line("  %-28s %14s", what, log_bytes(numbers * sizeof(real), text));
}

static void print_messages(const Config *config, const Model *model, const Optimizer *optimizer, int sequence_ranks,
                           int64_t ranks)
{
    PassSpec spec = config_pass_spec(config);
    double micro_batches =
        (double)(config->train.batch_sequences / config->parallel.data_ranks / config->train.micro_batch_sequences);
    AttentionShape shape = pass_shape(&spec, 0, sequence_ranks);
    double stretches = (double)spec.stretches, numbers = 0, messages = 0;
    for (size_t i = 0; i < model->layer_count; i++) {
        const AttentionLayer *layer = &model->layers[i].attention;
        AttentionCost cost = layer->kind->cost(layer, &shape);
        /* Stretches but the last go forward once more; so does recomputed attention, but for that of the last layer, which
           is still there when the backward pass begins. */
        double forward = spec.recompute != RECOMPUTE_NONE && i + 1 < model->layer_count ? 2 : 1;
        forward = stretches * forward + stretches - 1;
        messages += forward * cost.forward.count + stretches * cost.backward.count;
        numbers += forward * (double)cost.forward.numbers + stretches * (double)cost.backward.numbers;
        if (stretches == 1 || sequence_ranks == 1) continue;
        /* What stretches add, summed over the ranks: states both ways; those of gates' gradients, a small part, backward. */
        messages += (2 + attention_has_gate(layer)) * (stretches - 1);
        numbers += 2 * (stretches - 1) * (double)layer->kind->carried(layer, &shape).sums;
    }
    messages *= micro_batches;
    numbers *= micro_batches;
    log_line("messages per step and rank");
    log_line("  %-28s %14.0f", "of attention", messages);
    print_bytes("their bytes", numbers);
    print_bytes("gradients, all-reduced", ranks > 1 ? (double)model->table.trained_count : 0);
    if (optimizer->kind->exchanged_count && ranks > 1)
        print_bytes("steps of matrices, sent round", (double)optimizer->kind->exchanged_count(optimizer));
}

int plan_main(int argc, char **argv)
{
    static Config config;
    PlanOptions options;
    OptionTable own = {rows, sizeof rows / sizeof *rows, &options};
    configuration_read(&own, &config, argc, argv);
    Message problem;
    require_all(find_vocabulary(&config, &problem), &problem);
    require_all(config_finish(&config, (int)options.ranks, &problem), &problem);
    ModelSpec spec = config_model_spec(&config);
    PassSpec pass = config_pass_spec(&config);
    Model *model = model_create(&spec);
    Optimizer *optimizer = optimizer_plan(&config.train.optimizer, &model->table);
    int sequence_ranks = config_sequence_ranks(&config, (int)options.ranks);
    log_line("plan for %lld ranks = %lld data x %d sequence, %lld x %lld tokens per step", (long long)options.ranks,
             (long long)config.parallel.data_ranks, sequence_ranks, (long long)config.train.batch_sequences,
             (long long)config.model.context_length);
    print_parameters(model);
    MemoryReport report = memory_report(model, &pass, &config.train.optimizer, sequence_ranks);
    memory_report_print(&report);
    print_operations(&config, model, options.ranks);
    print_messages(&config, model, optimizer, sequence_ranks, options.ranks);
    optimizer_destroy(optimizer);
    model_destroy(model);
    return EXIT_SUCCESS;
}
