#include "src/train/schedule.h"

#include <math.h>

double schedule_learning_rate(const TrainConfig *train, int64_t step)
{
    double peak = train->optimizer.learning_rate, least = train->min_learning_rate;
    if (step <= train->warmup_steps) return peak * (double)step / (double)train->warmup_steps;
    double progress = (double)(step - train->warmup_steps) / (double)(train->steps - train->warmup_steps);
    if (progress > 1) progress = 1;
    switch ((ScheduleKind)train->schedule) {
    case SCHEDULE_COSINE: return least + (peak - least) * 0.5 * (1 + cos(3.14159265358979323846 * progress));
    case SCHEDULE_LINEAR: return least + (peak - least) * (1 - progress);
    case SCHEDULE_CONSTANT: break;
    }
    return peak;
}
