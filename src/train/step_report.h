/* What a run says of its steps: a line now and then, a sign of life where one takes long, and at the end where the time went. */
#ifndef POLYSKETCH_TRAIN_STEP_REPORT_H
#define POLYSKETCH_TRAIN_STEP_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "src/model/model.h"
#include "src/train/config.h"
#include "src/train/stop.h"

/* Of one step; the same on every rank, but for the seconds. */
typedef struct StepReport {
    double loss;          /* nats per token */
    double bits_per_byte; /* NaN where the bytes of tokens are not known */
    double learning_rate, gradient_norm;
    double usual_norm;            /* of the gradients before: Progress.average_gradient_norm */
    double seconds;               /* on this rank, */
    double communication_seconds; /* of which so many were spent in calls to others */
    double tokens_per_second, clamped_normalisers;
    bool skipped;
    double wishes[WISHES];
} StepReport;

typedef struct StepReporter StepReporter;

/* Of a run that has made `first_step` steps; `config` must outlive it. Measures the rate of sgemm and says it, and lets rank 0
   watch the steps (src/base/heartbeat.h). Collective. */
StepReporter *step_reporter_create(const Config *config, const Model *model, int64_t first_step);
void step_reporter_destroy(StepReporter *reporter); /* NULL allowed */

/* Enclose what is done for step number `step`. The end is collective, and prints the line of a step where one is due. Rates and
   shares in it are those of all steps since the line before. */
void step_reporter_begin(StepReporter *reporter, int64_t step);
void step_reporter_end(StepReporter *reporter, int64_t step, const StepReport *report);

/* The table of phases over the ranks, of all steps since the start. Collective; nothing where no step was made. */
void step_reporter_print_phases(const StepReporter *reporter);

#endif
