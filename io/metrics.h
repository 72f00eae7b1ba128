/* Tables that grow by a row now and then: training steps, evaluations. Rank 0 only.

   Each table stands twice in the run folder. The CSV file gets its line at every append, to follow a run with `tail -f`
   and to lose nothing when the run is killed. metrics.h5 (docs/format.md) holds /<group>/<column>; it is opened,
   extended and closed again at every flush, so that no crash between flushes can damage it. Rows it has not got yet are
   in the CSV file and are taken from there when the run continues. */
#ifndef POLYSKETCH_IO_METRICS_H
#define POLYSKETCH_IO_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"

typedef struct Metrics Metrics;

/* A table with `count` columns, the first of which is "step" and grows from row to row. Rows of an earlier run are kept
   up to last_step, the step of the checkpoint that the run continues from; -1 starts anew. Several tables of one folder
   differ in hdf5_group and csv_name and share metrics.h5. NULL with a message when the folder cannot be written. */
Metrics *metrics_open(const char *folder, const char *hdf5_group, const char *csv_name, const char *const *columns,
                      int count, int64_t last_step, Message *problem);

/* One number per column; whole numbers are written as such, NaN as nan. Ends the job when the disk is full. */
void metrics_append(Metrics *metrics, const double *row /* (count) */);

/* Brings all rows to metrics.h5. When that file is in use (a viewer has it open) it says so, and the rows wait for the
   next flush. Ends the job when the disk is full. */
void metrics_flush(Metrics *metrics);

/* Flushes and frees. NULL is allowed, so that other ranks can call it too. */
void metrics_close(Metrics *metrics);

/* Calls `visit` for every column of every table of a metrics file, in the order in which they were made. */
typedef void (*MetricsVisitor)(void *context, const char *group, const char *column, const double *values, size_t rows);
bool metrics_visit(const char *path, MetricsVisitor visit, void *context, Message *problem);

#endif
