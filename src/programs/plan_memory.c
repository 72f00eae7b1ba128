#include "src/programs/plan_memory.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/log.h"

static const char *const names[SHARD_STAGES] = {"none", "optimizer", "gradients", "parameters"};
static const char all_on_one_node[] = " (all; --ranks_per_node says fewer)";

bool plan_memory_read(const char *text, double *bytes, Message *problem)
{
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"M", 1e6},  {"MB", 1e6},  {"MiB", 1 << 20},        {"G", 1e9}, {"GB", 1e9}, {"GiB", 1 << 30},
                 {"T", 1e12}, {"TB", 1e12}, {"TiB", 1099511627776.0}};
    char *unit;
    *bytes = 0;
    if (!text[0]) return true;
    double number = strtod(text, &unit);
    for (size_t i = 0; i < sizeof units / sizeof *units && unit > text; i++)
        if (strcmp(unit, units[i].unit) == 0) *bytes = number * units[i].bytes;
    return (*bytes > 0 && *bytes < 1e18) ||
           fail(problem, "--memory=%s is no amount of memory. Write a number and a unit, such as 24G or 24GiB", text);
}

/* Of all ranks of a full node, with what programs have beside. */
static double node_needs(const StagePlan *plan, bool node_shared, ShardStage stage)
{
    return memory_of_process(plan->full_nodes[node_shared][stage]) * plan->ranks_per_node;
}

static bool fits(const StagePlan *plan, bool node_shared, ShardStage stage)
{
    return node_needs(plan, node_shared, stage) <= plan->node_bytes;
}

/* That has the least to keep. */
static ShardStage last_stage(bool node_shared) { return node_shared ? SHARD_GRADIENTS : SHARD_PARAMETERS; }

/* The first that fits, from above in the table; SHARD_STAGES if none. */
static int first_that_fits(const StagePlan *plan, bool node_shared)
{
    for (int stage = SHARD_NONE; stage <= (int)last_stage(node_shared); stage++)
        if (fits(plan, node_shared, (ShardStage)stage)) return stage;
    return SHARD_STAGES;
}

StagePlan plan_stages(const Config *config, const Model *model, int ranks, double node_bytes, int64_t ranks_per_node)
{
    PassSpec pass = config_pass_spec(config);
    bool some = ranks_per_node > 0 && ranks_per_node < ranks, shared = config->parallel.node_shared;
    StagePlan plan = {
        .node_bytes = node_bytes, .ranks_per_node = some ? (int)ranks_per_node : ranks, .node_shared = shared};
    plan.one_node = ranks > 1 && ranks_per_node == 0;
    plan.last_node_ranks = ranks_on_last_node(ranks, plan.ranks_per_node);
    for (int way = 0; way < 2; way++)
        for (ShardStage stage = SHARD_NONE; stage <= last_stage(way); stage++) {
            MemoryCase here = {ranks, plan.last_node_ranks, plan.ranks_per_node, stage, way};
            plan.reports[way][stage] = memory_report(config, model, &pass, &here);
            plan.full_nodes[way][stage] = plan.reports[way][stage].total;
            if (!way || here.least == here.most) continue;
            here.least = here.most;
            plan.full_nodes[way][stage] = memory_report(config, model, &pass, &here).total;
        }
    plan.stage = (ShardStage)config->parallel.shard;
    plan.fits = true;
    if (node_bytes == 0) return plan;
    int first = first_that_fits(&plan, shared);
    plan.fits = first < SHARD_STAGES;
    plan.stage = plan.fits ? (ShardStage)first : last_stage(shared);
    return plan;
}

/* A line of each: bytes of a rank, of a full node, and of that where every rank has a copy. */
static void say_node_shared(const StagePlan *plan, Facts *facts)
{
    if (plan->ranks_per_node == 1) return;
    facts_integer(facts, "ranks_per_node", "with parallel.node_shared, %lld ranks on a node", plan->ranks_per_node);
    if (plan->one_node) facts_say(facts, "%s", all_on_one_node);
    if (plan->last_node_ranks < plan->ranks_per_node)
        facts_integer(facts, "ranks_on_last_node", ", %lld on the last", plan->last_node_ranks);
    facts_say(facts, ": the rank that needs most, a full node, without it\n");
    facts_open(facts, "node_shared_by_shard");
    for (ShardStage stage = SHARD_NONE; stage <= last_stage(true); stage++) {
        double rank = plan->reports[true][stage].total, node = plan->full_nodes[true][stage];
        facts_say(facts, "  %-10s          ", names[stage]);
        facts_open(facts, names[stage]);
        facts_bytes(facts, "rank", "%10s", rank);
        facts_bytes(facts, "node", "  %10s", node * plan->ranks_per_node);
        facts_bytes(facts, "node_without", "  %10s\n", plan->full_nodes[false][stage] * plan->ranks_per_node);
        facts_close(facts);
    }
    facts_close(facts);
}

/* What else may make it fit: only what is not done already, and what the configuration admits. */
static void say_remedies(const StagePlan *plan, const Config *config, Facts *facts)
{
    const char *remedies[4] = {"more nodes"};
    int count = 1;
    if (plan->ranks_per_node > 1) remedies[count++] = "fewer ranks on each with more threads";
    if (config->train.recompute != RECOMPUTE_LAYER) remedies[count++] = "train.recompute = layer";
    if (!config_quadratic_kind(config))
        remedies[count++] = config->train.stretch_length > 0 ? "another train.stretch_length" : "train.stretch_length";
    facts_say(facts, ". Use ");
    for (int i = 0; i < count; i++) facts_say(facts, "%s%s", i == 0 ? "" : i + 1 < count ? ", " : " or ", remedies[i]);
    facts_say(facts, "\n");
}

static void say_choice(const StagePlan *plan, const Config *config, Facts *facts)
{
    char node[32], needed[32], ranks[96];
    bool several = plan->ranks_per_node > 1;
    const char *with = plan->node_shared ? " with parallel.node_shared" : "";
    int other = several || plan->node_shared ? first_that_fits(plan, !plan->node_shared) : SHARD_STAGES;
    log_bytes(plan->node_bytes, node);
    log_bytes(node_needs(plan, plan->node_shared, plan->stage), needed);
    snprintf(ranks, sizeof ranks, "%d rank%s on a node%s", plan->ranks_per_node, several ? "s" : "",
             plan->one_node ? all_on_one_node : "");
    if (plan->fits)
        facts_say(facts,
                  "parallel.shard = %s%s is the least that fits into %s for %s:\n  %s %s, with a tenth and 256 MiB a "
                  "rank for what programs have beside",
                  names[plan->stage], with, node, ranks, several ? "they need" : "it needs", needed);
    else
        facts_say(facts, "%s%s fits into %s for %s: with parallel.shard = %s%s %s %s",
                  other == SHARD_STAGES ? "nothing" : "no parallel.shard",
                  other == SHARD_STAGES ? ""
                  : plan->node_shared   ? with
                                        : " alone",
                  node, ranks, names[plan->stage], with, several ? "they need" : "it needs", needed);
    if (other < (plan->fits ? (int)plan->stage : SHARD_STAGES))
        facts_say(facts, "; with parallel.node_shared = %s parallel.shard = %s fits\n",
                  plan->node_shared ? "false" : "true", names[other]);
    else if (plan->fits)
        facts_say(facts, "\n");
    else
        say_remedies(plan, config, facts);
}

void plan_stages_say(const StagePlan *plan, const Config *config, Facts *facts)
{
    facts_say(facts, "memory per rank by parallel.shard:\n");
    facts_open(facts, "memory_per_rank_by_shard");
    for (int stage = 0; stage < SHARD_STAGES; stage++) {
        facts_say(facts, "  %-10s          ", names[stage]);
        facts_bytes(facts, names[stage], "%10s\n", plan->reports[false][stage].total);
    }
    facts_close(facts);
    say_node_shared(plan, facts);
    facts_text(facts, "shard", NULL, names[plan->stage]);
    if (plan->node_bytes == 0) return;
    facts_flag(facts, "fits", plan->fits);
    facts_real(facts, "node_needs", NULL, node_needs(plan, plan->node_shared, plan->stage));
    say_choice(plan, config, facts);
}
