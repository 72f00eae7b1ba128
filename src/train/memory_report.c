#include "src/train/memory_report.h"

#include "src/base/log.h"

/* Of the rank that needs most. */
static PassBytes largest_pass(const Model *model, int sequence_ranks)
{
    const Config *config = &model->config;
    size_t sequences = (size_t)config->train.micro_batch_sequences, context = (size_t)config->model.context_length;
    PassBytes largest = {0};
    size_t most_tokens = 0;
    for (int position = 0; position < sequence_ranks; position++) {
        size_t tokens = model_longest_range(config, context, position, sequence_ranks);
        if (tokens <= most_tokens) continue;
        most_tokens = tokens;
        AttentionShape shape = model_shape(config, sequences, context, position, sequence_ranks);
        largest = model_pass_bytes(model, shape, PASS_TRAIN);
    }
    return largest;
}

MemoryReport memory_report(const Model *model, int sequence_ranks)
{
    PassBytes train = largest_pass(model, sequence_ranks);
    double trained = (double)model->table.trained_count * sizeof(real);
    MemoryReport report = {
        .parameters = (double)model->table.total_count * sizeof(real),
        .gradients = trained,
        .moments = 2 * trained,
        .activations = (double)train.activations,
        .scratch = (double)train.scratch,
    };
    report.total = report.parameters + report.gradients + report.moments + report.activations + report.scratch;
    return report;
}

void memory_report_print(const MemoryReport *report)
{
    const struct {
        const char *name;
        double bytes;
    } rows[] = {
        {"parameters", report->parameters},   {"gradients", report->gradients}, {"AdamW moments", report->moments},
        {"activations", report->activations}, {"scratch", report->scratch},     {"total", report->total},
    };
    char text[32];
    log_line("memory per rank:");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].bytes > 0) log_line("  %-14s %10s", rows[i].name, log_bytes(rows[i].bytes, text));
}
