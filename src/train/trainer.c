#include "src/train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/heartbeat.h"
#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/base/usage.h"
#include "src/core/phase.h"
#include "src/model/model.h"
#include "src/train/announce.h"
#include "src/train/evaluate.h"
#include "src/train/evaluation_report.h"
#include "src/train/init_from.h"
#include "src/train/pass_loader.h"
#include "src/train/resume.h"
#include "src/train/run_folder.h"
#include "src/train/sample.h"
#include "src/train/schedule.h"
#include "src/train/step.h"
#include "src/train/step_report.h"
#include "src/train/step_tokens.h"
#include "src/train/stop.h"
#include "src/train/verdict.h"

struct Trainer {
    const Config *config;
    const ResumeChoice *choice;
    TokenMix *train;       /* or NULL */
    TokenFile *validation; /* likewise */
    Model *model;
    Topology topology;
    TrainStep *step;
    StepTokens *tokens;
    Evaluator *evaluator; /* NULL without data for it */
    RunFolder *folder;
    Progress progress;
    Progress before_skips; /* when the last step was used */
    CheckpointData data;
    int64_t last_evaluated, last_saved;
    int failed_saves; /* in a row */
    bool save_due;    /* a checkpoint waits for a step that is used */
    StopClock clock;
    double start_seconds;
    int64_t start_step;
    SampleWriter *samples;
    StepReporter *reporter; /* NULL: there is nothing to do */
    double target_bytes;    /* that this rank's targets of the step under way stand for */
};

/* ---- start ---------------------------------------------------------------------------------------------------------- */

/* Of which the others have the tokenizer. */
static TokenFile *first_file(const Trainer *t) { return t->train ? t->train->files[0] : NULL; }

static Checkpoint checkpoint_of(const Trainer *t)
{
    return (Checkpoint){
        .options = config_options((Config *)t->config), /* only read here */
        .store = t->step->store,
        .progress = t->progress,
        .tokenizer = t->train ? &first_file(t)->tokenizer : NULL,
        .data = t->train ? &t->data : NULL,
    };
}

static void start_state(Trainer *t, const Resume *resume)
{
    t->last_saved = -1;
    if (resume->found) {
        Checkpoint into = checkpoint_of(t);
        resume_compare(resume, t->config, first_file(t), &t->data);
        resume_load(resume, t->config, &into);
        t->progress = into.progress;
        t->last_saved = t->progress.step;
    } else {
        param_store_initialise(t->step->store, (uint64_t)t->config->train.seed);
        init_from_load(t->config, t->step->store, first_file(t));
    }
    t->before_skips = t->progress;
}

/* What a source makes can always be evaluated too, if need be in the text of the training file. */
static void open_data(Trainer *t)
{
    Message problem;
    const Config *config = t->config;
    bool made = source_is_made(&config->data.source);
    DataSource training = config_data_source(config, first_file(t));
    DataSource evaluation = config_data_source(config, t->validation ? t->validation : first_file(t));
    BatchLoader *loader = pass_loader_training(t->step->pass, &training, t->train, &problem);
    require_all(loader != NULL, &problem);
    t->tokens = step_tokens_create(loader, t->step);
    Tokenizer *tokenizer = made ? NULL : &first_file(t)->tokenizer;
    bool fits = t->validation && tokenizer && tokenizer_same(tokenizer, &t->validation->tokenizer);
    t->samples = sample_writer_create(&config->sample, config->output.folder, t->model, (size_t)config->block_length,
                                      tokenizer, fits ? t->validation : first_file(t), &problem);
    require_all(t->samples != NULL, &problem);
    if (!t->validation && !made) return;
    t->evaluator = evaluator_create(&t->topology, &evaluation, t->step->pass, &config->evaluate, &problem);
    require_all(t->evaluator != NULL, &problem);
}

Trainer *trainer_create(Config *config, const Config *asked, const ResumeChoice *choice, TokenMix *train,
                        TokenFile *validation)
{
    Trainer *t = checked_calloc(1, sizeof *t);
    *t = (Trainer){.config = config, .choice = choice, .train = train, .validation = validation};
    static Resume resume;
    t->clock = (StopClock){.config = config};
    bool continues = resume_check_model(config, choice);
    t->data = resume_data(train);
    ModelSpec spec = config_model_spec(config);
    t->model = model_create(&spec);
    if (!continues) init_from_check(config, &t->model->table, first_file(t));
    t->folder = run_folder_open(config);
    announce_machine(config);
    resume_choose(config, choice, &resume);
    t->topology = topology_create((int)config->parallel.data_ranks, (ScanKind)config->parallel.scan);
    announce_run(config, t->model, train);
    t->step = train_step_create(config, t->model, &t->topology);
    open_data(t);
    start_state(t, &resume);
    schedule_announce(&config->train, resume.found ? &resume.config.train : NULL, t->progress.step);
    if (choice->from >= 0) resume_leave_later(config, &resume);
    run_folder_open_tables(t->folder, asked, resume.found ? t->progress.step : -1);
    t->last_evaluated = run_folder_last_step(t->folder, TABLE_EVALUATIONS);
    return t;
}

void trainer_destroy(Trainer *t)
{
    step_reporter_destroy(t->reporter);
    run_folder_close(t->folder);
    evaluator_destroy(t->evaluator);
    sample_writer_destroy(t->samples);
    step_tokens_destroy(t->tokens);
    train_step_destroy(t->step);
    topology_destroy(&t->topology);
    model_destroy(t->model);
    free(t);
}

/* ---- one step ------------------------------------------------------------------------------------------------------- */

/* Of this rank's part of the step at hand; 0 where they are not known. */
static double bytes_of_targets(const Trainer *t)
{
    if (source_is_made(&t->config->data.source)) return 0; /* what is asked for is no text */
    const Tokenizer *tokenizer = &first_file(t)->tokenizer;
    size_t count, bytes = 0;
    const TokenBatch *batch = step_tokens_batch(t->tokens, &count);
    for (size_t i = 0; i < count && tokenizer_has_pieces(tokenizer); i++) {
        size_t length;
        tokenizer_piece(tokenizer, batch->targets[i], &length);
        bytes += length;
    }
    return (double)bytes;
}

/* The sum of the losses of this rank's tokens. What is asked of all ranks about tokens is asked once, before the step. */
static double compute_gradients(Trainer *t)
{
    Message problem;
    uint64_t seen = (uint64_t)t->progress.sequences_seen;
    require_all(step_tokens_take(t->tokens, seen, &problem), &problem);
    t->target_bytes = bytes_of_targets(t);
    if (t->progress.step + 1 < t->config->train.steps)
        step_tokens_read_ahead(t->tokens, seen + (uint64_t)t->config->train.batch_sequences);
    double loss = train_step_gradients(t->step, step_tokens_part, t->tokens, (uint64_t)t->progress.step);
    step_tokens_wait(t->tokens);
    return loss;
}

/* One sum over all ranks: of the losses, of clamped normalisers, of whether a gradient is not finite anywhere, of the bytes that
   the losses are about, and of the wishes to stop or save. */
static void share(Trainer *t, StepReport *report)
{
    enum { OWN = 5 };
    double average = t->progress.average_gradient_norm, factor = t->config->train.skip_above_norm;
    bool outlier = factor > 0 && average > 0 && report->gradient_norm > factor * average;
    double sums[OWN + WISHES] = {report->loss, (double)model_pass_take_clamped(t->step->pass),
                                 !isfinite(report->gradient_norm), outlier, t->target_bytes};
    stop_wishes(&t->clock, sums + OWN);
    Phase interrupted = phase_begin(PHASE_COMMUNICATION);
    world_sum_doubles(sums, OWN + WISHES);
    phase_begin(interrupted);
    report->usual_norm = average;
    report->loss = sums[0] / config_counted_targets(t->config);
    report->bits_per_byte = sums[4] > 0 ? sums[0] / log(2) / sums[4] : NAN;
    report->clamped_normalisers = sums[1];
    if (sums[2] > 0) report->gradient_norm = NAN;
    memcpy(report->wishes, sums + OWN, sizeof report->wishes);
    report->skipped = !isfinite(report->loss) || sums[2] > 0 || sums[3] > 0;
}

/* The running mean of what is usual, over about 50 steps. */
static void update_average(Progress *progress, double norm)
{
    double *average = &progress->average_gradient_norm;
    *average = *average > 0 ? 0.98 * *average + 0.02 * norm : norm;
}

static void use_gradients(Trainer *t, const StepReport *report)
{
    update_average(&t->progress, report->gradient_norm);
    t->progress.optimizer_steps++;
    train_step_update(t->step, report->learning_rate, report->gradient_norm, t->progress.optimizer_steps);
    t->before_skips = t->progress;
}

/* Seconds this rank has spent in calls to others. */
static double communication_seconds(const Trainer *t)
{
    return topology_communication_seconds(&t->topology) + t->step->store->seconds;
}

static StepReport make_step(Trainer *t)
{
    const Config *config = t->config;
    double start = usage_seconds(), link_seconds = communication_seconds(t);
    int64_t sequences = config->train.batch_sequences, tokens = sequences * config->model.context_length;
    StepReport report = {.loss = compute_gradients(t)};
    report.gradient_norm = t->step->store->gradient_norm(t->step->store);
    share(t, &report);
    t->progress.step++;
    t->progress.tokens_seen += tokens;
    t->progress.sequences_seen += sequences;
    report.learning_rate = schedule_learning_rate(&config->train, t->progress.step);
    if (report.skipped)
        t->progress.skipped_steps++;
    else
        use_gradients(t, &report);
    report.seconds = usage_seconds() - start;
    report.tokens_per_second = (double)tokens / report.seconds;
    report.communication_seconds = communication_seconds(t) - link_seconds;
    t->clock.longest_step = fmax(t->clock.longest_step, report.seconds);
    return report;
}

/* ---- what is said and recorded -------------------------------------------------------------------------------------- */

static void record_step(Trainer *t, const StepReport *r)
{
    double row[] = {(double)t->progress.step,
                    r->loss,
                    r->learning_rate,
                    r->gradient_norm,
                    r->seconds,
                    (double)t->progress.tokens_seen,
                    r->communication_seconds,
                    r->tokens_per_second,
                    r->skipped,
                    r->clamped_normalisers};
    run_folder_append(t->folder, TABLE_STEPS, row);
}

/* False when a rank wished to stop meanwhile: the evaluation is then made when the run continues. */
static bool evaluate(Trainer *t)
{
    if (!t->evaluator || t->last_evaluated == t->progress.step) return true;
    heartbeat_begin("evaluation at step %lld", (long long)t->progress.step);
    Evaluation e = evaluator_run(t->evaluator, t->step->store, NULL, &t->clock);
    heartbeat_end();
    if (!e.complete) return false;
    t->last_evaluated = t->progress.step;
    evaluation_report(t->folder, t->progress.step, t->model, &e);
    return true;
}

/* ---- saving --------------------------------------------------------------------------------------------------------- */

static void save_before_leaving(void *context);

static void save_failed(Trainer *t, const Message *problem)
{
    enum { ATTEMPTS = 3 };
    Message last;
    t->failed_saves++;
    bool first = t->last_saved < 0, go_on = !first && t->failed_saves < ATTEMPTS;
    if (go_on)
        log_line("warning: no checkpoint of step %lld: %s. Earlier ones are untouched, and another attempt follows",
                 (long long)t->progress.step, problem->text);
    else if (first)
        fail(&last, "the first checkpoint could not be written, so the run ends before its first step: %.850s",
             problem->text);
    else
        fail(&last, "%d checkpoints in a row could not be written, so the run ends: %.800s. Earlier ones are untouched",
             ATTEMPTS, problem->text);
    require_all(go_on, &last);
}

/* False when it could not be written now and is worth another try. The third failure in a row ends the run, as does the first
   where there is nothing to lose yet. */
static bool save(Trainer *t)
{
    t->save_due = false;
    if (t->last_saved == t->progress.step) return true;
    const OutputConfig *output = &t->config->output;
    char path[CHECKPOINT_PATH_SIZE];
    Message problem;
    Checkpoint checkpoint = checkpoint_of(t);
    double start = usage_seconds();
    world_set_leave_hook(NULL, NULL); /* what ends the run here would end another attempt too */
    verdict_require_finite(t->step->store, t->progress.step);
    checkpoint.digests = checkpoint_digests(&checkpoint);
    require_all(checkpoint_same_on_all_ranks(&checkpoint, &problem), &problem);
    run_folder_require_held(t->folder);
    checkpoint_path(output->folder, t->progress.step, path);
    t->clock.saved_seconds = start;
    bool written = checkpoint_write(&checkpoint, path, &problem);
    free(checkpoint.digests);
    if (!written) save_failed(t, &problem);
    world_set_leave_hook(save_before_leaving, t);
    if (!written) return false;
    t->last_saved = t->progress.step;
    t->failed_saves = 0;
    int removed = world().rank > 0 ? 0
                                   : checkpoint_remove_old(output->folder, output->keep, output->keep_every,
                                                           output->checkpoint_at_start);
    if (removed > 1) log_line("%d older checkpoints were removed (output.keep)", removed);
    run_folder_store(t->folder);
    t->clock.longest_save = fmax(t->clock.longest_save, usage_seconds() - start);
    log_line("checkpoint %s in %.1f s", path, usage_seconds() - start);
    return true;
}

/* Nothing comes after this checkpoint. */
static void save_for_certain(Trainer *t)
{
    t->failed_saves = 0;
    while (!save(t)) sleep(1);
}

/* Whatever ends the run early, as data that can no longer be read: its steps are not lost. */
static void save_before_leaving(void *context)
{
    Trainer *t = context;
    if (t->last_saved >= t->before_skips.step) return;
    t->progress = t->before_skips;
    save_for_certain(t);
}

/* ---- the loop ------------------------------------------------------------------------------------------------------- */

/* Every rank sees the same numbers here, so all leave together: with a checkpoint from before the first of the skipped
   steps. */
static void give_up_if_hopeless(Trainer *t, const StepReport *report)
{
    int64_t in_a_row = t->progress.step - t->before_skips.step;
    if (!report->skipped || in_a_row <= t->config->train.max_skipped_steps) return;
    Message problem;
    const char *remedy = t->before_skips.step > 0
                             ? "Lower train.learning_rate, lengthen train.warmup_steps or set train.clip_norm"
                             : "The first of all is among them, so that the model spoils it as it began: choose "
                               "another train.init_from if that was given, or a smaller attention.scale";
    fail(&problem,
         "step %lld: the loss is %g, the norm of the gradient %g; %lld steps in a row could not be used. %s; the last "
         "checkpoint is of step %lld, before them",
         (long long)t->progress.step, fabs(report->loss), fabs(report->gradient_norm), (long long)in_a_row, remedy,
         (long long)t->before_skips.step);
    run_folder_store(t->folder);
    require_all(false, &problem); /* save_before_leaving() */
}

static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

/* What follows a step, or the continuing from its checkpoint: save first, so that nothing that happens later costs the
   step. */
static void after_step(Trainer *t, bool skipped, double wishes[WISHES])
{
    const Config *config = t->config;
    int64_t step = t->progress.step;
    bool last = step >= config->train.steps, stops = stop_cause(wishes) != NULL;
    if (due(step, config->output.checkpoint_every) || wishes[WISH_SAVE] > 0) t->save_due = true;
    if (stops && skipped && !last) t->progress = t->before_skips; /* so that the next job sees all of them in a row */
    if (last || stops)
        save_for_certain(t);
    else if (t->save_due && !skipped) /* none between skipped steps: the run may have to begin before them */
        save(t);
    if (!stops && step > t->start_step) sample_writer_run(t->samples, t->step->store, step);
    if (stops || step == 0 || !(last || due(step, config->evaluate.every))) return;
    double start = usage_seconds();
    while (!evaluate(t) && !stop_cause(wishes)) {
        stop_wishes(&t->clock, wishes);
        world_sum_doubles(wishes, WISHES);
    }
    if (!stop_cause(wishes)) return;
    save_for_certain(t);
    if (t->progress.step == t->start_step) verdict_require_time(t->progress.step, usage_seconds() - start);
}

static void say_end(const Trainer *t, const char *cause)
{
    char text[32], memory[32];
    int64_t step = t->progress.step;
    if (t->reporter) step_reporter_print_phases(t->reporter);
    if (cause)
        log_line("stopped by %s at step %lld of %lld; the same command%s goes on from there", cause, (long long)step,
                 (long long)t->config->train.steps, t->choice->from >= 0 ? " without --from" : "");
    log_line("done: %lld steps in %s, peak memory of rank 0 %s", (long long)(step - t->start_step),
             log_duration(usage_seconds() - t->start_seconds, text), log_bytes(usage_peak_bytes(), memory));
}

/* On every path out of a step whose work would be lost; before the first one, whether that can be done at all. */
static void secure_saving(Trainer *t)
{
    Message problem;
    Checkpoint checkpoint = checkpoint_of(t);
    require_all(checkpoint_probe(&checkpoint, t->config->output.folder, &problem), &problem);
    world_set_leave_hook(save_before_leaving, t);
}

bool trainer_run(Trainer *t)
{
    int64_t steps = t->config->train.steps;
    StepReport report = {.loss = 0};
    t->start_seconds = t->clock.saved_seconds = usage_seconds();
    t->start_step = t->progress.step;
    if (t->progress.step >= steps) {
        log_line("all %lld steps are done; raise train.steps to go on", (long long)steps);
    } else {
        secure_saving(t);
        t->reporter = step_reporter_create(t->config, t->model, t->start_step);
    }
    /* Step 0 too: a run that is killed early has one. */
    if (t->progress.step == 0) save_for_certain(t);
    after_step(t, report.skipped, report.wishes);
    while (t->progress.step < steps && !stop_cause(report.wishes)) {
        step_reporter_begin(t->reporter, t->progress.step + 1);
        report = make_step(t);
        step_reporter_end(t->reporter, t->progress.step, &report);
        record_step(t, &report);
        give_up_if_hopeless(t, &report);
        after_step(t, report.skipped, report.wishes);
    }
    world_set_leave_hook(NULL, NULL);
    run_folder_store(t->folder);
    bool finished = t->progress.step >= steps && (!t->evaluator || t->last_evaluated == t->progress.step);
    const char *cause = finished ? NULL : stop_cause(report.wishes);
    say_end(t, cause);
    return cause == NULL;
}
