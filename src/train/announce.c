#include "src/train/announce.h"

#include <omp.h>
#include <stdio.h>

#include "io/documents.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/base/version.h"
#include "src/tensor/blas.h"
#include "src/train/memory_report.h"

void announce_machine(const Config *config)
{
    char library[128];
    world_library(library, sizeof library);
    log_line("polysketch %s | %d ranks = %lld data x %d sequence, %d threads each | %s | %s %s", source_version(),
             world().size, (long long)config->parallel.data_ranks, config_sequence_ranks(config, world().size),
             omp_get_max_threads(), library, blas_library_name(), blas_kernel_name());
}

/* The options of its kind alone: " key=value key=value". */
static void say_options(const AttentionLayer *layer, char *text, size_t size)
{
    int count = 0;
    const OptionRow *rows = layer->kind->options ? layer->kind->options(&count) : NULL;
    size_t length = 0;
    text[0] = 0;
    for (int i = 0; i < count && length < size; i++) {
        char value[OPTION_TEXT_SIZE];
        option_format(&rows[i], &layer->spec, value);
        length += (size_t)snprintf(text + length, size - length, " %s=%s", rows[i].key, value);
    }
}

/* A line for each run of equal layers. */
static void say_attention(const Model *model)
{
    for (size_t i = 0, end; i < model->layer_count; i = end) {
        const AttentionLayer *layer = &model->layers[i].attention;
        for (end = i + 1; end < model->layer_count; end++)
            if (!attention_same(&model->layers[end].attention.spec, &layer->spec)) break;
        char options[512];
        say_options(layer, options, sizeof options);
        if (end - i == model->layer_count)
            log_line("attention: %s", layer->kind->summary);
        else
            log_line("attention of layers %zu to %zu: %s%s; %s", i, end - 1, layer->kind->name, options,
                     layer->kind->summary);
    }
}

/* Nothing where every rank keeps all. */
static void say_shares(const Config *config)
{
    static const char *const kept[] = {"", "states of the optimizer", "states of the optimizer and gradients",
                                       "states of the optimizer, gradients and values"};
    if (config->parallel.shard == SHARD_NONE || world().size == 1) return;
    log_line("shares: each of the %d ranks keeps its rows of %s", world().size, kept[config->parallel.shard]);
}

static void say_nodes(const Config *config)
{
    char ranks[32];
    if (!config->parallel.node_shared) return;
    WorldNodes nodes = world_nodes();
    snprintf(ranks, sizeof ranks, nodes.least == nodes.most ? "%d" : "%d to %d", nodes.least, nodes.most);
    if (nodes.most == 1)
        log_line("node_shared: no node has several ranks, so that nothing is shared");
    else
        log_line("node_shared: values of parameters%s once for the %s ranks of a node; nodes: %d",
                 config->parallel.shard == SHARD_NONE ? " and states of the optimizer" : "", ranks, nodes.count);
}

static void say_source(const Config *config)
{
    const SourceSpec *source = &config->data.source;
    size_t context_length = (size_t)config->model.context_length;
    if (source_is_made(source))
        log_line("data: %s; %zu of the %zu targets of a sequence count", source_summary(source),
                 source_counted(source, context_length), context_length);
}

static void say_documents(const TokenMix *train)
{
    char bytes[32];
    size_t count = 0;
    if (!train->files[0]->documents) return;
    for (int i = 0; i < train->count; i++) count += train->files[i]->documents->count;
    log_line("documents: %zu in data.train; tokens attend to those of their own; %s of starts per rank", count,
             log_bytes((double)count * sizeof(int64_t), bytes));
}

/* Files that share the sequences: how much is drawn from each, and how soon it begins anew. */
static void say_mix(const Config *config, const TokenMix *train)
{
    double per_step = (double)(config->train.batch_sequences * config->model.context_length) / MIX_BLOCK;
    for (int i = 0; i < train->count && train->count > 1; i++) {
        const TokenFile *file = train->files[i];
        log_line("data: %.2f %% of the sequences from '%s', %zu tokens, an epoch of them in %.0f steps",
                 100.0 * train->quotas[i] / MIX_BLOCK, file->path, file->count,
                 (double)file->count / (per_step * train->quotas[i]));
    }
}

void announce_run(const Config *config, const Model *model, const TokenMix *train)
{
    log_line("model: %lld layers, width %lld, %lld heads, vocabulary %lld, context %lld, %.2f million parameters",
             (long long)config->model.layers, (long long)config->model.width, (long long)config->model.heads,
             (long long)config->model.vocab_size, (long long)config->model.context_length,
             (double)param_table_trained_values(&model->table) / 1e6);
    say_attention(model);
    log_line("optimizer: %s", optimizer_name(config->train.optimizer.kind));
    say_shares(config);
    say_nodes(config);
    char tokens[64] = "";
    if (train) snprintf(tokens, sizeof tokens, "; %zu training tokens", token_mix_tokens(train));
    log_line("batch: %lld sequences = %lld tokens per step; %lld sequences per micro-batch%s",
             (long long)config->train.batch_sequences,
             (long long)(config->train.batch_sequences * config->model.context_length),
             (long long)config->train.micro_batch_sequences, tokens);
    say_source(config);
    if (train) {
        say_mix(config, train);
        say_documents(train);
    }
    PassSpec pass = config_pass_spec(config);
    MemoryCase here = memory_case_here(config);
    MemoryReport report = memory_report(config, model, &pass, &here);
    Facts *facts = facts_create(false);
    memory_report_say(&report, facts);
    facts_destroy(facts);
}
