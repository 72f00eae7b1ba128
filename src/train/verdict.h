/* Why a run cannot go on: all ranks leave together, with one line. Collective. */
#ifndef POLYSKETCH_TRAIN_VERDICT_H
#define POLYSKETCH_TRAIN_VERDICT_H

#include <stdint.h>

#include "src/core/param_store.h"

/* A checkpoint that nobody could continue from must not become the newest one. */
void verdict_require_finite(ParamStore *store, int64_t step);

/* A job that has done nothing but a part of the evaluation of `step` would do the same the next time, for ever. */
void verdict_require_time(int64_t step, double evaluating_seconds);

#endif
