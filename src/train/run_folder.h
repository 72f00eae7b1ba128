/* The folder of a run: locked for one job, with its log, its configuration and its tables.

   Rank 0 alone touches it; the functions are collective where all ranks must know the outcome. */
#ifndef POLYSKETCH_TRAIN_RUN_FOLDER_H
#define POLYSKETCH_TRAIN_RUN_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "src/train/config.h"

typedef struct RunFolder RunFolder;

/* Makes the folder, locks it, removes what killed jobs left half-written, and opens the log. Leaves together when
   another job is there, when a file STOP is, or when nothing can be written. Collective. */
RunFolder *run_folder_open(const Config *config);

/* A row of TABLE_ATTENTION is that of a head at an evaluation, and is appended before the evaluation's own. */
typedef enum RunTable { TABLE_STEPS, TABLE_EVALUATIONS, TABLE_ATTENTION, RUN_TABLES } RunTable;

/* Writes what was `asked` for (run_config.h) and opens the tables with their rows up to last_step (-1: none); tables that have
   later ones are kept aside, with a line. Leaves together when it cannot. Collective. */
void run_folder_open_tables(RunFolder *folder, const Config *asked, int64_t last_step);

/* A row of a table, as many numbers as it has columns. Rank 0 writes, the others do nothing. */
void run_folder_append(RunFolder *folder, RunTable table, const double *row);

/* The step of the last row, -1 without rows; the same on every rank. Collective. */
int64_t run_folder_last_step(const RunFolder *folder, RunTable table);

/* Brings all rows to metrics.h5; a failure is a warning. */
void run_folder_store(RunFolder *folder);

/* Leaves together when another job has taken the folder over: this one must write no more. Collective. */
void run_folder_require_held(const RunFolder *folder);

void run_folder_close(RunFolder *folder);

#endif
