/* The learning rate over a run: linear warm-up, then cosine, linear, constant, or constant with a linear end (wsd: warm-up,
   stable, decay). */
#ifndef POLYSKETCH_TRAIN_SCHEDULE_H
#define POLYSKETCH_TRAIN_SCHEDULE_H

#include <stdint.h>

#include "src/train/config.h"

/* Learning rate of step 1 .. train.steps. It reaches the peak at step warmup_steps and min_learning_rate at the last step
   (constant: stays at the peak). With wsd it falls over the last decay_share of all steps; where these and the warm-up are more
   than the run has, it falls from the end of the warm-up. */
double schedule_learning_rate(const TrainConfig *train, int64_t step);

#endif
