#include "src/train/step_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "mpi/world.h"
#include "src/base/heartbeat.h"
#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/base/usage.h"
#include "src/core/phase.h"
#include "src/train/sgemm_rate.h"

/* Of this rank, over some steps. */
typedef struct StepSums {
    int64_t steps;
    double seconds, communication_seconds;
} StepSums;

struct StepReporter {
    const Config *config;
    double flops_per_step, sgemm_gflops; /* of all ranks */
    double start_seconds;
    StepSums all, since_line;
    double phases[PHASE_COUNT]; /* seconds of this rank, all steps */
};

StepReporter *step_reporter_create(const Config *config, const Model *model, int64_t first_step)
{
    StepReporter *reporter = checked_calloc(1, sizeof *reporter);
    size_t T = (size_t)config->model.context_length;
    double flops = model_train_flops(model, T, (size_t)config->block_length) * (double)config->train.batch_sequences;
    *reporter = (StepReporter){.config = config, .flops_per_step = flops};
    reporter->sgemm_gflops = sgemm_rate_now(flops / world().size);
    log_line("sgemm: %.4g GF/s on all ranks together; the useful operations of a step are %.4g GF",
             reporter->sgemm_gflops, 1e-9 * reporter->flops_per_step);
    reporter->start_seconds = usage_seconds();
    if (world().rank == 0 && first_step < config->train.steps)
        heartbeat_start(config->output.heartbeat_seconds, phase_current_name);
    return reporter;
}

void step_reporter_destroy(StepReporter *reporter)
{
    heartbeat_stop();
    free(reporter);
}

void step_reporter_begin(StepReporter *reporter, int64_t step)
{
    heartbeat_begin("step %lld/%lld", (long long)step, (long long)reporter->config->train.steps);
    phase_begin(PHASE_OTHER);
    phase_reset();
}

/* ---- a line --------------------------------------------------------------------------------------------------------- */

static void say_skipped(int64_t step, const StepReport *report)
{
    log_line("warning: step %lld is skipped: its loss is %g, the norm of its gradient %g, %.3g is usual",
             (long long)step, fabs(report->loss), fabs(report->gradient_norm),
             report->usual_norm); /* "nan", never "-nan" */
}

/* Below 131 columns, also where all numbers are long. The rank that spends least in calls to others waits for nobody: its share
   is that of communication, and what the rank that spends most has more is waiting for slower ones. */
static void say_line(const StepReporter *reporter, int64_t step, const StepReport *report)
{
    const TrainConfig *train = &reporter->config->train;
    const StepSums *sums = &reporter->since_line;
    double extremes[2] = {sums->communication_seconds, -sums->communication_seconds};
    world_max_doubles(extremes, 2);
    double tokens = (double)(sums->steps * train->batch_sequences * reporter->config->model.context_length);
    double gflops = 1e-9 * reporter->flops_per_step * (double)sums->steps / sums->seconds;
    double per_step = (usage_seconds() - reporter->start_seconds) / (double)reporter->all.steps;
    char bits[32] = "-", end[32];
    if (isfinite(report->bits_per_byte)) snprintf(bits, sizeof bits, "%.3f", report->bits_per_byte);
    double comm = -extremes[1], wait = extremes[0] + extremes[1], percent = 100 / sums->seconds;
    log_line("step %lld/%lld | loss %.4f bpb %s | lr %.1e norm %.3g | %.0f tokens/s | "
             "sgemm %.0f%% comm %.0f%% wait %.0f%% | end %s",
             (long long)step, (long long)train->steps, fabs(report->loss), bits, report->learning_rate,
             fabs(report->gradient_norm), tokens / sums->seconds, 100 * gflops / reporter->sgemm_gflops, percent * comm,
             percent * wait, log_clock(per_step * (double)(train->steps - step), end));
}

static void add_step(StepSums *sums, const StepReport *report)
{
    sums->steps++;
    sums->seconds += report->seconds;
    sums->communication_seconds += report->communication_seconds;
}

void step_reporter_end(StepReporter *reporter, int64_t step, const StepReport *report)
{
    const Config *config = reporter->config;
    for (int p = 0; p < PHASE_COUNT; p++) reporter->phases[p] += phase_seconds((Phase)p);
    heartbeat_end();
    add_step(&reporter->all, report);
    add_step(&reporter->since_line, report);
    if (report->skipped) say_skipped(step, report);
    if (step % config->output.log_every && step != config->train.steps && reporter->all.steps != 1) return;
    say_line(reporter, step, report);
    reporter->since_line = (StepSums){0};
}

/* ---- where the time went -------------------------------------------------------------------------------------------- */

/* Of a number that every rank has. */
typedef struct Spread {
    double least, mean, most;
    int rank; /* that has most */
} Spread;

/* Collective. */
static Spread spread_over_ranks(double value)
{
    double extremes[2] = {-value, value}, sum = value;
    world_max_doubles(extremes, 2);
    world_sum_doubles(&sum, 1);
    double owner = value == extremes[1] ? -world().rank : -INFINITY;
    world_max_doubles(&owner, 1);
    return (Spread){-extremes[0], sum / world().size, extremes[1], (int)-owner};
}

static void print_row(const char *name, Spread row, double whole)
{
    log_line("  %-28s %10.3f %10.3f %10.3f   rank %-6d %5.1f %%", name, row.least, row.mean, row.most, row.rank,
             100 * row.mean / whole);
}

void step_reporter_print_phases(const StepReporter *reporter)
{
    char title[48];
    double seconds = 0;
    if (reporter->all.steps == 0) return;
    for (int p = 0; p < PHASE_COUNT; p++) seconds += reporter->phases[p];
    Spread whole = spread_over_ranks(seconds);
    snprintf(title, sizeof title, "time of %lld steps (s)", (long long)reporter->all.steps);
    log_line("%-30s %10s %10s %10s   %-11s %7s", title, "min", "mean", "max", "most", "share");
    for (int p = 0; p < PHASE_COUNT; p++) {
        Spread row = spread_over_ranks(reporter->phases[p]);
        if (row.most >= 5e-4 * whole.mean) print_row(phase_name((Phase)p), row, whole.mean);
    }
    print_row("all of it", whole, whole.mean);
    if (world().size == 1) return;
    Spread busy = spread_over_ranks(seconds - reporter->phases[PHASE_COMMUNICATION]);
    log_line("slowest: rank %d, which computed for %.3f s, %.1f %% longer than the mean of the ranks", busy.rank,
             busy.most, 100 * (busy.most / busy.mean - 1));
}
