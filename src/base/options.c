#define _GNU_SOURCE
#include "src/base/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *field_of(const OptionRow *row, void *values) { return (char *)values + row->offset; }
static const void *field_in(const OptionRow *row, const void *values) { return (const char *)values + row->offset; }

static bool allows_auto(const OptionRow *row) { return strcmp(row->fallback, "auto") == 0; }

void option_name(const OptionRow *row, char name[128])
{
    snprintf(name, 128, "%s%s%s", row->section, row->section[0] ? "." : "", row->key);
}

void option_append_rows(OptionRow *rows, int *count, int capacity, const OptionRow *more, int more_count, size_t offset)
{
    CHECK(*count + more_count <= capacity, "internal error: more than %d options", capacity);
    for (int i = 0; i < more_count; i++) {
        rows[*count] = more[i];
        rows[(*count)++].offset += offset;
    }
}

void option_add_choice(char *choices, size_t size, const char *word)
{
    size_t length = strlen(choices);
    snprintf(choices + length, size - length, "%s%s", length ? "|" : "", word);
}

void option_choice_word(const OptionRow *row, int choice, char word[64])
{
    const char *start = row->choices;
    for (; choice > 0; choice--) start = strchr(start, '|') + 1;
    snprintf(word, 64, "%.*s", (int)strcspn(start, "|"), start);
}

static int choice_of_word(const OptionRow *row, const char *word)
{
    int choice = 0;
    for (const char *start = row->choices; start; choice++) {
        size_t length = strcspn(start, "|");
        if (strlen(word) == length && strncmp(word, start, length) == 0) return choice;
        start = start[length] ? start + length + 1 : NULL;
    }
    return -1;
}

static bool set_number(const OptionRow *row, const char *name, const char *text, void *field, Message *problem)
{
    char *end;
    errno = 0;
    bool integer = row->type == OPTION_INTEGER;
    long long whole = integer ? strtoll(text, &end, 10) : 0;
    double value = integer ? (double)whole : strtod(text, &end);
    if (end == text || *end || errno == ERANGE || isnan(value))
        return fail(problem, "%s = '%s' is not %s. Example: %s", name, text, integer ? "a whole number" : "a number",
                    row->fallback);
    if (value < row->low || value > row->high)
        return fail(problem, "%s = %s is out of range: give a value from %g to %g", name, text, row->low, row->high);
    if (integer)
        *(int64_t *)field = whole;
    else
        *(double *)field = value;
    return true;
}

static bool set_text(const char *name, const char *text, char *field, Message *problem)
{
    if (strlen(text) >= OPTION_TEXT_SIZE)
        return fail(problem, "%s is longer than %d bytes", name, OPTION_TEXT_SIZE - 1);
    strcpy(field, text);
    return true;
}

static bool set_choice(const OptionRow *row, const char *name, const char *text, int *field, Message *problem)
{
    int choice = choice_of_word(row, text);
    if (choice < 0) return fail(problem, "%s = '%s' is unknown. Choose from: %s", name, text, row->choices);
    *field = choice;
    return true;
}

static bool set_row(const OptionRow *row, void *values, const char *text, Message *problem)
{
    char name[128];
    option_name(row, name);
    void *field = field_of(row, values);
    switch (row->type) {
    case OPTION_REAL:
        if (allows_auto(row) && strcmp(text, "auto") == 0) {
            *(double *)field = NAN;
            return true;
        }
        return set_number(row, name, text, field, problem);
    case OPTION_INTEGER: return set_number(row, name, text, field, problem);
    case OPTION_BOOL:
        if (strcmp(text, "true") && strcmp(text, "false"))
            return fail(problem, "%s = '%s' is neither true nor false", name, text);
        *(bool *)field = strcmp(text, "true") == 0;
        return true;
    case OPTION_TEXT: return set_text(name, text, field, problem);
    case OPTION_CHOICE: return set_choice(row, name, text, field, problem);
    }
    return false;
}

void option_set_defaults(const OptionTable *table)
{
    Message problem;
    for (int i = 0; i < table->count; i++)
        CHECK(set_row(&table->rows[i], table->values, table->rows[i].fallback, &problem),
              "internal error: bad default: %s", problem.text);
}

/* Levenshtein distance, for short names. */
static int edit_distance(const char *a, const char *b)
{
    int row[128], columns = (int)strlen(b);
    for (int j = 0; j <= columns; j++) row[j] = j;
    for (int i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 0; j < columns; j++) {
            int replace = diagonal + (a[i] != b[j]), shorter = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            diagonal = row[j + 1];
            row[j + 1] = replace < shorter ? replace : shorter;
        }
    }
    return row[columns];
}

static bool fail_unknown(const OptionTable *tables, int table_count, const char *name, Message *problem)
{
    char nearest[128] = "", candidate[128];
    int best = 1 << 30;
    for (int t = 0; t < table_count; t++)
        for (int i = 0; i < tables[t].count; i++) {
            option_name(&tables[t].rows[i], candidate);
            int distance = edit_distance(name, candidate);
            if (distance < best) {
                best = distance;
                strcpy(nearest, candidate);
            }
        }
    return fail(problem, "unknown option '%s'. The nearest known one is '%s'; --help lists all", name, nearest);
}

static const OptionRow *find(const OptionTable *table, const char *name)
{
    char candidate[128];
    for (int i = 0; i < table->count; i++) {
        option_name(&table->rows[i], candidate);
        if (strcmp(candidate, name) == 0) return &table->rows[i];
    }
    return NULL;
}

static const OptionRow *find_in_all(const OptionTable *tables, int table_count, const char *name, void **values)
{
    for (int t = 0; t < table_count; t++) {
        const OptionRow *row = find(&tables[t], name);
        *values = tables[t].values;
        if (row) return row;
    }
    return NULL;
}

bool option_set(const OptionTable *tables, int table_count, const char *name, const char *text, Message *problem)
{
    void *values;
    const OptionRow *row = find_in_all(tables, table_count, name, &values);
    if (!row) return fail_unknown(tables, table_count, name, problem);
    return set_row(row, values, text, problem);
}

bool option_read_arguments(const OptionTable *tables, int table_count, int argc, char **argv, const char **positional,
                           int max_positional, Message *problem)
{
    int positional_count = 0;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0) {
            if (positional_count == max_positional)
                return fail(problem, "unexpected argument '%s'. Options are written --section.key=value", argv[i]);
            positional[positional_count++] = argv[i];
            continue;
        }
        char name[128];
        const char *start = argv[i] + 2, *equals = strchr(start, '=');
        snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - start) : (int)strlen(start), start);
        void *values;
        const OptionRow *row = find_in_all(tables, table_count, name, &values);
        if (!row) return fail_unknown(tables, table_count, name, problem);
        const char *text = equals ? equals + 1 : NULL;
        if (!text && row->type == OPTION_BOOL) text = "true";
        if (!text && i + 1 < argc) text = argv[++i];
        if (!text) return fail(problem, "option '%s' needs a value: --%s=...", name, name);
        if (!set_row(row, values, text, problem)) return false;
    }
    return true;
}

/* `text` without blanks at either end, in place. */
static char *trim(char *text)
{
    while (isspace((unsigned char)*text)) text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) *--end = 0;
    return text;
}

/* The last character of the quoted value that starts at `quote`, or of the line. */
static char *end_of_quoted(char *quote)
{
    char *c = quote + 1;
    while (*c && *c != '"') c += *c == '\\' && c[1] ? 2 : 1; /* what follows a backslash stands for itself */
    return *c ? c : c - 1;
}

/* A comment starts with ; or # at the start of a line or after a blank, outside a quoted value. */
static void cut_comment(char *line)
{
    char *equals = strchr(line, '='), *value = equals ? equals + 1 + strspn(equals + 1, " \t") : NULL;
    for (char *c = line; *c; c++) {
        if (c == value && *c == '"') c = end_of_quoted(c);
        if ((*c == ';' || *c == '#') && (c == line || isspace((unsigned char)c[-1]))) *c = 0;
        if (!*c) return;
    }
}

/* A value between quotes may have blanks at its ends, comment signs, \n, \r, \" and \\; in place. */
static bool unquote(char *text, Message *problem)
{
    size_t length = strlen(text);
    if (text[0] != '"') return true;
    if (length < 2 || text[length - 1] != '"') return fail(problem, "a value begins with \" but does not end with it");
    text[length - 1] = 0;
    char *to = text;
    for (const char *from = text + 1; *from; from++) {
        bool escaped = *from == '\\' && from[1];
        if (escaped) from++;
        *to++ = escaped && *from == 'n' ? '\n' : escaped && *from == 'r' ? '\r' : *from;
    }
    *to = 0;
    return true;
}

/* The other way round, where the bare text would not be read as it is. */
static void print_quoted(FILE *file, const char *text)
{
    size_t length = strlen(text);
    bool blank_ends = length > 0 && (isspace((unsigned char)text[0]) || isspace((unsigned char)text[length - 1]));
    if (!blank_ends && !strpbrk(text, ";#\n\r\"\\")) {
        fputs(text, file);
        return;
    }
    fputc('"', file);
    for (; *text; text++) {
        if (strchr("\"\\\n\r", *text)) fputc('\\', file);
        fputc(*text == '\n' ? 'n' : *text == '\r' ? 'r' : *text, file);
    }
    fputc('"', file);
}

/* One line of an INI file: [section], key = value, or nothing. */
static bool read_ini_line(const OptionTable *table, char *line, char section[64], Message *problem)
{
    char name[256], *equals;
    cut_comment(line);
    line = trim(line);
    size_t length = strlen(line);
    if (length == 0) return true;
    if (line[0] == '[' && line[length - 1] == ']' && length < 64) {
        snprintf(section, 64, "%.*s", (int)length - 2, line + 1);
        return true;
    }
    if (!(equals = strchr(line, '='))) return fail(problem, "neither [section] nor key = value");
    *equals = 0;
    snprintf(name, sizeof name, "%s%s%.150s", section, section[0] ? "." : "", trim(line));
    char *value = trim(equals + 1);
    return unquote(value, problem) && option_set(table, 1, name, value, problem);
}

/* Own code, not libinih: that cuts lines at 200 bytes, and takes an indented line as a continuation of the one before. */
bool option_read_ini(const OptionTable *table, const char *text, const char *file_name, Message *problem)
{
    char section[64] = "", *copy = strdup(text), *rest = copy, *line;
    bool good = true;
    Message cause;
    for (int number = 1; good && (line = strsep(&rest, "\n")); number++) {
        good = read_ini_line(table, line, section, &cause);
        if (!good) fail(problem, "%s:%d: %s", file_name, number, cause.text);
    }
    free(copy);
    return good;
}

static void format_real(double value, char *text)
{
    for (int digits = 6; digits <= 17; digits++) { /* the shortest form that reads back as the same number */
        snprintf(text, OPTION_TEXT_SIZE, "%.*g", digits, value);
        if (strtod(text, NULL) == value) return;
    }
}

void option_format(const OptionRow *row, const void *values, char text[OPTION_TEXT_SIZE])
{
    const void *field = field_in(row, values);
    switch (row->type) {
    case OPTION_INTEGER: snprintf(text, OPTION_TEXT_SIZE, "%lld", (long long)*(const int64_t *)field); break;
    case OPTION_REAL:
        if (isnan(*(const double *)field))
            strcpy(text, "auto");
        else
            format_real(*(const double *)field, text);
        break;
    case OPTION_BOOL: strcpy(text, *(const bool *)field ? "true" : "false"); break;
    case OPTION_TEXT: snprintf(text, OPTION_TEXT_SIZE, "%s", (const char *)field); break;
    case OPTION_CHOICE: option_choice_word(row, *(const int *)field, text); break;
    }
}

bool option_equal(const OptionRow *row, const void *values, const void *other_values)
{
    char text[OPTION_TEXT_SIZE], other[OPTION_TEXT_SIZE];
    option_format(row, values, text);
    option_format(row, other_values, other);
    return strcmp(text, other) == 0;
}

void option_print_ini(const OptionTable *table, const void *resolved, FILE *file)
{
    const char *section = "";
    char text[OPTION_TEXT_SIZE];
    for (int i = 0; i < table->count; i++) {
        const OptionRow *row = &table->rows[i];
        if (strcmp(section, row->section)) fprintf(file, "%s[%s]\n", i ? "\n" : "", row->section);
        section = row->section;
        option_format(row, table->values, text);
        fprintf(file, "%s = ", row->key);
        print_quoted(file, text);
        if (resolved && !option_equal(row, table->values, resolved)) {
            option_format(row, resolved, text);
            fputs(" ; here ", file);
            print_quoted(file, text);
        }
        fputc('\n', file);
    }
}

void option_print_help(const OptionTable *table, FILE *file)
{
    const char *section = NULL;
    for (int i = 0; i < table->count; i++) {
        const OptionRow *row = &table->rows[i];
        if (!section || strcmp(section, row->section)) fprintf(file, "%s", section ? "\n" : "");
        section = row->section;
        char name[128], domain[160] = "";
        option_name(row, name);
        if (row->type == OPTION_CHOICE) snprintf(domain, sizeof domain, "%s; ", row->choices);
        const char *fallback = row->fallback[0] ? row->fallback : "none";
        fprintf(file, "  --%-32s %s (%sdefault %s)\n", name, row->help, domain, fallback);
    }
}
