/* polysketch plan: what a job will need, for any number of ranks, on one process. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/token_mix.h"
#include "mpi/world.h"
#include "src/base/facts.h"
#include "src/base/log.h"
#include "src/programs/configuration.h"
#include "src/programs/plan_memory.h"
#include "src/programs/programs.h"
#include "src/programs/slurm_head.h"
#include "src/programs/step_messages.h"
#include "src/train/sgemm_rate.h"

typedef struct PlanOptions {
    int64_t ranks, threads;
    bool json, slurm;
    char network[OPTION_TEXT_SIZE];
    int64_t cores_per_node;
    double gigabytes_per_node, tokens_per_second, hours;
    char memory[OPTION_TEXT_SIZE];
    int64_t ranks_per_node;
} PlanOptions;

#define AT(field) offsetof(PlanOptions, field)

static const OptionRow rows[] = {
    {"", "ranks", OPTION_INTEGER, AT(ranks), "1", 1, 1 << 24, "", false,
     "MPI ranks of the job; they need not exist here"},
    {"", "threads", OPTION_INTEGER, AT(threads), "0", 0, 4096, "", false,
     "of each rank, which has scratch for each of them; 0 = as many as a rank here would have (OMP_NUM_THREADS)"},
    {"", "memory", OPTION_TEXT, AT(memory), "", 0, 0, "", false,
     "of a node, such as 24G or 24GiB: plans with the least parallel.shard that fits, and says which"},
    {"", "ranks_per_node", OPTION_INTEGER, AT(ranks_per_node), "0", 0, 1 << 20, "", false,
     "memory, parallel.node_shared: ranks that share it, of which the last node has the rest; 0 = all"},
    {"", "slurm", OPTION_BOOL, AT(slurm), "false", 0, 0, "", false,
     "print the head of a Slurm job script instead: nodes, tasks, cores, memory and time"},
    {"", "network", OPTION_TEXT, AT(network), "", 1, 0, "", false,
     "rate of a link and latency of a message, 100Gb,1us or 1.25GB,25us: also print what messages take, by closed "
     "forms, with the parallel.shard that is planned, and the efficiency on so many ranks"},
    {"", "cores_per_node", OPTION_INTEGER, AT(cores_per_node), "0", 0, 1 << 20, "", false,
     "slurm: of the cluster; 0 = those of this machine"},
    {"", "gigabytes_per_node", OPTION_REAL, AT(gigabytes_per_node), "0", 0, 1e9, "", false,
     "slurm: memory of a node, 10^9 bytes; 0 = as much as its cores need"},
    {"", "tokens_per_second", OPTION_REAL, AT(tokens_per_second), "0", 0, 1e15, "", false,
     "slurm, network: speed of the whole job, as train prints it, of network that of computing alone; 0 = by the rate "
     "of sgemm on this machine, which is measured"},
    {"", "hours", OPTION_REAL, AT(hours), "24", 0.25, 1e5, "", false,
     "slurm: most that a job may take; a longer run is one of several jobs"},
    {"", "json", OPTION_BOOL, AT(json), "false", 0, 0, "", false, "one JSON document instead of text"},
};

const CommandHelp plan_help = {
    .usage = "polysketch plan FILE.ini --ranks=P [--section.key=value ...]",
    .text =
        "Prints parameters, memory per rank and for each parallel.shard, alone and with parallel.node_shared, "
        "operations and messages of a training step, "
        "without starting P ranks. "
        "With --network it also prints what the messages take on a network, by closed forms, and how efficient so many "
        "ranks are. With --slurm it prints the head of a job script for them. Without data files, set model.vocab_size "
        "or data.source. Takes every option of polysketch train.",
    .example = "polysketch plan configs/default.ini --ranks=512 --model.context_length=1048576\n"
               "polysketch plan configs/gpt2-small.ini --ranks=4 --memory=24G --model.vocab_size=50304\n"
               "polysketch plan configs/gpt2-small.ini --ranks=1024 --model.context_length=2097152 "
               "--train.batch_sequences=1 --network=100Gb,1us\n"
               "polysketch plan configs/default.ini --ranks=64 --slurm --threads=2 --cores_per_node=32 "
               "--tokens_per_second=200000",
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

static void say_job(const Config *config, int64_t ranks, int sequence_ranks, Facts *facts)
{
    facts_integer(facts, "ranks", "plan for %lld ranks", ranks);
    facts_integer(facts, "data_ranks", " = %lld data", config->parallel.data_ranks);
    facts_integer(facts, "sequence_ranks", " x %lld sequence", sequence_ranks);
    facts_integer(facts, "batch_sequences", ", %lld", config->train.batch_sequences);
    facts_integer(facts, "context_length", " x %lld tokens per step\n", config->model.context_length);
}

static void say_parameters(const Model *model, Facts *facts)
{
    const char *parts[] = {"token_embedding",  "attention.qkv",  "attention.out",
                           "attention.sketch", "feedforward.in", "feedforward.out"};
    facts_say(facts, "parameters\n");
    facts_open(facts, "parameters");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        double values = count_values(&model->table, parts[i], true);
        if (values == 0) continue;
        facts_say(facts, "  %-28s ", parts[i]);
        facts_integer(facts, parts[i], "%14lld\n", (int64_t)values);
    }
    double constant = count_values(&model->table, "", false);
    facts_integer(facts, "trained", "  all trained                  %14lld\n",
                  (int64_t)param_table_trained_values(&model->table));
    if (constant > 0) facts_integer(facts, "constant", "  constant (drawn once)        %14lld\n", (int64_t)constant);
    facts_close(facts);
}

static void say_operations(const Config *config, const Model *model, int64_t ranks, Facts *facts)
{
    double T = (double)config->model.context_length, batch = (double)config->train.batch_sequences;
    size_t context = (size_t)config->model.context_length, block = (size_t)config->block_length;
    double flops = model_train_flops(model, context, block), features = model_feature_flops(model, context, block);
    facts_say(facts, "operations (products, packed features, causal halves; nothing computed again)\n");
    facts_open(facts, "operations");
    facts_real(facts, "per_token", "  flops per token              %14.4g\n", flops / T);
    if (features > 0) facts_real(facts, "features_per_token", "    of them sketches, features %14.4g\n", features / T);
    facts_real(facts, "per_step", "  flops per step               %14.4g\n", flops * batch);
    facts_real(facts, "per_step_and_rank", "  flops per step and rank      %14.4g\n", flops * batch / (double)ranks);
    facts_close(facts);
}

static void say_messages(const Config *config, const Model *model, const Optimizer *optimizer, int64_t ranks,
                         const StoreMessages *store, Facts *facts)
{
    StepMessages attention = step_messages(config, model, config_sequence_ranks(config, (int)ranks), &(Network){0});
    bool shares = config->parallel.shard >= SHARD_GRADIENTS, divided = config->parallel.shard != SHARD_NONE;
    bool own_matrices = divided || store->ranks_per_node > 1;
    facts_say(facts, "messages per step and rank\n");
    facts_open(facts, "messages_per_step_and_rank");
    facts_integer(facts, "attention", "  of attention                 %14lld\n", (int64_t)attention.count);
    facts_bytes(facts, "attention_bytes", "  their bytes                  %14s\n", attention.numbers * sizeof(real));
    facts_bytes(facts, "gradient_bytes",
                shares ? "  gradients, to their keepers  %14s\n" : "  gradients, all-reduced       %14s\n",
                store->gradient_numbers * sizeof(real));
    if (divided && ranks > 1)
        facts_bytes(facts, "parameter_bytes", "  parameters, gathered         %14s\n",
                    store->value_numbers * sizeof(real));
    if (!own_matrices && optimizer->kind->exchanged_count && ranks > 1)
        facts_bytes(facts, "matrix_step_bytes", "  steps of matrices, sent round %14s\n",
                    (double)optimizer->kind->exchanged_count(optimizer) * sizeof(real));
    facts_close(facts);
}

/* GF/s of sgemm for each core here, of which no more than `threads` work. */
static double core_gflops(int threads)
{
    int cores = omp_get_num_procs() < threads ? omp_get_num_procs() : threads;
    omp_set_num_threads(cores);
    double gflops = sgemm_rate_now(INFINITY) / world().size / cores;
    omp_set_num_threads(threads);
    return gflops;
}

/* Of one step; and where the figure comes from. Whole steps reach 82 to 91 % of sgemm on two cores (results/bench); cores that
   share a memory, and messages, leave less. */
static double step_seconds(const Config *config, const Model *model, const PlanOptions *options, char *basis,
                           size_t size)
{
    const double SHARE_OF_SGEMM = 0.7;
    size_t context = (size_t)config->model.context_length;
    double sequences = (double)config->train.batch_sequences;
    if (options->tokens_per_second > 0) {
        snprintf(basis, size, "at the stated %.0f tokens/s", options->tokens_per_second);
        return sequences * (double)context / options->tokens_per_second;
    }
    int threads = omp_get_max_threads();
    double gflops = core_gflops(threads);
    double flops = sequences * model_train_flops(model, context, (size_t)config->block_length);
    PassSpec pass = config_pass_spec(config);
    if (pass.recompute != RECOMPUTE_NONE || pass.stretches > 1) flops *= 4.0 / 3; /* forward twice, at most */
    snprintf(basis, size, "at %.0f %% of the rate of sgemm here, %.3g GF/s for a core", 100 * SHARE_OF_SGEMM, gflops);
    return flops / (1e9 * SHARE_OF_SGEMM * gflops * threads * (double)options->ranks);
}

/* What ranks of a node share depends on how many they are, and how many fit on what they need: fewer until both agree. */
static void fit_on_nodes(const Config *config, const Model *model, SlurmNeeds *needs, SlurmHead *head)
{
    Message problem;
    PassSpec pass = config_pass_spec(config);
    int64_t fit = needs->cores_per_node / needs->threads;
    head->tasks_per_node = fit < 1 ? 1 : fit < needs->ranks ? fit : needs->ranks;
    MemoryCase here = {.ranks = (int)needs->ranks,
                       .stage = (ShardStage)config->parallel.shard,
                       .node_shared = config->parallel.node_shared};
    do {
        here.least = here.most = (int)head->tasks_per_node;
        needs->bytes_per_rank = memory_report(config, model, &pass, &here).total;
        require_all(slurm_head_make(needs, head, &problem), &problem);
    } while (head->tasks_per_node < here.most);
}

static void print_slurm_head(const Config *config, const Model *model, const PlanOptions *options)
{
    char speed[128], basis[160];
    SlurmHead head;
    double steps = (double)config->train.steps, seconds = step_seconds(config, model, options, speed, sizeof speed);
    snprintf(basis, sizeof basis, "%.0f steps %s", steps, speed);
    SlurmNeeds needs = {
        .ranks = options->ranks,
        .threads = omp_get_max_threads(),
        .cores_per_node = options->cores_per_node ? options->cores_per_node : omp_get_num_procs(),
        .bytes_per_node = 1e9 * options->gigabytes_per_node,
        .seconds = steps * seconds,
        .most_seconds = 3600 * options->hours,
    };
    fit_on_nodes(config, model, &needs, &head);
    slurm_head_print(&needs, &head, basis);
}

/* Strong: against the whole job on one rank. Weak: against one rank with as many tokens as each has here, in a sequence of their
   own. */
static void say_network(const Config *config, const Model *model, const PlanOptions *options, const Network *network,
                        const StoreMessages *store, Facts *facts)
{
    char speed[128];
    size_t context = (size_t)config->model.context_length, block = (size_t)config->block_length;
    int sequence_ranks = config_sequence_ranks(config, (int)options->ranks);
    size_t share = segment_longest(context, block, sequence_ranks);
    StepCompute compute = {.seconds = step_seconds(config, model, options, speed, sizeof speed), .basis = speed};
    double alone = model_train_flops(model, share, block), whole = model_train_flops(model, context, block);
    compute.alone_seconds = compute.seconds * alone * sequence_ranks / whole;
    network_say(network, config, model, (int)options->ranks, (int)options->ranks_per_node, store, &compute, facts);
}

static void print_plan(const Config *config, const Model *model, const StagePlan *stages, const PlanOptions *options,
                       const Network *network)
{
    Facts *facts = facts_create(options->json);
    Optimizer *optimizer = optimizer_plan(&config->train.optimizer, &model->table);
    StoreMessages store = store_messages(config, model, optimizer, (int)options->ranks, stages->ranks_per_node,
                                         network ? network : &(Network){0});
    say_job(config, options->ranks, config_sequence_ranks(config, (int)options->ranks), facts);
    say_parameters(model, facts);
    memory_report_say(plan_report(stages), facts);
    plan_stages_say(stages, config, facts);
    say_operations(config, model, options->ranks, facts);
    say_messages(config, model, optimizer, options->ranks, &store, facts);
    if (network) say_network(config, model, options, network, &store, facts);
    facts_finish(facts);
    facts_destroy(facts);
    optimizer_destroy(optimizer);
}

static bool options_fit(const PlanOptions *options, Network *network, Message *problem)
{
    if (options->slurm && options->json)
        return fail(problem, "--slurm prints the head of a script, which is no JSON. Leave out one of the two");
    if (options->slurm && options->network[0])
        return fail(problem, "--slurm prints the head of a script and nothing of a network. Leave out one of the two");
    if (options->slurm && options->memory[0])
        return fail(problem,
                    "--memory chooses parallel.shard, which the head of a script has no place for. Plan without "
                    "--slurm first, then give it --parallel.shard");
    return !options->network[0] || network_read(options->network, network, problem);
}

int plan_main(int argc, char **argv)
{
    static Config config;
    PlanOptions options;
    OptionTable own = {rows, sizeof rows / sizeof *rows, &options};
    configuration_read(&own, &config, argc, argv);
    Message problem;
    Network network;
    double memory;
    require_all(options_fit(&options, &network, &problem), &problem);
    require_all(plan_memory_read(options.memory, &memory, &problem), &problem);
    require_all(find_vocabulary(&config, &problem), &problem);
    require_all(config_finish(&config, (int)options.ranks, &problem), &problem);
    if (options.threads > 0) omp_set_num_threads((int)options.threads);
    ModelSpec spec = config_model_spec(&config);
    Model *model = model_create(&spec);
    StagePlan stages = plan_stages(&config, model, (int)options.ranks, memory, options.ranks_per_node);
    config.parallel.shard = (int)stages.stage;
    if (options.slurm)
        print_slurm_head(&config, model, &options);
    else
        print_plan(&config, model, &stages, &options, options.network[0] ? &network : NULL);
    model_destroy(model);
    return EXIT_SUCCESS;
}
