#include "io/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/disk.h"
#include "io/file_format.h"
#include "io/h5.h"
#include "src/base/memory.h"

enum { NAME_SIZE = 64, CHUNK_ROWS = 1024, LINE_SIZE = 1 << 14 };

struct Metrics {
    char csv_path[DISK_PATH_SIZE], h5_path[DISK_PATH_SIZE], group[NAME_SIZE];
    char (*columns)[NAME_SIZE];
    int count;
    FILE *csv;
    double *rows; /* (row_count, count): not yet in metrics.h5 */
    size_t row_count, row_capacity;
    size_t stored; /* rows in metrics.h5 */
};

static void add_row(Metrics *metrics, const double *row)
{
    size_t width = (size_t)metrics->count;
    if (metrics->row_count == metrics->row_capacity) {
        metrics->row_capacity = metrics->row_capacity ? 2 * metrics->row_capacity : 64;
        metrics->rows = realloc(metrics->rows, metrics->row_capacity * width * sizeof *metrics->rows);
        CHECK(metrics->rows, "cannot allocate %zu rows of '%s'", metrics->row_capacity, metrics->csv_path);
    }
    memcpy(metrics->rows + metrics->row_count++ * width, row, width * sizeof *row);
}

static int column_index(const Metrics *metrics, const char *name)
{
    for (int c = 0; c < metrics->count; c++)
        if (strcmp(metrics->columns[c], name) == 0) return c;
    return -1;
}

/* ---- the CSV file ---- */

/* Whole numbers without a point; others in the shortest form that reads back as the same number. */
static void print_value(FILE *file, double value)
{
    char text[32];
    if (isnan(value))
        strcpy(text, "nan"); /* printf may add a sign */
    else if (value == floor(value) && fabs(value) < 1e15)
        snprintf(text, sizeof text, "%.0f", value);
    else
        for (int digits = 6; digits <= 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, value);
            if (strtod(text, NULL) == value) break;
        }
    fputs(text, file);
}

static void print_row(FILE *file, const double *row, int count)
{
    for (int c = 0; c < count; c++) {
        if (c > 0) fputc(',', file);
        print_value(file, row[c]);
    }
    fputc('\n', file);
}

static void print_header(FILE *file, const Metrics *metrics)
{
    for (int c = 0; c < metrics->count; c++) fprintf(file, "%s%s", c > 0 ? "," : "", metrics->columns[c]);
    fputc('\n', file);
}

/* A row is kept when it belongs to the part of the earlier run that this one continues, and is not there already. */
static void keep_row(Metrics *metrics, const double *row, int64_t last_step)
{
    double newest = metrics->row_count ? metrics->rows[(metrics->row_count - 1) * (size_t)metrics->count] : -1;
    if (row[0] > newest && row[0] <= (double)last_step) add_row(metrics, row);
}

/* The values of a line in the order of our columns, NAN where it has none. False for a line that was not written to its
   end, as a killed run leaves it. */
static bool parse_line(char *line, const int *target, int fields, double *row, int count)
{
    size_t length = strlen(line);
    if (length == 0 || line[length - 1] != '\n') return false;
    line[length - 1] = 0;
    for (int c = 0; c < count; c++) row[c] = NAN;
    int field = 0;
    for (char *text = line; text; field++) {
        char *value = strsep(&text, ","), *end;
        double number = strtod(value, &end);
        if (end == value || *end || field >= fields) return false;
        if (target[field] >= 0) row[target[field]] = number;
    }
    return field == fields;
}

static void load_csv(Metrics *metrics, int64_t last_step)
{
    FILE *file = fopen(metrics->csv_path, "r");
    char *line = checked_calloc(LINE_SIZE, 1);
    int *target = checked_calloc(LINE_SIZE, sizeof *target), fields = 0; /* our column for each of the file's */
    double *row = checked_calloc((size_t)metrics->count, sizeof *row);
    if (file && fgets(line, LINE_SIZE, file)) {
        line[strcspn(line, "\r\n")] = 0;
        for (char *text = line; text;) target[fields++] = column_index(metrics, strsep(&text, ","));
        while (fgets(line, LINE_SIZE, file))
            if (parse_line(line, target, fields, row, metrics->count)) keep_row(metrics, row, last_step);
    }
    if (file) fclose(file);
    free(row);
    free(target);
    free(line);
}

/* Writes the kept rows anew, beside and then in place of the old file, and leaves it open for appending. */
static bool start_csv(Metrics *metrics, Message *problem)
{
    char temporary[DISK_PATH_SIZE + 8];
    snprintf(temporary, sizeof temporary, "%s.tmp", metrics->csv_path);
    FILE *file = fopen(temporary, "w");
    if (!file) return fail(problem, "cannot write '%s': %s. Choose another output.folder", temporary, strerror(errno));
    print_header(file, metrics);
    for (size_t i = 0; i < metrics->row_count; i++)
        print_row(file, metrics->rows + i * (size_t)metrics->count, metrics->count);
    if (fclose(file)) return fail(problem, "cannot write '%s': %s. Free some space", temporary, strerror(errno));
    if (!disk_rename(temporary, metrics->csv_path, problem)) return false;
    metrics->csv = fopen(metrics->csv_path, "a");
    return metrics->csv || fail(problem, "cannot write '%s': %s", metrics->csv_path, strerror(errno));
}

/* ---- metrics.h5: reading ---- */

static void visit_column(hid_t group, const char *group_name, const char *column, MetricsVisitor visit, void *context)
{
    hid_t dataset;
    hsize_t rows;
    Message ignored;
    if (!h5_open_dataset(group, column, "", 1, &dataset, &rows, &ignored)) return; /* something a user added */
    double *values = checked_calloc(rows, sizeof *values);
    if (H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0)
        visit(context, group_name, column, values, rows);
    free(values);
    CHECK_H5(H5Dclose(dataset));
}

bool metrics_visit(const char *path, MetricsVisitor visit, void *context, Message *problem)
{
    hid_t file;
    char group_name[NAME_SIZE], column[NAME_SIZE];
    if (!h5_open_readonly(path, &file, problem)) return false;
    bool good = h5_check_format(file, path, FORMAT_METRICS, "It is written by polysketch train", problem);
    for (hsize_t g = 0; good && h5_member_name(file, g, group_name, NAME_SIZE); g++) {
        hid_t group = H5Gopen2(file, group_name, H5P_DEFAULT);
        if (group < 0) continue;
        for (hsize_t c = 0; h5_member_name(group, c, column, NAME_SIZE); c++)
            visit_column(group, group_name, column, visit, context);
        CHECK_H5(H5Gclose(group));
    }
    CHECK_H5(H5Fclose(file));
    return good;
}

/* The columns of our table, gathered while visiting; they are turned into rows afterwards. */
typedef struct Loaded {
    const Metrics *metrics;
    double **columns; /* (count), each (rows) long or NULL */
    size_t rows;      /* of the shortest column */
} Loaded;

static void load_column(void *context, const char *group, const char *column, const double *values, size_t rows)
{
    Loaded *loaded = context;
    int index = column_index(loaded->metrics, column);
    if (index < 0 || strcmp(group, loaded->metrics->group)) return;
    loaded->columns[index] = checked_calloc(rows, sizeof *values);
    memcpy(loaded->columns[index], values, rows * sizeof *values);
    if (rows < loaded->rows) loaded->rows = rows;
}

static void load_h5(Metrics *metrics, int64_t last_step)
{
    Message problem;
    Loaded loaded = {metrics, checked_calloc((size_t)metrics->count, sizeof *loaded.columns), SIZE_MAX};
    double *row = checked_calloc((size_t)metrics->count, sizeof *row);
    bool read = metrics_visit(metrics->h5_path, load_column, &loaded, &problem) && loaded.columns[0];
    for (size_t i = 0; read && i < loaded.rows; i++) {
        for (int c = 0; c < metrics->count; c++) row[c] = loaded.columns[c] ? loaded.columns[c][i] : NAN;
        keep_row(metrics, row, last_step);
    }
    for (int c = 0; c < metrics->count; c++) free(loaded.columns[c]);
    free(loaded.columns);
    free(row);
}

/* ---- metrics.h5: writing ---- */

static hid_t column_type(int column) { return column == 0 ? H5T_STD_I64LE : H5T_IEEE_F64LE; } /* 0 is the step */

static void create_column(hid_t group, const char *name, hid_t type)
{
    hid_t properties = CHECK_H5(H5Pcreate(H5P_DATASET_CREATE));
    CHECK_H5(H5Pset_chunk(properties, 1, &(hsize_t){CHUNK_ROWS}));
    hid_t space = CHECK_H5(H5Screate_simple(1, &(hsize_t){0}, &(hsize_t){H5S_UNLIMITED}));
    hid_t dataset = CHECK_H5(H5Dcreate2(group, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    CHECK_H5(H5Dclose(dataset));
    CHECK_H5(H5Sclose(space));
    CHECK_H5(H5Pclose(properties));
}

static void extend_column(hid_t group, const char *name, hsize_t stored, hsize_t count, const double *values)
{
    hid_t dataset = CHECK_H5(H5Dopen2(group, name, H5P_DEFAULT));
    CHECK_H5(H5Dset_extent(dataset, &(hsize_t){stored + count}));
    hid_t space = CHECK_H5(H5Dget_space(dataset)), memory = CHECK_H5(H5Screate_simple(1, &count, NULL));
    CHECK_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, &stored, NULL, &count, NULL));
    CHECK_H5(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, values));
    CHECK_H5(H5Sclose(memory));
    CHECK_H5(H5Sclose(space));
    CHECK_H5(H5Dclose(dataset));
}

/* Extends every column by the rows that wait. */
static void store_rows(Metrics *metrics, hid_t file)
{
    size_t width = (size_t)metrics->count, rows = metrics->row_count;
    if (rows == 0) return;
    hid_t group = CHECK_H5(H5Gopen2(file, metrics->group, H5P_DEFAULT));
    double *values = checked_calloc(rows, sizeof *values);
    for (size_t c = 0; c < width; c++) {
        for (size_t i = 0; i < rows; i++) values[i] = metrics->rows[i * width + c];
        extend_column(group, metrics->columns[c], metrics->stored, rows, values);
    }
    free(values);
    CHECK_H5(H5Gclose(group));
    metrics->stored += rows;
    metrics->row_count = 0;
}

/* An old file that cannot be opened was damaged by a crash, or a viewer holds it: it is put aside, since all of its
   rows are in the CSV files. */
static bool open_or_create(const Metrics *metrics, hid_t *file, Message *problem)
{
    bool exists = access(metrics->h5_path, F_OK) == 0;
    if (exists && h5_open_writable(metrics->h5_path, file, problem)) return true;
    if (exists) {
        char aside[DISK_PATH_SIZE + 8];
        snprintf(aside, sizeof aside, "%s.old", metrics->h5_path);
        error_say("%s. It is renamed to '%s' and made again from the CSV files", problem->text, aside);
        if (!disk_rename(metrics->h5_path, aside, problem)) return false;
    }
    if (!h5_create(metrics->h5_path, file, problem)) return false;
    h5_write_text(*file, "format", FORMAT_METRICS);
    h5_write_integer(*file, "format_version", FORMAT_VERSION);
    return true;
}

/* Makes our group again and fills it with the rows that were kept: columns may have changed since. */
static bool start_h5(Metrics *metrics, Message *problem)
{
    hid_t file;
    if (!open_or_create(metrics, &file, problem)) return false;
    if (h5_has(file, metrics->group)) CHECK_H5(H5Ldelete(file, metrics->group, H5P_DEFAULT));
    hid_t group = h5_create_group(file, metrics->group);
    for (int c = 0; c < metrics->count; c++) create_column(group, metrics->columns[c], column_type(c));
    CHECK_H5(H5Gclose(group));
    store_rows(metrics, file);
    CHECK_H5(H5Fclose(file));
    return true;
}

/* ---- the table ---- */

Metrics *metrics_open(const char *folder, const char *hdf5_group, const char *csv_name, const char *const *columns,
                      int count, int64_t last_step, Message *problem)
{
    ASSERT(count > 0 && strcmp(columns[0], "step") == 0);
    if (!disk_make_folder(folder, problem)) return NULL;
    Metrics *metrics = checked_calloc(1, sizeof *metrics);
    snprintf(metrics->csv_path, sizeof metrics->csv_path, "%s/%s", folder, csv_name);
    snprintf(metrics->h5_path, sizeof metrics->h5_path, "%s/metrics.h5", folder);
    snprintf(metrics->group, sizeof metrics->group, "%s", hdf5_group);
    metrics->count = count;
    metrics->columns = checked_calloc((size_t)count, sizeof *metrics->columns);
    for (int c = 0; c < count; c++) snprintf(metrics->columns[c], NAME_SIZE, "%s", columns[c]);
    if (last_step >= 0) {
        load_h5(metrics, last_step);
        load_csv(metrics, last_step);
    }
    if (start_csv(metrics, problem) && start_h5(metrics, problem)) return metrics;
    if (metrics->csv) fclose(metrics->csv);
    free(metrics->rows);
    free(metrics->columns);
    free(metrics);
    return NULL;
}

void metrics_append(Metrics *metrics, const double *row)
{
    add_row(metrics, row);
    print_row(metrics->csv, row, metrics->count);
    CHECK(fflush(metrics->csv) == 0,
          "cannot write '%s': %s. Free some space; the run continues from its last checkpoint", metrics->csv_path,
          strerror(errno));
}

void metrics_flush(Metrics *metrics)
{
    hid_t file;
    Message problem;
    if (!h5_open_writable(metrics->h5_path, &file, &problem)) {
        error_say("%s. The new rows are in '%s'", problem.text, metrics->csv_path);
        return;
    }
    store_rows(metrics, file);
    CHECK_H5(H5Fclose(file));
}

void metrics_close(Metrics *metrics)
{
    if (!metrics) return;
    metrics_flush(metrics);
    fclose(metrics->csv);
    free(metrics->rows);
    free(metrics->columns);
    free(metrics);
}
