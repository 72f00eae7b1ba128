/* The learning rate over a run: linear warm-up, then cosine, linear, constant, or constant with a linear end (wsd: warm-up,
   stable, decay). */
#ifndef POLYSKETCH_TRAIN_SCHEDULE_H
#define POLYSKETCH_TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "src/train/config.h"

/* Learning rate of step 1 .. train.steps. It reaches the peak at step warmup_steps and min_learning_rate at the last step
   (constant: stays at the peak). With wsd it falls over the last decay_share of all steps; where these and the warm-up are more
   than the run has, it falls from the end of the warm-up. */
double schedule_learning_rate(const TrainConfig *train, int64_t step);

/* False with a message when the options of the course contradict each other. */
bool schedule_check(const TrainConfig *train, Message *problem);

/* What the learning rate will do, in a line; more lines where that may not be what was meant: it never reaches the peak or never
   falls, or it jumps at `step`, up to which `before` (NULL: a new run) was the configuration. */
void schedule_announce(const TrainConfig *train, const TrainConfig *before, int64_t step);

#endif
