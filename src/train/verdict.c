#include "src/train/verdict.h"

#include "mpi/world.h"

void verdict_require_finite(ParamStore *store, int64_t step)
{
    Message problem;
    const char *name;
    bool finite = param_store_finite(store, &name);
    if (!finite)
        fail(&problem,
             "step %lld: %s is not finite, so no checkpoint is written. Lower train.learning_rate or set "
             "train.clip_norm; earlier checkpoints are untouched",
             (long long)step, name);
    require_all(finite, &problem);
}

void verdict_require_time(int64_t step, double evaluating_seconds)
{
    enum { LONG_SECONDS = 60 };
    Message problem;
    double stuck = evaluating_seconds > LONG_SECONDS;
    world_max_doubles(&stuck, 1);
    if (stuck > 0)
        fail(&problem,
             "the evaluation of step %lld does not fit into the time of a job (%.0f s of it were not enough). Lower "
             "evaluate.sequences, or give the job more time",
             (long long)step, evaluating_seconds);
    require_all(stuck == 0, &problem);
}
