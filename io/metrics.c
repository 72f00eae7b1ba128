#define _GNU_SOURCE
#include "io/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/disk.h"
#include "io/file_format.h"
#include "io/h5.h"
#include "io/h5_layout.h"
#include "io/metrics_rows.h"
#include "src/base/log.h"
#include "src/base/memory.h"

enum { CHUNK_ROWS = 1024, LINE_SIZE = 1 << 14 };

struct Metrics {
    char csv_path[DISK_PATH_SIZE], h5_path[DISK_PATH_SIZE];
    const MetricsKind *kind;
    int count;                  /* of columns */
    MetricsRows rows;           /* all of the run */
    MetricsRows later;          /* those of an earlier run that this one does not continue, */
    char place[DISK_PATH_SIZE]; /* which are in this file */
    int csv;                    /* descriptor */
    size_t csv_rows;            /* of them in the CSV file, */
    off_t csv_bytes;            /* which is so long */
    bool csv_failing;           /* the last write failed, and that has been said */
};

/* A row of the earlier run, which this one continues after last_step. False when it has no place in the table. */
static bool take_row(Metrics *metrics, const double *row, int64_t last_step)
{
    return row[0] >= 0 && metrics_rows_take(row[0] <= (double)last_step ? &metrics->rows : &metrics->later, row);
}

static int column_index(const Metrics *metrics, const char *name)
{
    for (int c = 0; c < metrics->count; c++)
        if (strcmp(metrics->kind->columns[c], name) == 0) return c;
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

static void print_rows(FILE *file, const MetricsRows *rows, size_t first)
{
    size_t width = (size_t)rows->columns;
    for (size_t i = first * width; i < rows->count * width; i++) {
        print_value(file, rows->values[i]);
        fputc((i + 1) % width ? ',' : '\n', file);
    }
}

static void print_header(FILE *file, const Metrics *metrics)
{
    for (int c = 0; c < metrics->count; c++) fprintf(file, "%s%s", c > 0 ? "," : "", metrics->kind->columns[c]);
    fputc('\n', file);
}

/* Adds the rows that the CSV file has not got. All or none: a part of a line would spoil the next one. */
static void extend_csv(Metrics *metrics)
{
    char *text = NULL;
    size_t length = 0;
    FILE *lines = open_memstream(&text, &length);
    CHECK(lines, "cannot allocate lines of '%s'", metrics->csv_path);
    print_rows(lines, &metrics->rows, metrics->csv_rows);
    fclose(lines);
    if (disk_write_at(metrics->csv, text, length, (uint64_t)metrics->csv_bytes)) {
        metrics->csv_bytes += (off_t)length;
        metrics->csv_rows = metrics->rows.count;
        metrics->csv_failing = false;
    } else {
        int cause = errno;
        if (ftruncate(metrics->csv, metrics->csv_bytes) == 0) errno = cause;
        if (!metrics->csv_failing)
            error_say("warning: cannot write '%s': %s. Training goes on; the rows are written when there is room",
                      metrics->csv_path, strerror(cause));
        metrics->csv_failing = true;
    }
    free(text);
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

/* Our column for each of the file's, -1 for one that we have not got; their number. */
static int read_header(const Metrics *metrics, char *line, int *target, bool *whole)
{
    int fields = 0;
    line[strcspn(line, "\r\n")] = 0;
    for (char *text = line; text; fields++) {
        target[fields] = column_index(metrics, strsep(&text, ","));
        *whole = *whole && target[fields] >= 0;
    }
    return fields;
}

/* *whole: the table has all that is in the file, but for a line that was not written to its end. */
static bool load_csv(Metrics *metrics, int64_t last_step, bool *whole, Message *problem)
{
    FILE *file = fopen(metrics->csv_path, "r");
    *whole = true;
    if (!file && errno == ENOENT) return true;
    char *line = checked_calloc(LINE_SIZE, 1);
    int *target = checked_calloc(LINE_SIZE, sizeof *target), fields = 0;
    double *row = checked_calloc((size_t)metrics->count, sizeof *row);
    if (file && fgets(line, LINE_SIZE, file)) fields = read_header(metrics, line, target, whole);
    while (file && fgets(line, LINE_SIZE, file)) {
        bool read = parse_line(line, target, fields, row, metrics->count);
        bool fits = read ? take_row(metrics, row, last_step) : feof(file) != 0;
        *whole = *whole && fits;
    }
    bool good = file && !ferror(file);
    if (!good)
        fail(problem, "cannot read '%s': %s. Make it readable, move it away, or choose another output.folder",
             metrics->csv_path, strerror(errno));
    if (file) fclose(file);
    free(row);
    free(target);
    free(line);
    return good;
}

/* Writes rows beside `path` and then in its place. */
static bool write_csv(const Metrics *metrics, const MetricsRows *rows, const char *path, Message *problem)
{
    FILE *file = disk_create(path, problem);
    if (!file) return false;
    print_header(file, metrics);
    print_rows(file, rows, 0);
    return disk_replace(file, path, problem);
}

/* Rows that are not continued get a file of their own; a CSV file with anything else in it stays as it was under another name. */
static bool keep_left_out(Metrics *metrics, bool whole, Message *problem)
{
    char place[DISK_PATH_SIZE];
    if (!whole) {
        if (!disk_keep_aside(metrics->csv_path, place, problem)) return false;
        log_line("warning: '%s' has columns or lines that are none of this table, or out of order; as it was, it is "
                 "kept as %s",
                 metrics->csv_path, place);
    }
    return metrics->later.count == 0 || (disk_free_name(metrics->csv_path, metrics->place, problem) &&
                                         write_csv(metrics, &metrics->later, metrics->place, problem));
}

/* Writes the kept rows anew, and leaves the file open for more. */
static bool start_csv(Metrics *metrics, Message *problem)
{
    if (!write_csv(metrics, &metrics->rows, metrics->csv_path, problem)) return false;
    metrics->csv = open(metrics->csv_path, O_WRONLY | O_CLOEXEC);
    metrics->csv_bytes = metrics->csv >= 0 ? lseek(metrics->csv, 0, SEEK_END) : -1;
    metrics->csv_rows = metrics->rows.count;
    return metrics->csv_bytes >= 0 || fail(problem, "cannot write '%s': %s", metrics->csv_path, strerror(errno));
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

static bool visit_table(hid_t file, const char *name, MetricsVisitor visit, void *context)
{
    H5Members columns;
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    if (group < 0) return true; /* something a user added */
    bool good = h5_members(group, &columns);
    for (size_t c = 0; good && c < columns.count; c++) visit_column(group, name, columns.names[c], visit, context);
    h5_members_free(&columns);
    CHECK_H5(H5Gclose(group));
    return good;
}

bool metrics_visit(const char *path, MetricsVisitor visit, void *context, Message *problem)
{
    hid_t file;
    H5Members groups;
    if (!h5_open_readonly(path, &file, problem)) return false;
    bool good = h5_check_format(file, path, FORMAT_METRICS, "It is written by polysketch train", problem);
    bool listed = h5_members(file, &groups);
    for (size_t g = 0; good && listed && g < groups.count; g++)
        listed = visit_table(file, groups.names[g], visit, context);
    if (good && !listed) good = fail(problem, "'%s' is damaged. The CSV files beside it have all rows", path);
    h5_members_free(&groups);
    CHECK_H5(H5Fclose(file));
    return good;
}

/* The columns of our table, gathered while visiting; they are turned into rows afterwards. */
typedef struct Loaded {
    const Metrics *metrics;
    double **columns; /* (count), each (rows) long or NULL */
    size_t rows;      /* of the shortest column */
    bool whole;       /* there was nothing else, nor a longer one */
} Loaded;

static void load_column(void *context, const char *group, const char *column, const double *values, size_t rows)
{
    Loaded *loaded = context;
    int index = column_index(loaded->metrics, column);
    if (strcmp(group, loaded->metrics->kind->group)) return;
    loaded->whole = loaded->whole && index >= 0 && (loaded->rows == SIZE_MAX || loaded->rows == rows);
    if (index < 0) return;
    loaded->columns[index] = checked_calloc(rows, sizeof *values);
    memcpy(loaded->columns[index], values, rows * sizeof *values);
    if (rows < loaded->rows) loaded->rows = rows;
}

/* One with more than the table can hold is kept aside; one that cannot be read also goes out of the way of the next table. */
static bool load_h5(Metrics *metrics, int64_t last_step, Message *problem)
{
    Message cause;
    char place[DISK_PATH_SIZE];
    if (access(metrics->h5_path, F_OK) && errno == ENOENT) return true;
    Loaded loaded = {metrics, checked_calloc((size_t)metrics->count, sizeof *loaded.columns), SIZE_MAX, true};
    double *row = checked_calloc((size_t)metrics->count, sizeof *row);
    bool read = metrics_visit(metrics->h5_path, load_column, &loaded, &cause);
    for (size_t i = 0; read && loaded.columns[0] && i < loaded.rows; i++) {
        for (int c = 0; c < metrics->count; c++) row[c] = loaded.columns[c] ? loaded.columns[c][i] : NAN;
        loaded.whole = take_row(metrics, row, last_step) && loaded.whole;
    }
    for (int c = 0; c < metrics->count; c++) free(loaded.columns[c]);
    free(loaded.columns);
    free(row);
    if (read && loaded.whole) return true;
    if (!disk_keep_aside(metrics->h5_path, place, problem)) return false;
    if (read)
        log_line(
            "warning: /%s of '%s' has columns or rows that are none of this table; as it was, the file is kept as %s",
            metrics->kind->group, metrics->h5_path, place);
    else
        log_line("warning: %s; it is kept as %s, and the rows of the CSV files are used", cause.text, place);
    return read || disk_remove(metrics->h5_path, problem);
}

/* ---- metrics.h5: writing ---- */

static void write_column(hid_t group, const char *name, hid_t type, hsize_t rows, const double *values)
{
    hid_t properties = CHECK_H5(H5Pcreate(H5P_DATASET_CREATE));
    CHECK_H5(H5Pset_chunk(properties, 1, &(hsize_t){CHUNK_ROWS}));
    CHECK_H5(H5Pset_obj_track_times(properties, false));
    hid_t space = CHECK_H5(H5Screate_simple(1, &rows, &(hsize_t){H5S_UNLIMITED}));
    hid_t dataset = CHECK_H5(H5Dcreate2(group, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    if (rows) CHECK_H5(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    CHECK_H5(H5Dclose(dataset));
    CHECK_H5(H5Sclose(space));
    CHECK_H5(H5Pclose(properties));
}

/* What silx, h5web and other programs of the NeXus format look for: a group of plots, and of each what is drawn against what. */
static void write_nexus_entry(hid_t file, const char *first_table)
{
    h5_write_text(file, "NX_class", "NXentry");
    h5_write_text(file, "default", first_table);
}

static void write_nexus_data(hid_t group, const MetricsKind *kind)
{
    h5_write_text(group, "NX_class", "NXdata");
    h5_write_text(group, "signal", kind->signal);
    h5_write_text(group, "axes", kind->columns[0]);
}

static void write_table(hid_t file, const Metrics *metrics)
{
    size_t width = (size_t)metrics->count;
    hid_t group = h5_create_group(file, metrics->kind->group);
    write_nexus_data(group, metrics->kind);
    size_t rows = metrics->rows.count;
    double *values = checked_calloc(rows, sizeof *values);
    for (size_t c = 0; c < width; c++) {
        for (size_t i = 0; i < rows; i++) values[i] = metrics->rows.values[i * width + c];
        hid_t type = (int)c < metrics->kind->keys ? H5T_STD_I64LE : H5T_IEEE_F64LE;
        write_column(group, metrics->kind->columns[c], type, rows, values);
    }
    free(values);
    CHECK_H5(H5Gclose(group));
}

/* The whole file, in memory. */
static H5Layout *lay_out(Metrics *const *tables, int count, Message *problem)
{
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += (uint64_t)tables[i]->count * (tables[i]->rows.count + CHUNK_ROWS) * sizeof(double);
    H5Layout *layout = h5_layout_create(bytes, bytes, problem);
    if (!layout) return NULL;
    h5_write_text(h5_layout_file(layout), "format", FORMAT_METRICS);
    h5_write_integer(h5_layout_file(layout), "format_version", FORMAT_VERSION);
    write_nexus_entry(h5_layout_file(layout), tables[0]->kind->group);
    for (int i = 0; i < count; i++) write_table(h5_layout_file(layout), tables[i]);
    h5_layout_close(layout);
    return layout;
}

bool metrics_store(Metrics *const *tables, int count, Message *problem)
{
    Message cause;
    const char *path = tables[0]->h5_path;
    H5Layout *layout = lay_out(tables, count, &cause);
    if (!layout) return fail(problem, "cannot write '%s': %.800s", path, cause.text);
    FILE *file = disk_create(path, problem);
    bool written = file && h5_layout_write(layout, fileno(file));
    if (file && !written)
        fail(problem, "cannot write '%s': %s. Free some space or choose another disk", path, strerror(errno));
    h5_layout_destroy(layout);
    if (written) return disk_replace(file, path, problem);
    if (file) disk_abandon(file, path);
    return false;
}

/* ---- the table ---- */

Metrics *metrics_open(const char *folder, const MetricsKind *kind, int64_t last_step, Message *problem)
{
    ASSERT(kind->keys > 0 && strcmp(kind->columns[0], "step") == 0);
    if (!disk_make_folder(folder, problem)) return NULL;
    Metrics *metrics = checked_calloc(1, sizeof *metrics);
    snprintf(metrics->csv_path, sizeof metrics->csv_path, "%s/%s", folder, kind->csv);
    snprintf(metrics->h5_path, sizeof metrics->h5_path, "%s/metrics.h5", folder);
    metrics->csv = -1;
    metrics->kind = kind;
    while (kind->columns[metrics->count]) metrics->count++;
    metrics->rows = metrics->later = (MetricsRows){.columns = metrics->count, .keys = kind->keys};
    bool whole, good = load_h5(metrics, last_step, problem) && load_csv(metrics, last_step, &whole, problem) &&
                       keep_left_out(metrics, whole, problem) && start_csv(metrics, problem);
    if (good) return metrics;
    metrics_close(metrics);
    return NULL;
}

static void see_rows(void *context, const char *group, const char *column, const double *values, size_t rows)
{
    bool *found = context;
    (void)group, (void)column, (void)values;
    *found |= rows > 0;
}

bool metrics_exist(const char *folder, const char *csv_name)
{
    char path[DISK_PATH_SIZE];
    Message unused;
    snprintf(path, sizeof path, "%s/%s", folder, csv_name);
    FILE *file = fopen(path, "r");
    int lines = 0, character;
    while (file && lines < 2 && (character = getc(file)) != EOF)
        lines += character == '\n'; /* the first is the header */
    if (file) fclose(file);
    bool found = lines >= 2;
    snprintf(path, sizeof path, "%s/metrics.h5", folder);
    return (access(path, F_OK) == 0 && !metrics_visit(path, see_rows, &found, &unused)) || found;
}

size_t metrics_left_out(const Metrics *metrics, const char **place)
{
    *place = metrics->place;
    return metrics->later.count;
}

int64_t metrics_last_step(const Metrics *metrics)
{
    const double *newest = metrics_rows_newest(&metrics->rows);
    return newest ? (int64_t)newest[0] : -1;
}

void metrics_append(Metrics *metrics, const double *row)
{
    metrics_rows_add(&metrics->rows, row);
    extend_csv(metrics);
}

void metrics_close(Metrics *metrics)
{
    if (!metrics) return;
    if (metrics->csv >= 0) close(metrics->csv);
    free(metrics->rows.values);
    free(metrics->later.values);
    free(metrics);
}
