/* Rows of a table in memory (io/metrics.h), in the order of their first columns, the keys. */
#ifndef POLYSKETCH_IO_METRICS_ROWS_H
#define POLYSKETCH_IO_METRICS_ROWS_H

#include <stdbool.h>
#include <stddef.h>

/* With `columns` and `keys`, and else zero, an empty table. */
typedef struct MetricsRows {
    int columns, keys;
    double *values; /* (count, columns) */
    size_t count, capacity;
} MetricsRows;

void metrics_rows_add(MetricsRows *rows, const double *row /* (columns) */);

/* NULL without rows. */
const double *metrics_rows_newest(const MetricsRows *rows);

/* Adds a row that comes after the newest. False for any other, unless the very same is there. */
bool metrics_rows_take(MetricsRows *rows, const double *row /* (columns) */);

#endif
