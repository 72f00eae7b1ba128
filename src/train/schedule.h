/* The learning rate over a run: linear warm-up, then cosine, linear or constant. */
#ifndef POLYSKETCH_TRAIN_SCHEDULE_H
#define POLYSKETCH_TRAIN_SCHEDULE_H

#include <stdint.h>

#include "src/train/config.h"

/* Learning rate of step 1 .. train.steps. It reaches the peak at step warmup_steps and min_learning_rate at the last step
   (constant: stays at the peak). */
double schedule_learning_rate(const TrainConfig *train, int64_t step);

#endif
