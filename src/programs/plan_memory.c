#include "src/programs/plan_memory.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/log.h"

static const char *const names[SHARD_STAGES] = {"none", "optimizer", "gradients", "parameters"};

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

static bool fits(const StagePlan *plan, int stage)
{
    return memory_of_process(plan->reports[stage].total) * (double)plan->ranks_per_node <= plan->node_bytes;
}

StagePlan plan_stages(const Config *config, const Model *model, int ranks, double node_bytes, int64_t ranks_per_node)
{
    PassSpec pass = config_pass_spec(config);
    StagePlan plan = {.node_bytes = node_bytes, .ranks_per_node = ranks_per_node > 0 ? ranks_per_node : ranks};
    if (plan.ranks_per_node > ranks) plan.ranks_per_node = ranks;
    for (int stage = 0; stage < SHARD_STAGES; stage++)
        plan.reports[stage] = memory_report(config, model, &pass, ranks, (ShardStage)stage);
    plan.stage = (ShardStage)config->parallel.shard;
    plan.fits = true;
    if (node_bytes == 0) return plan;
    plan.stage = SHARD_NONE;
    while (plan.stage < SHARD_PARAMETERS && !fits(&plan, (int)plan.stage)) plan.stage++;
    plan.fits = fits(&plan, (int)plan.stage);
    return plan;
}

void plan_stages_say(const StagePlan *plan, Facts *facts)
{
    char node[32], needed[32];
    facts_say(facts, "memory per rank by parallel.shard:\n");
    facts_open(facts, "memory_per_rank_by_shard");
    for (int stage = 0; stage < SHARD_STAGES; stage++) {
        facts_say(facts, "  %-10s          ", names[stage]);
        facts_bytes(facts, names[stage], "%10s\n", plan->reports[stage].total);
    }
    facts_close(facts);
    facts_text(facts, "shard", NULL, names[plan->stage]);
    if (plan->node_bytes == 0) return;
    facts_flag(facts, "fits", plan->fits);
    log_bytes(plan->node_bytes, node);
    log_bytes(memory_of_process(plan->reports[plan->stage].total) * (double)plan->ranks_per_node, needed);
    if (plan->fits)
        facts_say(facts,
                  "parallel.shard = %s is the least that fits into %s for %lld ranks: they need %s, with what programs "
                  "have beside\n",
                  names[plan->stage], node, (long long)plan->ranks_per_node, needed);
    else
        facts_say(facts,
                  "nothing fits into %s for %lld ranks: with parallel.shard = parameters they need %s. Use more nodes, "
                  "fewer ranks with more threads, train.recompute = layer or train.stretch_length\n",
                  node, (long long)plan->ranks_per_node, needed);
}
