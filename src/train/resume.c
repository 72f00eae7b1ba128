#include "src/train/resume.h"

#include <stdio.h>
#include <string.h>

#include "io/disk.h"
#include "io/metrics.h"
#include "mpi/world.h"
#include "src/base/digest.h"
#include "src/base/log.h"

/* ---- choosing ---- */

/* What a run began with is its own for ever: a file that is asked for now would not be read. */
static bool keep_beginning(Config *config, const Resume *resume, Message *problem)
{
    char *now = config->train.init_from;
    const char *then = resume->config.train.init_from;
    if (now[0] && strcmp(now, then))
        return fail(
            problem,
            "cannot continue %.200s: the run began with train.init_from = '%.200s', this configuration has '%.200s'. "
            "Leave the option out, or choose another output.folder",
            resume->path, then, now);
    strcpy(now, then);
    return true;
}

/* False when the checkpoint cannot be read at all; leaves when it is of another model. */
static bool load_config(Resume *resume, const Config *config, Message *problem)
{
    OptionTable options = config_defaults(&resume->config); /* what older files do not say was so */
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

/* The one to begin with; leaves together when a step was chosen of which there is none. */
static bool find_first(const Config *config, const ResumeChoice *choice, Resume *resume)
{
    bool chosen = choice->from >= 0, found = find(config, chosen ? choice->from : INT64_MAX, resume);
    bool good = !chosen || (found && resume->step == choice->from);
    Message problem;
    char steps[256];
    if (!good && checkpoint_list(config->output.folder, steps, sizeof steps))
        fail(&problem, "--from=%lld: '%.300s' has no checkpoint of that step. There are those of %s",
             (long long)choice->from, config->output.folder, steps);
    else if (!good)
        fail(&problem, "--from=%lld: '%.300s' has no checkpoints. Name a run folder, or leave --from out",
             (long long)choice->from, config->output.folder);
    require_all(good, &problem);
    return found;
}

bool resume_check_model(const Config *config, const ResumeChoice *choice)
{
    static Resume resume;
    Message unused;
    if (!find_first(config, choice, &resume)) return false;
    (void)load_config(&resume, config, &unused);
    return true;
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

void resume_choose(Config *config, const ResumeChoice *choice, Resume *resume)
{
    Message problem = {""};
    int damaged = 0;
    bool found = find_first(config, choice, resume);
    while (found) {
        CheckpointHealth health = examine(resume, &problem);
        require_all(health == CHECKPOINT_WHOLE || (health == CHECKPOINT_DAMAGED && choice->from < 0), &problem);
        if (health == CHECKPOINT_WHOLE) {
            bool read = load_config(resume, config, &problem);
            require_all(read && keep_beginning(config, resume, &problem), &problem);
            if (choice->overwrite) log_line("--overwrite means nothing here: the run has a checkpoint and continues");
            return;
        }
        set_aside(resume, &problem);
        damaged++;
        found = find(config, resume->step - 1, resume);
    }
    require_all(may_start_anew(config, damaged, choice->overwrite, &problem), &problem);
}

/* The newest first: when this is cut short, those that are left are the ones nearest to the chosen step. */
static bool set_later_aside(const Config *config, int64_t step, Message *problem)
{
    char path[CHECKPOINT_PATH_SIZE], place[DISK_PATH_SIZE];
    int64_t later;
    while (checkpoint_find_newest(config->output.folder, INT64_MAX, path, &later) && later > step) {
        if (!disk_keep_aside(path, place, problem) || !disk_remove(path, problem)) return false;
        log_line("the checkpoint of step %lld is kept as %s", (long long)later, place);
    }
    return true;
}

void resume_leave_later(const Config *config, const Resume *resume)
{
    Message problem;
    require_all(world().rank > 0 || set_later_aside(config, resume->step, &problem), &problem);
}

/* ---- comparing ---- */

CheckpointData resume_data(TokenMix *train)
{
    if (!train) return (CheckpointData){.tokens = -1};
    CheckpointData data = {.tokens = (int64_t)token_mix_tokens(train)};
    Message problem;
    char ranks[WORLD_RANKS_TEXT];
    uint64_t digest = 0;
    require_all(token_mix_digest(train, &digest, &problem), &problem);
    digest_format(digest, data.digest);
    bool same = world_majority(digest, ranks);
    if (!same)
        fail(&problem, "'%s'%s is another file on rank %s than on most ranks. Copy the same files to all nodes",
             train->files[0]->path, train->count > 1 ? " or one of the other training files" : "", ranks);
    require_all(same, &problem);
    return data;
}

bool resume_same_tokenizer(const char *path, const TokenFile *train, Message *problem)
{
    Tokenizer saved;
    char of_model[TOKENIZER_TEXT_SIZE], of_data[TOKENIZER_TEXT_SIZE];
    if (!checkpoint_read_tokenizer(path, &saved, problem)) return false;
    bool unknown = !saved.file.kind && strcmp(saved.name, "unknown") == 0;
    bool same = unknown || tokenizer_same(&saved, &train->tokenizer);
    if (!same)
        fail(problem,
             "%.200s was trained with tokenizer %s, but '%.200s' was made with %s or has other pieces. Use data made "
             "with the same tokenizer",
             path, tokenizer_describe(&saved, of_model), train->path, tokenizer_describe(&train->tokenizer, of_data));
    tokenizer_destroy(&saved);
    return same;
}

static bool tokenizer_fits(const Resume *resume, const TokenFile *train, Message *problem)
{
    Message cause;
    return resume_same_tokenizer(resume->path, train, &cause) ||
           fail(problem, "cannot continue: %.900s, or another output.folder", cause.text);
}

/* Within an epoch each window comes once, in an order that is drawn from these. */
static void say_order(const Config *config, const Config *saved)
{
    bool seed = config->train.seed != saved->train.seed,
         length = config->model.context_length != saved->model.context_length;
    if (source_is_made(&config->data.source) || !(seed || length)) return;
    log_line("warning: %s is another, and with it the order of the data: until the epoch under way is over, some "
             "tokens come "
             "again and others not at all",
             seed ? "train.seed" : "model.context_length");
}

void resume_compare(const Resume *resume, const Config *config, const TokenFile *train, const CheckpointData *data)
{
    Message problem;
    CheckpointData saved;
    bool first = world().rank == 0;
    require_all(!first || !train || tokenizer_fits(resume, train, &problem), &problem);
    require_all(!first || checkpoint_read_data(resume->path, &saved, &problem), &problem);
    OptionTable known = config_options((Config *)config);
    if (first && checkpoint_has_unknown_options(resume->path, &known, &problem)) log_line("warning: %s", problem.text);
    config_say_differences(config, &resume->config, false, "changed since the checkpoint", "was");
    say_order(config, &resume->config);
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
