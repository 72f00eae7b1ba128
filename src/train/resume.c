#include "src/train/resume.h"

#include <stdio.h>
#include <string.h>

#include "io/metrics.h"
#include "mpi/world.h"
#include "src/base/log.h"

/* ---- choosing ---- */

/* False when the checkpoint cannot be read at all; leaves when it is of another model. */
static bool load_config(Resume *resume, const Config *config, Message *problem)
{
    OptionTable options = config_options(&resume->config);
    option_set_defaults(&options); /* what older files do not say was so */
    if (!checkpoint_load_options(resume->path, &options, sizeof resume->config, problem)) return false;
    Message cause;
    bool same = config_same_model(config, &resume->config, &cause);
    if (!same) fail(problem, "cannot continue %.200s: %.700s", resume->path, cause.text);
    require_all(same, problem);
    return true;
}

/* The newest of at most step `limit`, as rank 0 sees the folder. */
static bool find(const Config *config, int64_t limit, Resume *resume)
{
    resume->found =
        world().rank == 0 && checkpoint_find_newest(config->output.folder, limit, resume->path, &resume->step);
    world_broadcast(&resume->found, sizeof resume->found);
    world_broadcast(&resume->step, sizeof resume->step);
    world_broadcast(resume->path, sizeof resume->path);
    return resume->found;
}

void resume_check_model(const Config *config)
{
    static Resume resume;
    Message unused;
    if (find(config, INT64_MAX, &resume)) (void)load_config(&resume, config, &unused);
}

static CheckpointHealth examine(const Resume *resume, Message *problem)
{
    int health = CHECKPOINT_WHOLE;
    if (world().rank == 0) health = checkpoint_examine(resume->path, resume->step, problem);
    world_broadcast(&health, sizeof health);
    return (CheckpointHealth)health;
}

static void set_aside(const Resume *resume, const Message *damage)
{
    if (world().rank > 0) return;
    char place[CHECKPOINT_PATH_SIZE + 16];
    Message problem;
    bool moved = checkpoint_set_aside(resume->path, place, &problem);
    log_line("warning: %s", damage->text);
    log_line("warning: %s%s", moved ? "it is kept as " : "it stays where it is: ", moved ? place : problem.text);
}

static bool may_start_anew(const Config *config, int damaged, bool overwrite, Message *problem)
{
    if (world().rank > 0 || overwrite) return true;
    if (damaged > 0)
        return fail(problem,
                    "no usable checkpoint is left in '%s': %d damaged. Put a good copy there, choose another "
                    "output.folder, or give --overwrite to start anew in this one",
                    config->output.folder, damaged);
    return !metrics_exist(config->output.folder, "metrics.csv") ||
           fail(problem,
                "'%s' has the metrics of an earlier run, but no checkpoint to continue from. Choose another "
                "output.folder, or give --overwrite to start anew in this one",
                config->output.folder);
}

void resume_choose(const Config *config, bool overwrite, Resume *resume)
{
    Message problem = {""};
    int damaged = 0;
    int64_t limit = INT64_MAX;
    while (find(config, limit, resume)) {
        CheckpointHealth health = examine(resume, &problem);
        require_all(health != CHECKPOINT_CLOSED, &problem);
        if (health == CHECKPOINT_WHOLE) {
            bool read = load_config(resume, config, &problem);
            require_all(read, &problem);
            return;
        }
        set_aside(resume, &problem);
        damaged++;
        limit = resume->step - 1;
    }
    require_all(may_start_anew(config, damaged, overwrite, &problem), &problem);
}

/* ---- comparing ---- */

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

static bool same_tokenizer(const Resume *resume, const TokenFile *train, Message *problem)
{
    Tokenizer saved;
    if (!checkpoint_read_tokenizer(resume->path, &saved, problem)) return false;
    bool same = strcmp(saved.name, "unknown") == 0 || tokenizer_same(&saved, &train->tokenizer);
    if (!same)
        fail(problem,
             "cannot continue %.200s: it was trained with tokenizer '%s', but '%.200s' was made with '%s' or has other "
             "pieces. "
             "Use data made with the same tokenizer, or another output.folder",
             resume->path, saved.name, train->path, train->tokenizer.name);
    tokenizer_destroy(&saved);
    return same;
}

void resume_compare(const Resume *resume, const Config *config, const TokenFile *train, const CheckpointData *data)
{
    Message problem;
    CheckpointData saved;
    bool first = world().rank == 0;
    require_all(!first || !train || same_tokenizer(resume, train, &problem), &problem);
    require_all(!first || checkpoint_read_data(resume->path, &saved, &problem), &problem);
    say_changed_options(config, &resume->config);
    if (first && train && saved.tokens >= 0 && (saved.tokens != data->tokens || strcmp(saved.digest, data->digest)))
        log_line("warning: data.train is not what the checkpoint was trained on: it has %lld tokens with digest %s, "
                 "that had %lld "
                 "with %s",
                 (long long)data->tokens, data->digest, (long long)saved.tokens, saved.digest);
}

/* ---- loading ---- */

static int64_t next_sequence(const Progress *progress, const Config *saved, const Config *now)
{
    int64_t then = saved->model.context_length, context = now->model.context_length;
    if (progress->sequences_seen >= 0 && then == context) return progress->sequences_seen;
    return (progress->tokens_seen + context - 1) / context;
}

void resume_load(const Resume *resume, const Config *config, Checkpoint *into)
{
    Message problem;
    int before = resume->config.train.optimizer.kind, now = config->train.optimizer.kind;
    require_all(checkpoint_load(resume->path, into, before == now, &problem), &problem);
    Progress *progress = &into->progress;
    if (before != now) progress->optimizer_steps = 0;
    progress->sequences_seen = next_sequence(progress, &resume->config, config);
    log_line("continuing from %s: step %lld", resume->path, (long long)progress->step);
    if (before != now)
        log_line("the optimizer was %s and is %s: its states begin anew", optimizer_name(before), optimizer_name(now));
    if (resume->config.model.context_length != config->model.context_length)
        log_line("the context length is another: training goes on with sequence %lld, after %lld tokens",
                 (long long)progress->sequences_seen, (long long)progress->tokens_seen);
}
