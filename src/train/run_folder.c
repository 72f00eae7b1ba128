#include "src/train/run_folder.h"

#include <stdio.h>
#include <stdlib.h>

#include "io/checkpoint.h"
#include "io/disk.h"
#include "io/metrics.h"
#include "io/run_lock.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/train/run_config.h"
#include "src/train/stop.h"

static const MetricsKind kinds[RUN_TABLES] = {
    [TABLE_STEPS] = {"steps",
                     "metrics.csv",
                     1,
                     "loss",
                     {"step", "loss", "learning_rate", "gradient_norm", "seconds", "tokens_seen",
                      "communication_seconds", "tokens_per_second", "skipped", "clamped_normalisers"}},
    [TABLE_EVALUATIONS] = {"evaluations",
                           "evaluations.csv",
                           1,
                           "loss",
                           {"step", "loss", "perplexity", "bits_per_byte", "tokens", "seconds", "accuracy",
                            "sequences_right"}},
    [TABLE_ATTENTION] = {"attention",
                         "attention.csv",
                         3,
                         "sketched_share",
                         {"step", "layer", "head", "exact_share", "sketched_share", "gate_length"}},
};

struct RunFolder {
    const Config *config;
    RunLock *lock;               /* rank 0, else NULL */
    Metrics *tables[RUN_TABLES]; /* likewise */
};

/* ---- opening ---- */

/* Half-written files of killed jobs; files of others in the same folder stay. */
static void remove_temporaries(const char *path, const char *checkpoints)
{
    static const char *const ours[] = {"lock.",    "config.ini.",  "config.used.ini.",
                                       "metrics.", "evaluations.", "attention."};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) disk_remove_temporaries(path, ours[i]);
    disk_remove_temporaries(checkpoints, "step-");
}

static bool open_on_first_rank(RunFolder *folder, Message *problem)
{
    char checkpoint[CHECKPOINT_PATH_SIZE], checkpoints[DISK_PATH_SIZE], log[DISK_PATH_SIZE];
    const char *path = folder->config->output.folder;
    checkpoint_path(path, 0, checkpoint);
    disk_folder_of(checkpoint, checkpoints);
    snprintf(log, sizeof log, "%s/train.log", path);
    if (!disk_make_folder(checkpoints, problem) || !stop_check_file(folder->config, problem)) return false;
    folder->lock = run_lock_take(path, problem);
    if (!folder->lock) return false;
    remove_temporaries(path, checkpoints);
    return log_open_file(log) || fail(problem, "cannot write '%s'. Choose a writable output.folder", log);
}

RunFolder *run_folder_open(const Config *config)
{
    Message problem;
    RunFolder *folder = checked_calloc(1, sizeof *folder);
    folder->config = config;
    require_all(world().rank > 0 || open_on_first_rank(folder, &problem), &problem);
    return folder;
}

static void say_left_out(const Metrics *table, const char *csv, int64_t last_step)
{
    const char *place;
    size_t rows = metrics_left_out(table, &place);
    if (rows == 0) return;
    char from[64] = "begins anew";
    if (last_step >= 0) snprintf(from, sizeof from, "goes on after step %lld", (long long)last_step);
    log_line("%s %s; the %zu later rows of the earlier run are kept in %s", csv, from, rows, place);
}

/* An evaluation is made again when its own row is missing. Its rows of heads were written before, and go. */
static bool open_tables(RunFolder *folder, int64_t last_step, Message *problem)
{
    for (int i = 0; i < RUN_TABLES; i++) {
        if (i == TABLE_ATTENTION) last_step = metrics_last_step(folder->tables[TABLE_EVALUATIONS]);
        folder->tables[i] = metrics_open(folder->config->output.folder, &kinds[i], last_step, problem);
        if (!folder->tables[i]) return false;
        say_left_out(folder->tables[i], kinds[i].csv, last_step);
    }
    return metrics_store(folder->tables, RUN_TABLES, problem);
}

void run_folder_open_tables(RunFolder *folder, const Config *asked, int64_t last_step)
{
    Message problem;
    bool good = world().rank > 0 ||
                (run_config_write(asked, folder->config, &problem) && open_tables(folder, last_step, &problem));
    require_all(good, &problem);
}

/* ---- in use ---- */

void run_folder_append(RunFolder *folder, RunTable table, const double *row)
{
    if (folder->tables[table]) metrics_append(folder->tables[table], row);
}

int64_t run_folder_last_step(const RunFolder *folder, RunTable table)
{
    int64_t step = folder->tables[table] ? metrics_last_step(folder->tables[table]) : -1;
    world_broadcast(&step, sizeof step);
    return step;
}

void run_folder_store(RunFolder *folder)
{
    Message problem;
    if (folder->tables[0] && !metrics_store(folder->tables, RUN_TABLES, &problem))
        log_line("warning: %s. The CSV files have all rows", problem.text);
}

void run_folder_require_held(const RunFolder *folder)
{
    Message problem;
    require_all(!folder->lock || run_lock_held(folder->lock, &problem), &problem);
}

void run_folder_close(RunFolder *folder)
{
    for (int i = 0; i < RUN_TABLES; i++) metrics_close(folder->tables[i]);
    run_lock_release(folder->lock);
    free(folder);
}
