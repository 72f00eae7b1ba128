#include "src/train/memory_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/param_store_sharded.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/core/param_shards.h"
#include "src/core/sequence_link.h"

/* Of the rank that needs most. */
static PassBytes largest_pass(const Model *model, const PassSpec *spec, int sequence_ranks)
{
    PassBytes largest = {0};
    size_t most_tokens = 0;
    for (int position = 0; position < sequence_ranks; position++) {
        size_t tokens = pass_longest_range(spec, position, sequence_ranks);
        if (tokens <= most_tokens) continue;
        most_tokens = tokens;
        largest = model_pass_bytes(model, spec, position, sequence_ranks, PASS_TRAIN);
    }
    return largest;
}

static void add(MemoryReport *report, const char *name, double bytes)
{
    if (bytes <= 0) return;
    report->total += bytes;
    for (int i = 0; i < report->count; i++)
        if (strcmp(report->rows[i].name, name) == 0) {
            report->rows[i].bytes += bytes;
            return;
        }
    if (report->count == MEMORY_ROWS) return;
    snprintf(report->rows[report->count].name, sizeof report->rows->name, "%s", name);
    report->rows[report->count++].bytes = bytes;
}

/* What one rank keeps where all keep shares, and what passes need besides. */
typedef struct Shares {
    ParamShards *shards; /* NULL: every rank keeps all */
    int rank;            /* which keeps most */
    size_t kept;         /* values of trained tensors */
} Shares;

/* Of more ranks than this a share is next to nothing, and is taken as large as of so many. */
enum { MOST_RANKS = 1024 };

/* Some node has values that several ranks share. */
static bool shares_node(const MemoryCase *here)
{
    return here->node_shared && here->most > 1 && here->stage != SHARD_PARAMETERS;
}

static Shares shares_of(const ParamTable *params, bool whole_matrices, const MemoryCase *here)
{
    int ranks = here->stage != SHARD_NONE ? here->ranks : here->least;
    if (!shares_node(here) && (here->stage == SHARD_NONE || here->ranks == 1))
        return (Shares){.kept = params->trained_count};
    Shares shares = {param_shards_create(params, whole_matrices, ranks < MOST_RANKS ? ranks : MOST_RANKS), 0, 0};
    size_t *places = checked_calloc((size_t)params->groups, sizeof *places);
    for (int rank = 0; rank < shares.shards->ranks; rank++) {
        size_t kept = param_shards_places(shares.shards, rank, places);
        if (kept <= shares.kept) continue;
        shares.kept = kept;
        shares.rank = rank;
    }
    free(places);
    return shares;
}

static size_t kept_count(const Shares *shares, const Param *state)
{
    if (!shares->shards) return state->count;
    RowRange rows = param_shards_rows(shares->shards, state, shares->rank);
    return (rows.end - rows.first) * param_row_width(state);
}

/* States of all tensors by their names, STATE/TENSOR, and what an update works with. */
static void add_optimizer(MemoryReport *report, const Optimizer *optimizer, const Shares *shares, int ranks)
{
    const ParamTable *states = &optimizer->states;
    for (int i = 0; i < states->count; i++) {
        char name[32];
        const Param *state = &states->params[i];
        snprintf(name, sizeof name, "optimizer: %.*s", (int)strcspn(state->name, "/"), state->name);
        add(report, name, (double)kept_count(shares, state) * sizeof(real));
    }
    bool shared = optimizer_work_is_shared(ranks, shares->shards != NULL);
    add(report, "optimizer: scratch", (double)optimizer_scratch_bytes(optimizer, shared));
}

static void add_numbers(MemoryReport *report, const char *name, size_t count)
{
    add(report, name, (double)count * sizeof(real));
}

static void add_store(MemoryReport *report, const ParamTable *params, const Shares *shares, const MemoryCase *here,
                      bool samples)
{
    bool divided = shares->shards != NULL, gradients = divided && here->stage >= SHARD_GRADIENTS;
    bool values = divided && here->stage == SHARD_PARAMETERS;
    size_t constant = params->total_count - params->trained_count, trained = params->trained_count;
    if (shares_node(here)) {
        report->node_shared_bytes = (double)trained * sizeof(real);
        trained = (trained + (size_t)here->least - 1) / (size_t)here->least;
        report->node_shared_part = (double)trained * sizeof(real);
    }
    add_numbers(report, "parameters", (values ? shares->kept : trained) + constant);
    if (values) add_numbers(report, "gathered parameters", sharded_values_beside(shares->shards));
    if (values && samples) add_numbers(report, "samples: parameters", params->trained_count);
    add_numbers(report, "gradients", gradients ? shares->kept : params->trained_count);
    if (gradients) add_numbers(report, "whole gradients", sharded_gradients_beside(shares->shards, here->ranks));
}

/* Inputs, targets and starts of documents: the batch of a step, the one that is read ahead, and a micro-batch
   (src/train/step_tokens.c, src/train/step.c). */
static double token_bytes(const Config *config, const PassSpec *pass, int sequence_ranks)
{
    size_t tokens = segment_longest(pass->context_length, pass->block_length, sequence_ranks);
    double sequences = (double)config->train.batch_sequences / (double)config->parallel.data_ranks;
    double batches = 2 * sequences + (double)pass->sequences;
    return batches * (double)tokens * sizeof(int32_t) * (pass->documents ? 3 : 2);
}

MemoryCase memory_case_here(const Config *config)
{
    const ParallelConfig *parallel = &config->parallel;
    WorldNodes nodes = world_nodes();
    return (MemoryCase){world().size, nodes.least, nodes.most, (ShardStage)parallel->shard, parallel->node_shared};
}

MemoryReport memory_report(const Config *config, const Model *model, const PassSpec *pass, const MemoryCase *here)
{
    int ranks = here->ranks;
    PassBytes bytes = largest_pass(model, pass, config_sequence_ranks(config, ranks));
    Optimizer *optimizer = optimizer_plan(&config->train.optimizer, &model->table);
    Shares shares = shares_of(&model->table, optimizer->kind->whole_matrices, here);
    MemoryReport report = {.node_ranks = here->most};
    add_store(&report, &model->table, &shares, here, config->sample.every > 0);
    add_optimizer(&report, optimizer, &shares, ranks);
    add(&report, "tokens", token_bytes(config, pass, config_sequence_ranks(config, ranks)));
    add(&report, "activations", (double)bytes.activations);
    add(&report, "scratch", (double)bytes.scratch);
    add(&report, "samples", (double)sample_bytes(&config->sample, model, (size_t)config->block_length));
    param_shards_destroy(shares.shards);
    optimizer_destroy(optimizer);
    return report;
}

double memory_report_resident(const MemoryReport *report)
{
    return report->total + report->node_shared_bytes - report->node_shared_part;
}

double memory_of_process(double reported)
{
    const double MEBIBYTE = 1048576;
    return 1.1 * reported + 256 * MEBIBYTE;
}

void memory_report_say(const MemoryReport *report, Facts *facts)
{
    facts_say(facts, "memory per rank:\n");
    facts_open(facts, "memory_per_rank");
    for (int i = 0; i < report->count; i++) {
        facts_say(facts, "  %-19s ", report->rows[i].name);
        facts_bytes(facts, report->rows[i].name, "%10s\n", report->rows[i].bytes);
    }
    facts_bytes(facts, "total", "  total               %10s\n", report->total);
    facts_close(facts);
    if (report->node_shared_bytes == 0) return;
    facts_open(facts, "node_shared");
    facts_bytes(facts, "bytes", "memory that the ranks of a node share: %s", report->node_shared_bytes);
    facts_integer(facts, "ranks", " of parameters, once for %lld ranks\n", report->node_ranks);
    facts_close(facts);
}
