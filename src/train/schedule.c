#include "src/train/schedule.h"

#include <math.h>
#include <stdio.h>

#include "src/base/log.h"

/* The step after which the rate falls. */
static double last_step_at_peak(const TrainConfig *train)
{
    double warmup = (double)train->warmup_steps, steps = (double)train->steps;
    return train->schedule == SCHEDULE_WSD ? fmax(warmup, steps - train->decay_share * steps) : warmup;
}

double schedule_learning_rate(const TrainConfig *train, int64_t step)
{
    double peak = train->optimizer.learning_rate, least = train->min_learning_rate;
    if (step <= train->warmup_steps) return peak * (double)step / (double)train->warmup_steps;
    double start = last_step_at_peak(train), progress = ((double)step - start) / ((double)train->steps - start);
    progress = fmin(fmax(progress, 0), 1);
    switch ((ScheduleKind)train->schedule) {
    case SCHEDULE_COSINE: return least + (peak - least) * 0.5 * (1 + cos(3.14159265358979323846 * progress));
    case SCHEDULE_LINEAR:
    case SCHEDULE_WSD: return least + (peak - least) * (1 - progress);
    case SCHEDULE_CONSTANT: break;
    }
    return peak;
}

bool schedule_check(const TrainConfig *train, Message *problem)
{
    double peak = train->optimizer.learning_rate, least = train->min_learning_rate;
    return least <= peak || fail(problem,
                                 "train.min_learning_rate = %g is above the peak, train.learning_rate = %g: the rate "
                                 "would rise to its end. "
                                 "Lower the one or raise the other",
                                 least, peak);
}

/* ---- what is said ---- */

/* "then cosine to 0 at step 1000" */
static void describe_fall(const TrainConfig *train, char *text, size_t size)
{
    double least = train->min_learning_rate;
    long long steps = train->steps;
    switch ((ScheduleKind)train->schedule) {
    case SCHEDULE_COSINE: snprintf(text, size, "then cosine to %.3g at step %lld", least, steps); break;
    case SCHEDULE_LINEAR: snprintf(text, size, "then linear to %.3g at step %lld", least, steps); break;
    case SCHEDULE_CONSTANT: snprintf(text, size, "then constant"); break;
    case SCHEDULE_WSD:
        snprintf(text, size, "then constant, from step %.0f linear to %.3g at step %lld", last_step_at_peak(train),
                 least, steps);
        break;
    }
}

static void say_short_run(const TrainConfig *train)
{
    long long steps = train->steps, warmup = train->warmup_steps;
    double fall = train->decay_share * (double)steps;
    if (steps > 0 && warmup >= steps)
        log_line(
            "warning: the warm-up of %lld steps is all of the run: the learning rate rises to %.3g at step %lld and "
            "never falls. Lower train.warmup_steps if that is not meant",
            warmup, schedule_learning_rate(train, steps), steps);
    else if (train->schedule == SCHEDULE_WSD && (double)warmup > (double)steps - fall)
        log_line(
            "warning: warm-up and fall are more than the run has: the learning rate falls from step %lld on, over less "
            "than train.decay_share of the steps",
            warmup);
    if (train->schedule == SCHEDULE_CONSTANT && train->min_learning_rate > 0)
        log_line("warning: train.min_learning_rate means nothing with train.schedule = constant");
}

/* As far apart as no course moves in a step of a run of any length that is worth the name. */
static bool jumps(double before, double now, double peak) { return fabs(before - now) > 0.01 * peak; }

static void say_jump(const TrainConfig *train, const TrainConfig *before, int64_t step)
{
    double then = schedule_learning_rate(before, step), now = schedule_learning_rate(train, step);
    double peak = fmax(train->optimizer.learning_rate, before->optimizer.learning_rate);
    if (step == 0 || step >= train->steps || !jumps(then, now, peak)) return;
    log_line("warning: the learning rate jumps: step %lld had %.3g, step %lld gets %.3g, since the options of its "
             "course are "
             "others (train.steps is %lld, was %lld). For a smooth course continue from an earlier checkpoint "
             "(--from=STEP), "
             "or set train.schedule, train.learning_rate and train.warmup_steps for the steps that follow",
             (long long)step, then, (long long)step + 1, schedule_learning_rate(train, step + 1),
             (long long)train->steps, (long long)before->steps);
}

void schedule_announce(const TrainConfig *train, const TrainConfig *before, int64_t step)
{
    char fall[128];
    describe_fall(train, fall, sizeof fall);
    log_line("learning rate: to %.3g over %lld steps, %s", train->optimizer.learning_rate,
             (long long)train->warmup_steps, fall);
    say_short_run(train);
    if (before) say_jump(train, before, step);
}
