#include "src/train/memory_report.h"

#include "src/base/log.h"

/* The rank that holds the longest segment. */
static AttentionShape largest_shape(const Config *config, size_t sequences, int sequence_ranks)
{
    size_t context = (size_t)config->model.context_length;
    AttentionShape largest = model_shape(config, sequences, context, 0, sequence_ranks);
    for (int position = 1; position < sequence_ranks; position++) {
        AttentionShape shape = model_shape(config, sequences, context, position, sequence_ranks);
        if (shape.tokens > largest.tokens) largest = shape;
    }
    return largest;
}

MemoryReport memory_report(const Model *model, int sequence_ranks)
{
    AttentionShape shape =
        largest_shape(&model->config, (size_t)model->config.train.micro_batch_sequences, sequence_ranks);
    PassBytes train = model_pass_bytes(model, shape, PASS_TRAIN);
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
