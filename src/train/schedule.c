#include "src/train/schedule.h"

#include <math.h>

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
