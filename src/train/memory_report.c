#include "src/train/memory_report.h"

#include <stdio.h>
#include <string.h>

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

/* States of all tensors by their names, STATE/TENSOR, and what an update works with. */
static void add_optimizer(MemoryReport *report, const OptimizerSpec *spec, const ParamTable *params)
{
    Optimizer *optimizer = optimizer_plan(spec, params);
    const ParamTable *states = &optimizer->states;
    for (int i = 0; i < states->count; i++) {
        char name[32];
        const Param *state = &states->params[i];
        snprintf(name, sizeof name, "optimizer: %.*s", (int)strcspn(state->name, "/"), state->name);
        add(report, name, (double)state->count * sizeof(real));
    }
    add(report, "optimizer: scratch", (double)optimizer_scratch_bytes(optimizer));
    optimizer_destroy(optimizer);
}

MemoryReport memory_report(const Model *model, const PassSpec *pass, const OptimizerSpec *optimizer, int sequence_ranks)
{
    PassBytes bytes = largest_pass(model, pass, sequence_ranks);
    MemoryReport report = {.count = 0};
    add(&report, "parameters", (double)model->table.total_count * sizeof(real));
    add(&report, "gradients", (double)model->table.trained_count * sizeof(real));
    add_optimizer(&report, optimizer, &model->table);
    add(&report, "activations", (double)bytes.activations);
    add(&report, "scratch", (double)bytes.scratch);
    return report;
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
}
