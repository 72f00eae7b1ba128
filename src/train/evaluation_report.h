/* An evaluation in the log and in the tables of the run folder. */
#ifndef POLYSKETCH_TRAIN_EVALUATION_REPORT_H
#define POLYSKETCH_TRAIN_EVALUATION_REPORT_H

#include "src/model/model.h"
#include "src/train/evaluate.h"
#include "src/train/run_folder.h"

/* Of the model at `step`. Rank 0 writes, the others do nothing. */
void evaluation_report(RunFolder *folder, int64_t step, const Model *model, const Evaluation *e);

#endif
