#include "src/train/trainer.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/batch_loader.h"
#include "io/checkpoint.h"
#include "io/disk.h"
#include "io/metrics.h"
#include "mpi/gradient_reduce.h"
#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/base/usage.h"
#include "src/base/version.h"
#include "src/model/model.h"
#include "src/tensor/blas.h"
#include "src/train/adamw.h"
#include "src/train/evaluate.h"
#include "src/train/memory_report.h"
#include "src/train/schedule.h"

static const char *const step_columns[] = {"step",
                                           "loss",
                                           "learning_rate",
                                           "gradient_norm",
                                           "seconds",
                                           "tokens_seen",
                                           "communication_seconds",
                                           "tokens_per_second",
                                           "clamped_normalisers"};
static const char *const evaluation_columns[] = {"step", "loss", "perplexity", "bits_per_byte", "tokens", "seconds"};
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

struct Trainer {
    const Config *config;
    TokenFile *train, *validation;
    Model *model;
    Topology topology;
    ModelPass *pass;
    BatchLoader *loader;
    Evaluator *evaluator;      /* NULL without validation data */
    real *params;              /* (total_count) */
    real *grads, *m, *v;       /* (trained_count) */
    int32_t *inputs, *targets; /* (B, N) */
    int64_t micro_batches;     /* per step and data rank */
    int64_t step, tokens_seen;
    int64_t last_evaluated, last_saved;
    Metrics *steps, *evaluations; /* rank 0, else NULL */
    double start_seconds;
    int64_t start_step;
};

/* ---- start ---------------------------------------------------------------------------------------------------------- */

static void say_machine(const Config *config)
{
    char library[128];
    world_library(library, sizeof library);
    log_line("polysketch %s | %d ranks = %lld data x %d sequence, %d threads each | %s | OpenBLAS %s", source_version(),
             world().size, (long long)config->parallel.data_ranks, config_sequence_ranks(config, world().size),
             omp_get_max_threads(), library, blas_kernel_name());
}

static void say_what_runs(const Trainer *t)
{
    const Config *config = t->config;
    const Model *model = t->model;
    log_line("model: %lld layers, width %lld, %lld heads, vocabulary %lld, context %lld, %.2f million parameters",
             (long long)config->model.layers, (long long)config->model.width, (long long)config->model.heads,
             (long long)config->model.vocab_size, (long long)config->model.context_length,
             (double)param_table_trained_values(&model->table) / 1e6);
    log_line("attention: %s", model->layers[0].attention.kind->summary);
    log_line("batch: %lld sequences = %lld tokens per step; %lld sequences per micro-batch; %lld training tokens",
             (long long)config->train.batch_sequences,
             (long long)(config->train.batch_sequences * config->model.context_length),
             (long long)config->train.micro_batch_sequences, (long long)t->train->count);
    MemoryReport report = memory_report(model, t->topology.sequence_ranks);
    memory_report_print(&report);
}

static Checkpoint checkpoint_of(const Trainer *t)
{
    return (Checkpoint){
        .config = t->config,
        .table = &t->model->table,
        .values = t->params,
        .m = t->m,
        .v = t->v,
        .step = t->step,
        .tokens_seen = t->tokens_seen,
        .tokenizer = &t->train->tokenizer,
    };
}

/* Options that differ from the checkpoint's and may: worth a line each. */
static void say_changed_options(const Config *config, const Config *saved)
{
    OptionTable table = config_options((Config *)config);
    for (int i = 0; i < table.count; i++) {
        if (option_equal(&table.rows[i], config, saved)) continue;
        char name[128], now[OPTION_TEXT_SIZE], then[OPTION_TEXT_SIZE];
        option_name(&table.rows[i], name);
        option_format(&table.rows[i], config, now);
        option_format(&table.rows[i], saved, then);
        log_line("changed since the checkpoint: %s = %s (was %s)", name, now, then);
    }
}

typedef struct Newest {
    char path[CHECKPOINT_PATH_SIZE];
    bool found;
    Config config; /* what it was trained with */
} Newest;

/* The checkpoint to continue from, if any; leaves together when it is of another model. Nothing has been written yet. */
static void find_newest(const Config *config, Newest *newest)
{
    Message problem;
    int64_t step;
    newest->found = false;
    newest->config = *config;
    if (world().rank == 0) newest->found = checkpoint_find_newest(config->output.folder, newest->path, &step);
    world_broadcast(&newest->found, sizeof newest->found);
    world_broadcast(newest->path, sizeof newest->path);
    if (!newest->found) return;
    require_all(checkpoint_load_config(newest->path, &newest->config, &problem), &problem);
    Message cause;
    bool same = config_same_model(config, &newest->config, &cause);
    if (!same) fail(&problem, "cannot continue %.200s: %.700s", newest->path, cause.text);
    require_all(same, &problem);
}

static void start_state(Trainer *t, const Newest *newest)
{
    t->last_saved = t->last_evaluated = -1;
    if (!newest->found) {
        param_table_initialise(&t->model->table, (uint64_t)t->config->train.seed, t->params);
        return;
    }
    Message problem;
    Checkpoint into = checkpoint_of(t);
    require_all(checkpoint_load(newest->path, &into, &t->step, &t->tokens_seen, &problem), &problem);
    log_line("continuing from %s: step %lld", newest->path, (long long)t->step);
    say_changed_options(t->config, &newest->config);
    t->last_saved = t->step;
}

static bool write_config(const Config *config, Message *problem)
{
    char path[DISK_PATH_SIZE], temporary[DISK_PATH_SIZE + 8];
    Config copy = *config;
    OptionTable table = config_options(&copy);
    snprintf(path, sizeof path, "%s/config.ini", config->output.folder);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    FILE *file = fopen(temporary, "w");
    if (!file) return fail(problem, "cannot write '%s'. Choose a writable output.folder", path);
    option_print_ini(&table, file);
    if (fclose(file) != 0) return fail(problem, "cannot write '%s': the disk is full", path);
    return disk_rename(temporary, path, problem);
}

/* Rank 0 writes; the others learn whether it could. */
static void open_outputs(Trainer *t)
{
    Message problem;
    bool ok = true, continued = t->step > 0 || t->last_saved >= 0;
    int64_t last_step = continued ? t->step : -1;
    const char *folder = t->config->output.folder;
    if (world().rank == 0) {
        ok = write_config(t->config, &problem);
        t->steps =
            ok ? metrics_open(folder, "steps", "metrics.csv", step_columns, COUNT(step_columns), last_step, &problem)
               : NULL;
        t->evaluations = t->steps ? metrics_open(folder, "evaluations", "evaluations.csv", evaluation_columns,
                                                 COUNT(evaluation_columns), last_step, &problem)
                                  : NULL;
        ok = t->steps && t->evaluations;
    }
    require_all(ok, &problem);
}

/* The run folder with room for a checkpoint: a run must not find out after its last step that it cannot be saved. */
static void make_output_folder(const Config *config, const ParamTable *table)
{
    Message problem;
    char checkpoint[CHECKPOINT_PATH_SIZE], folder[DISK_PATH_SIZE], log[DISK_PATH_SIZE];
    bool ok = true;
    checkpoint_path(config->output.folder, 0, checkpoint);
    disk_folder_of(checkpoint, folder);
    snprintf(log, sizeof log, "%s/train.log", config->output.folder);
    uint64_t bytes = sizeof(float) * (table->total_count + 2 * table->trained_count);
    if (world().rank == 0) {
        ok = disk_make_folder(folder, &problem) && disk_has_room(checkpoint, bytes, &problem);
        if (ok && !log_open_file(log)) ok = fail(&problem, "cannot write '%s'. Choose a writable output.folder", log);
    }
    require_all(ok, &problem);
}

Trainer *trainer_create(const Config *config, TokenFile *train, TokenFile *validation)
{
    Trainer *t = checked_calloc(1, sizeof *t);
    Message problem;
    *t = (Trainer){.config = config, .train = train, .validation = validation};
    static Newest newest;
    find_newest(config, &newest);
    t->model = model_create(config);
    make_output_folder(config, &t->model->table);
    say_machine(config);
    t->topology = topology_create((int)config->parallel.data_ranks, (ScanKind)config->parallel.scan);
    say_what_runs(t);
    size_t B = (size_t)config->train.micro_batch_sequences, T = (size_t)config->model.context_length;
    AttentionShape shape = model_shape(config, B, T, t->topology.link->position, t->topology.link->segments);
    t->micro_batches = config->train.batch_sequences / config->parallel.data_ranks / (int64_t)B;
    t->pass = model_pass_create(t->model, shape, t->topology.link, PASS_TRAIN);
    t->loader = pass_loader(t->pass, train, (uint64_t)config->train.seed, &problem);
    require_all(t->loader != NULL, &problem);
    if (validation) t->evaluator = evaluator_create(&t->topology, validation, t->pass, &config->evaluate, &problem);
    require_all(!validation || t->evaluator, &problem);
    const ParamTable *table = &t->model->table;
    t->params = checked_calloc(table->total_count, sizeof(real));
    t->grads = checked_calloc(table->trained_count, sizeof(real));
    t->m = checked_calloc(table->trained_count, sizeof(real));
    t->v = checked_calloc(table->trained_count, sizeof(real));
    t->inputs = checked_calloc(B * model_pass_tokens(t->pass), sizeof *t->inputs);
    t->targets = checked_calloc(B * model_pass_tokens(t->pass), sizeof *t->targets);
    start_state(t, &newest);
    open_outputs(t);
    return t;
}

void trainer_destroy(Trainer *t)
{
    metrics_close(t->steps);
    metrics_close(t->evaluations);
    evaluator_destroy(t->evaluator);
    model_pass_destroy(t->pass);
    batch_loader_destroy(t->loader);
    topology_destroy(&t->topology);
    model_destroy(t->model);
    free(t->params), free(t->grads), free(t->m), free(t->v), free(t->inputs), free(t->targets);
    free(t);
}

/* ---- one step ------------------------------------------------------------------------------------------------------- */

typedef struct StepReport {
    double loss, learning_rate, gradient_norm, seconds, communication_seconds, tokens_per_second, clamped_normalisers;
} StepReport;

/* Loss and gradients of this rank's share of the batch; returns the sum of the losses. */
static double accumulate_gradients(Trainer *t)
{
    const Config *config = t->config;
    uint64_t batch = (uint64_t)config->train.batch_sequences, B = (uint64_t)config->train.micro_batch_sequences;
    real loss_scale = (real)(1.0 / ((double)batch * (double)config->model.context_length));
    double sum = 0;
    Message problem;
    memset(t->grads, 0, t->model->table.trained_count * sizeof(real));
    for (int64_t i = 0; i < t->micro_batches; i++) {
        uint64_t in_batch = ((uint64_t)t->topology.data_rank * (uint64_t)t->micro_batches + (uint64_t)i) * B;
        bool ok = batch_loader_training(t->loader, (uint64_t)t->step * batch + in_batch, (int64_t)B, t->inputs,
                                        t->targets, &problem);
        require_all(ok, &problem);
        DropoutKey dropout = {(uint64_t)config->train.seed, (uint64_t)t->step, in_batch};
        sum += model_train(t->pass, t->params, t->grads, t->inputs, t->targets, loss_scale, dropout);
    }
    return sum;
}

/* Every rank sees the same numbers here, so all leave together. */
static void require_finite(const Trainer *t, const StepReport *report)
{
    Message problem;
    bool finite = isfinite(report->loss) && isfinite(report->gradient_norm);
    if (!finite)
        fail(&problem,
             "step %lld: the loss is %g, the norm of the gradient %g. Lower train.learning_rate, lengthen "
             "train.warmup_steps or set train.clip_norm; the last checkpoint is untouched",
             (long long)t->step + 1, fabs(report->loss),
             fabs(report->gradient_norm)); /* no sign: "nan", never "-nan" */
    if (!finite && world().rank == 0) metrics_flush(t->steps);
    require_all(finite, &problem);
}

static StepReport train_step(Trainer *t)
{
    const Config *config = t->config;
    const ParamTable *table = &t->model->table;
    double start = usage_seconds(), link_seconds = topology_communication_seconds(&t->topology);
    double tokens = (double)(config->train.batch_sequences * config->model.context_length);
    double sums[] = {accumulate_gradients(t), (double)model_pass_take_clamped(t->pass)};
    double reduce_seconds = gradient_reduce(t->grads, table->trained_count);
    world_sum_doubles(sums, 2);
    StepReport report = {.loss = sums[0] / tokens, .clamped_normalisers = sums[1]};
    report.gradient_norm = adamw_gradient_norm(table, t->grads);
    require_finite(t, &report);
    t->step++;
    t->tokens_seen += (int64_t)tokens;
    report.learning_rate = schedule_learning_rate(&config->train, t->step);
    adamw_update(table, &config->train, t->params, t->m, t->v, t->grads, report.learning_rate,
                 adamw_clip_factor(report.gradient_norm, config->train.clip_norm), t->step);
    report.seconds = usage_seconds() - start;
    report.tokens_per_second = tokens / report.seconds;
    report.communication_seconds = topology_communication_seconds(&t->topology) - link_seconds + reduce_seconds;
    return report;
}

/* ---- the loop ------------------------------------------------------------------------------------------------------- */

static void record_step(Trainer *t, const StepReport *r)
{
    if (!t->steps) return;
    double row[] = {(double)t->step,
                    r->loss,
                    r->learning_rate,
                    r->gradient_norm,
                    r->seconds,
                    (double)t->tokens_seen,
                    r->communication_seconds,
                    r->tokens_per_second,
                    r->clamped_normalisers};
    metrics_append(t->steps, row);
}

static void say_progress(const Trainer *t, const StepReport *r)
{
    int64_t steps = t->config->train.steps, done = t->step - t->start_step;
    if (t->step % t->config->output.log_every && t->step != steps && done != 1) return;
    char remaining[32];
    double per_step = (usage_seconds() - t->start_seconds) / (double)done;
    log_line("step %lld/%lld | loss %.4f | lr %.2e | norm %.3f | %.0f tokens/s | %.2f s/step | %.0f%% communication | "
             "%s left",
             (long long)t->step, (long long)steps, r->loss, r->learning_rate, r->gradient_norm, r->tokens_per_second,
             r->seconds, 100 * r->communication_seconds / r->seconds,
             log_duration(per_step * (double)(steps - t->step), remaining));
}

static void evaluate(Trainer *t)
{
    if (!t->evaluator || t->last_evaluated == t->step) return;
    Evaluation e = evaluator_run(t->evaluator, t->params, NULL);
    t->last_evaluated = t->step;
    char bits[48] = "";
    if (!isnan(e.bits_per_byte)) snprintf(bits, sizeof bits, " | %.4f bits per byte", e.bits_per_byte);
    log_line("validation at step %lld | loss %.4f | perplexity %.2f%s | %lld tokens in %.1f s", (long long)t->step,
             e.loss, e.perplexity, bits, (long long)e.tokens, e.seconds);
    double row[] = {(double)t->step, e.loss, e.perplexity, e.bits_per_byte, (double)e.tokens, e.seconds};
    if (t->evaluations) metrics_append(t->evaluations, row);
}

/* A checkpoint that nobody could continue from must not become the newest one. Every rank holds the same values. */
static void require_finite_state(const Trainer *t)
{
    const real *blocks[] = {t->params, t->m, t->v};
    Message problem;
    bool finite = true;
    for (int b = 0; b < 3; b++)
        for (size_t i = 0; finite && i < t->model->table.trained_count; i++) finite = isfinite(blocks[b][i]);
    if (!finite)
        fail(&problem,
             "step %lld: the parameters are not finite, so no checkpoint is written. Lower train.learning_rate or set "
             "train.clip_norm; earlier checkpoints are untouched",
             (long long)t->step);
    require_all(finite, &problem);
}

static void save(Trainer *t)
{
    if (t->last_saved == t->step) return;
    require_finite_state(t);
    char path[CHECKPOINT_PATH_SIZE];
    Message problem;
    Checkpoint checkpoint = checkpoint_of(t);
    double start = usage_seconds();
    checkpoint_path(t->config->output.folder, t->step, path);
    require_all(checkpoint_write(&checkpoint, path, &problem), &problem);
    t->last_saved = t->step;
    if (t->steps) metrics_flush(t->steps);
    if (t->evaluations) metrics_flush(t->evaluations);
    log_line("checkpoint %s in %.1f s", path, usage_seconds() - start);
}

static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

void trainer_run(Trainer *t)
{
    const Config *config = t->config;
    int64_t steps = config->train.steps;
    t->start_seconds = usage_seconds();
    t->start_step = t->step;
    if (t->step >= steps) log_line("all %lld steps are done; raise train.steps to go on", (long long)steps);
    if (t->step == 0 && config->output.checkpoint_at_start) save(t);
    while (t->step < steps) {
        StepReport report = train_step(t);
        record_step(t, &report);
        say_progress(t, &report);
        if (due(t->step, config->evaluate.every)) evaluate(t);
        if (due(t->step, config->output.checkpoint_every)) save(t);
    }
    if (t->step > t->start_step) evaluate(t);
    save(t);
    char text[32], memory[32];
    log_line("done: %lld steps in %s, peak memory of rank 0 %s", (long long)(t->step - t->start_step),
             log_duration(usage_seconds() - t->start_seconds, text), log_bytes(usage_peak_bytes(), memory));
}
