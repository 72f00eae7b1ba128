/* When a run ends before its last step, and when it saves in between.

   Wishes come from signals to any rank, from a file STOP in the run folder, and from the clock of rank 0. Each rank
   turns its own into numbers; these are summed over all ranks together with the losses of a step or of an evaluation,
   so that all ranks decide the same at the same step without a message more. */
#ifndef POLYSKETCH_TRAIN_STOP_H
#define POLYSKETCH_TRAIN_STOP_H

#include <stdbool.h>

#include "src/train/config.h"
#include "src/base/error.h"

typedef enum Wish { WISH_SIGNAL, WISH_FILE, WISH_TIME, WISH_SAVE, WISHES } Wish;

/* The program starts: its clock runs, and from now on SIGTERM, SIGINT and SIGUSR1 wish to stop, SIGUSR2 to save and go
   on; a second SIGINT ends the process. */
void stop_catch_signals(void);

/* What rank 0 looks at beside signals. */
typedef struct StopClock {
    const Config *config;
    double saved_seconds; /* when the last checkpoint was written */
    double longest_step, longest_save;
} StopClock;

/* This rank's wishes, 0 or 1 each. A wish to save is given once. */
void stop_wishes(const StopClock *clock, double wishes[WISHES]);

/* The same for wishes to stop alone: any of them, on this rank. For evaluations. */
bool stop_wished(const StopClock *clock);

/* Of wishes summed over ranks: why to stop, in words, or NULL. */
const char *stop_cause(const double wishes[WISHES]);

/* <output.folder>/STOP is there from before: a run must not start over it. Rank 0. */
bool stop_check_file(const Config *config, Message *problem);

#endif
