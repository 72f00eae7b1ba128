/* Tables that grow by a row now and then: training steps, evaluations, heads at evaluations. Rank 0 only.

   Each table stands twice in the run folder. The CSV file gets its line at every append, to follow a run with `tail -f`
   and to lose nothing when the run is killed. metrics.h5 (docs/format.md) holds /<group>/<column> of all tables; it is
   made anew from all rows at every metrics_store() and takes the place of the old one when it is on disk, so it can be
   opened at any moment. In between the CSV files are ahead; a run that continues takes its rows from both. */
#ifndef POLYSKETCH_IO_METRICS_H
#define POLYSKETCH_IO_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"

typedef struct Metrics Metrics;

enum { METRICS_MAX_COLUMNS = 11 };

/* What a table is. Several tables of one folder differ in group and csv and share metrics.h5. */
typedef struct MetricsKind {
    const char *group, *csv; /* of metrics.h5; name of the CSV file */
    /* So many columns, ended by NULL. The first is "step". The first `keys` are whole numbers and say which row is which: from
       row to row they grow, in the order of a dictionary. */
    int keys;
    const char *signal; /* the column that programs draw which know NXdata (docs/format.md), against the first */
    const char *columns[METRICS_MAX_COLUMNS + 1];
} MetricsKind;

/* Rows of an earlier run, of both files, are kept up to last_step, the step of the checkpoint that the run continues
   from; -1 starts anew. Later ones are written to <csv>.1, or the next number that is free. A CSV file or metrics.h5 with
   columns or rows that do not belong to the table, and a metrics.h5 that cannot be read, are kept aside as they are, with
   a line in the log. NULL with a message when the CSV file cannot be read or the folder not be written. `kind` must
   outlive the table. */
Metrics *metrics_open(const char *folder, const MetricsKind *kind, int64_t last_step, Message *problem);

/* How many later rows were left out when it was opened; where there are some, `place` is their file, valid as long as the
   table. */
size_t metrics_left_out(const Metrics *metrics, const char **place);

/* Whether this table or metrics.h5 has rows, or metrics.h5 cannot be read: an earlier run was here. */
bool metrics_exist(const char *folder, const char *csv_name);

/* The step of the last row; -1 without rows. */
int64_t metrics_last_step(const Metrics *metrics);

/* One number per column; whole numbers are written as such, NaN as nan. A disk that is full is said once; the rows wait in
   memory and are written when there is room. */
void metrics_append(Metrics *metrics, const double *row /* (count) */);

/* Writes metrics.h5 from all rows of all tables of its folder. False with a message when that fails; the file is then
   the old one. */
bool metrics_store(Metrics *const *tables, int count, Message *problem);

/* Frees; NULL is allowed, so that other ranks can call it too. */
void metrics_close(Metrics *metrics);

/* Calls `visit` for every column of every table of a metrics file, in the order in which they were made. */
typedef void (*MetricsVisitor)(void *context, const char *group, const char *column, const double *values, size_t rows);
bool metrics_visit(const char *path, MetricsVisitor visit, void *context, Message *problem);

#endif
