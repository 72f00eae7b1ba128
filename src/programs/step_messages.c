#include "src/programs/step_messages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the network as words ---- */

typedef struct Unit {
    const char *name;
    double value;
} Unit;

static const Unit rates[] = {{"kb", 1e3 / 8}, {"Mb", 1e6 / 8}, {"Gb", 1e9 / 8}, {"Tb", 1e12 / 8},
                             {"kB", 1e3},     {"MB", 1e6},     {"GB", 1e9}};
static const Unit times[] = {{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}};

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* A number and its unit up to `end`; 0 when it is none. */
static double quantity(const char *text, const char *end, const Unit *units, int count)
{
    char *unit;
    double number = strtod(text, &unit);
    size_t length = (size_t)(end - unit);
    if (unit == text || unit > end || !isfinite(number)) return 0;
    for (int i = 0; i < count; i++)
        if (strlen(units[i].name) == length && strncmp(units[i].name, unit, length) == 0)
            return number * units[i].value;
    return 0;
}

bool network_read(const char *text, Network *network, Message *problem)
{
    const char *comma = strchr(text, ',');
    *network = (Network){0};
    if (comma) {
        network->bytes_per_second = quantity(text, comma, rates, COUNT(rates));
        network->latency = quantity(comma + 1, text + strlen(text), times, COUNT(times));
    }
    if (network->bytes_per_second > 0 && network->latency > 0) return true;
    return fail(problem,
                "--network = '%s' is not the rate of a link and the latency of a message. Examples: 100Gb,1us and "
                "1.25GB,25us",
                text);
}

/* ---- messages of a step ---- */

/* How often a layer's forward pass is made. Stretches but the last go forward once more; so does recomputed attention, but for
   that of the last layer, which is still there when the backward pass begins. */
static double forward_passes(const PassSpec *spec, const Model *model, size_t layer)
{
    double stretches = (double)spec->stretches,
           again = spec->recompute != RECOMPUTE_NONE && layer + 1 < model->layer_count;
    return stretches * (1 + again) + stretches - 1;
}

static void add_passes(StepMessages *all, const AttentionMessages *one, double passes, int ranks,
                       const Network *network)
{
    double messages = one->count, numbers = (double)one->numbers;
    all->count += passes * messages;
    all->numbers += passes * numbers;
    for (size_t i = 0; i < sizeof one->sums / sizeof *one->sums; i++) {
        if (one->sums[i] == 0) continue;
        if (one->sums[i] > all->largest_sum) all->largest_sum = one->sums[i];
        all->sums += passes;
        all->chain_seconds += passes * chain_scan_seconds(network, ranks, one->sums[i]);
        all->whole_seconds += passes * whole_scan_seconds(network, ranks, one->sums[i]);
        messages--;
        numbers -= (double)one->sums[i];
    }
    all->others_seconds += passes * shift_seconds(network, messages, numbers);
}

/* What stretches add, summed over the ranks: states both ways; those of gates' gradients, a small part, backward. */
static void add_stretches(StepMessages *all, const AttentionLayer *layer, const AttentionShape *shape, double more,
                          const Network *network)
{
    if (more == 0 || shape->segments == 1) return;
    size_t sums = layer->kind->carried(layer, shape).sums;
    all->count += (2 + attention_has_gate(layer)) * more;
    all->numbers += 2 * more * (double)sums;
    all->others_seconds += 2 * more * halving_sum_seconds(network, shape->segments, sums);
}

StepMessages step_messages(const Config *config, const Model *model, int sequence_ranks, const Network *network)
{
    PassSpec spec = config_pass_spec(config);
    AttentionShape shape = pass_shape(&spec, 0, sequence_ranks);
    double stretches = (double)spec.stretches,
           micro_batches = (double)(config->train.batch_sequences / config->parallel.data_ranks /
                                    config->train.micro_batch_sequences);
    StepMessages all = {0};
    for (size_t i = 0; i < model->layer_count; i++) {
        const AttentionLayer *layer = &model->layers[i].attention;
        AttentionCost cost = layer->kind->cost(layer, &shape);
        add_passes(&all, &cost.forward, micro_batches * forward_passes(&spec, model, i), sequence_ranks, network);
        add_passes(&all, &cost.backward, micro_batches * stretches, sequence_ranks, network);
        add_stretches(&all, layer, &shape, micro_batches * (stretches - 1), network);
    }
    return all;
}

/* ---- what they take ---- */

static void say_seconds(Facts *facts, const char *name, const char *label, double seconds)
{
    facts_say(facts, "  %-40s ", label);
    facts_real(facts, name, "%12.6f s\n", seconds);
}

static void say_percent(Facts *facts, const char *name, const char *label, double share)
{
    facts_say(facts, "  %-40s ", label);
    facts_real(facts, name, "%12.2f %%\n", 100 * share);
}

static void say_scans(const Network *network, const StepMessages *messages, int sequence_ranks, Facts *facts)
{
    facts_integer(facts, "sums", "  exclusive sums of states                 %12lld", (int64_t)messages->sums);
    facts_bytes(facts, "largest_sum_bytes", ", the largest of %s\n", (double)messages->largest_sum * sizeof(real));
    size_t numbers = messages->largest_sum;
    say_seconds(facts, "chain_seconds", "  the largest, as a chain of packets",
                chain_scan_seconds(network, sequence_ranks, numbers));
    say_seconds(facts, "exscan_seconds", "  the largest, exscan or iexscan",
                whole_scan_seconds(network, sequence_ranks, numbers));
    say_seconds(facts, "all_chain_seconds", "  all, as chains", messages->chain_seconds);
    say_seconds(facts, "all_exscan_seconds", "  all, exscan or iexscan", messages->whole_seconds);
    if (messages->others_seconds > 0)
        say_seconds(facts, "others_seconds", "other messages of attention", messages->others_seconds);
}

/* Of shares there is one way; whole gradients can go several. */
static void say_store(const Network *network, const StoreMessages *store, ShardStage stage, int ranks, Facts *facts)
{
    size_t numbers = (size_t)store->gradient_numbers;
    if (stage >= SHARD_GRADIENTS) {
        say_seconds(facts, "gradients_keepers_seconds", "gradients, to their keepers", store->gradient_seconds);
    } else {
        say_seconds(facts, "gradients_halving_seconds", "gradients, by halves (Rabenseifner)", store->gradient_seconds);
        say_seconds(facts, "gradients_ring_seconds", "gradients, round a ring",
                    ring_sum_seconds(network, ranks, numbers));
        say_seconds(facts, "gradients_tree_seconds", "gradients, by a tree", tree_sum_seconds(network, ranks, numbers));
    }
    if (stage != SHARD_NONE) say_seconds(facts, "parameters_seconds", "parameters, gathered", store->value_seconds);
}

/* Gradients can be summed, and values that a pass reads fetched, while others are computed with; those that are gathered behind
   an update have nothing to hide behind. */
static void say_efficiency(const StepCompute *compute, const StoreMessages *store, ShardStage stage, double scans,
                           double others, Facts *facts)
{
    bool fetched = stage == SHARD_PARAMETERS;
    double messages = store->gradient_seconds + store->value_seconds,
           step = compute->seconds + scans + others + messages;
    double hidden = step - (fetched ? messages : store->gradient_seconds);
    const char *behind = fetched ? "  with both hidden behind computing" : "  with gradients hidden behind computing";
    say_percent(facts, "scan_share_percent", "share of the sums of states in a step", scans / step);
    say_percent(facts, "gradient_share_percent",
                stage >= SHARD_GRADIENTS ? "share of the gradients" : "share of the gradients, by halves",
                store->gradient_seconds / step);
    if (stage != SHARD_NONE)
        say_percent(facts, "parameter_share_percent", "share of the parameters", store->value_seconds / step);
    say_percent(facts, "weak_efficiency_percent", "weak efficiency", compute->alone_seconds / step);
    say_percent(facts, "weak_efficiency_hidden_percent", behind, compute->alone_seconds / hidden);
    say_percent(facts, "strong_efficiency_percent", "strong efficiency", compute->seconds / step);
    say_percent(facts, "strong_efficiency_hidden_percent", behind, compute->seconds / hidden);
}

void network_say(const Network *network, const Config *config, const Model *model, int ranks, int ranks_per_node,
                 const StoreMessages *store, const StepCompute *compute, Facts *facts)
{
    int sequence_ranks = config_sequence_ranks(config, ranks);
    ShardStage stage = ranks > 1 ? (ShardStage)config->parallel.shard : SHARD_NONE;
    StepMessages messages = step_messages(config, model, sequence_ranks, network);
    facts_say(facts, "time of messages by closed forms: a link for each rank, nobody late, nothing hidden\n");
    if (ranks_per_node > 1 && ranks_per_node < ranks)
        facts_say(facts,
                  "  (the %d ranks of a node share one: what leaves the node takes up to as many times as long)\n",
                  ranks_per_node);
    facts_open(facts, "network");
    facts_real(facts, "bytes_per_second", NULL, network->bytes_per_second);
    facts_real(facts, "latency_seconds", NULL, network->latency);
    say_scans(network, &messages, sequence_ranks, facts);
    say_store(network, store, stage, ranks, facts);
    say_seconds(facts, "compute_seconds", "computing", compute->seconds);
    facts_text(facts, "compute_basis", "    %s\n", compute->basis);
    double scans = config->parallel.scan == SCAN_CHAIN ? messages.chain_seconds : messages.whole_seconds;
    say_efficiency(compute, store, stage, scans, messages.others_seconds, facts);
    facts_close(facts);
}
