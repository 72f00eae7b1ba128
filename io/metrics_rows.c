#include "io/metrics_rows.h"

#include <math.h>
#include <string.h>

#include "src/base/memory.h"

static const double *row_at(const MetricsRows *rows, size_t i) { return rows->values + i * (size_t)rows->columns; }

void metrics_rows_add(MetricsRows *rows, const double *row)
{
    size_t bytes = (size_t)rows->columns * sizeof *row;
    rows->values = checked_grow(rows->values, rows->count, &rows->capacity, bytes);
    memcpy(rows->values + rows->count++ * (size_t)rows->columns, row, bytes);
}

const double *metrics_rows_newest(const MetricsRows *rows)
{
    return rows->count ? row_at(rows, rows->count - 1) : NULL;
}

static bool comes_after(const double *row, const double *other, int keys)
{
    for (int c = 0; c < keys; c++)
        if (row[c] != other[c]) return row[c] > other[c];
    return false;
}

static bool holds(const MetricsRows *rows, const double *row)
{
    size_t first = 0, end = rows->count;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (comes_after(row, row_at(rows, middle), rows->keys))
            first = middle + 1;
        else
            end = middle;
    }
    if (first == rows->count) return false;
    const double *found = row_at(rows, first);
    for (int c = 0; c < rows->columns; c++)
        if (row[c] != found[c] && !(isnan(row[c]) && isnan(found[c]))) return false;
    return true;
}

bool metrics_rows_take(MetricsRows *rows, const double *row)
{
    const double *newest = metrics_rows_newest(rows);
    if (newest && !comes_after(row, newest, rows->keys)) return holds(rows, row);
    metrics_rows_add(rows, row);
    return true;
}
