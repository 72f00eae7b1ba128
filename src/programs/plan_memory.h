/* What each parallel.shard would need, and the least of them that fits into a node: polysketch plan. */
#ifndef POLYSKETCH_PROGRAMS_PLAN_MEMORY_H
#define POLYSKETCH_PROGRAMS_PLAN_MEMORY_H

#include "src/base/error.h"
#include "src/base/facts.h"
#include "src/train/memory_report.h"

enum { SHARD_STAGES = SHARD_PARAMETERS + 1 };

typedef struct StagePlan {
    /* Of the rank that needs most: without parallel.node_shared, and with it, which `parameters` has not. */
    MemoryReport reports[2][SHARD_STAGES];
    double full_nodes[2][SHARD_STAGES]; /* totals of the same for a rank of a full node */
    double node_bytes;                  /* --memory; 0: not asked */
    int ranks_per_node;                 /* of all nodes but the last, which may have fewer */
    int last_node_ranks;
    bool node_shared; /* asked for */
    bool one_node;    /* not said how many ranks are on one: all */
    ShardStage stage; /* asked for, or the least that fits */
    bool fits;        /* whether it does */
} StagePlan;

/* Of what is planned. */
static inline const MemoryReport *plan_report(const StagePlan *plan)
{
    return &plan->reports[plan->node_shared][plan->stage];
}

/* On the last node, where all others are full. */
static inline int ranks_on_last_node(int ranks, int ranks_per_node) { return (ranks - 1) % ranks_per_node + 1; }

/* "24G", "24GB" (10^9 bytes), "24GiB", "512M", "2T"; empty: 0. */
bool plan_memory_read(const char *text, double *bytes, Message *problem);

/* With node_bytes 0 the stage is that of the configuration, and `fits` is true; ranks_per_node 0: all. */
StagePlan plan_stages(const Config *config, const Model *model, int ranks, double node_bytes, int64_t ranks_per_node);

/* A line for each stage, and one for what was chosen; in JSON "memory_per_rank_by_shard", bytes, the same for nodes and with
   parallel.node_shared, "ranks_per_node" and "shard"; where memory was given, "fits" and "node_needs", bytes with what programs
   have beside. */
void plan_stages_say(const StagePlan *plan, const Config *config, Facts *facts);

#endif
