#define _GNU_SOURCE
#include "src/base/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/base/option_names.h"

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

static bool check_length(const OptionRow *row, const char *name, const char *text, Message *problem)
{
    bool optional = row->fallback[0] == 0;
    if (strlen(text) < (size_t)row->low)
        return fail(problem, "%s is empty. Give it a value, or leave it out%s%s", name, optional ? "" : ": it is then ",
                    row->fallback);
    if (row->type == OPTION_TEXT && strlen(text) >= OPTION_TEXT_SIZE)
        return fail(problem, "%s is longer than %d bytes. Use a shorter one", name, OPTION_TEXT_SIZE - 1);
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
    case OPTION_TEXT: strcpy(field, text); return true;
    case OPTION_LONG_TEXT: *(const char **)field = text; return true;
    case OPTION_CHOICE: return set_choice(row, name, text, field, problem);
    }
    return false;
}

/* What a user has given. A default may be empty where that is refused: it then means "not given". */
static bool set_given(const OptionRow *row, void *values, const char *text, Message *problem)
{
    char name[128];
    option_name(row, name);
    bool is_text = row->type == OPTION_TEXT || row->type == OPTION_LONG_TEXT;
    return (!is_text || check_length(row, name, text, problem)) && set_row(row, values, text, problem);
}

void option_set_defaults(const OptionTable *table)
{
    Message problem;
    for (int i = 0; i < table->count; i++)
        CHECK(set_row(&table->rows[i], table->values, table->rows[i].fallback, &problem),
              "internal error: bad default: %s", problem.text);
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
    if (!row) return option_fail_unknown(tables, table_count, name, problem);
    return set_given(row, values, text, problem);
}

/* ---- the command line ---- */

/* An option with its value, or a word that is none. */
typedef struct Argument {
    const OptionRow *row; /* NULL: no option */
    void *values;         /* of the row's table */
    const char *text;
} Argument;

/* The argument that begins at `*place`, which moves on to its last word. */
static bool read_argument(const OptionTable *tables, int table_count, int argc, char **argv, int *place,
                          Argument *argument, Message *problem)
{
    char name[128];
    const char *word = argv[*place], *equals = strchr(word, '=');
    *argument = (Argument){.text = word};
    if (word[0] != '-') return true;
    if (word[1] != '-')
        return fail(problem, "unknown option '%s'. Options are written --section.key=value; --help lists all", word);
    snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - word) - 2 : (int)strlen(word), word + 2);
    argument->row = find_in_all(tables, table_count, name, &argument->values);
    if (!argument->row) return option_fail_unknown(tables, table_count, name, problem);
    const char *next = *place + 1 < argc ? argv[*place + 1] : NULL;
    argument->text = equals ? equals + 1 : argument->row->type == OPTION_BOOL ? "true" : next;
    bool taken = argument->text == next;
    if (!argument->text || (taken && strncmp(next, "--", 2) == 0))
        return fail(problem, "option '%s' needs a value: --%s=...", name, name);
    *place += taken;
    return true;
}

/* The value that was given to the same option before, where it differs; or NULL. */
static const char *other_value(const Argument *given, int count, const Argument *argument)
{
    for (int i = count; i-- > 0;)
        if (argument->row && given[i].row == argument->row)
            return strcmp(given[i].text, argument->text) ? given[i].text : NULL;
    return NULL;
}

/* Options of a configuration may be given again: so a script adds those of its user to its own. */
static bool may_repeat(const OptionRow *row) { return row->section[0] != 0; }

bool option_read_arguments(const OptionTable *tables, int table_count, int argc, char **argv, const char **positional,
                           int max_positional, Message *problem)
{
    int positional_count = 0, count = 0;
    bool good = true;
    Argument *given = checked_calloc((size_t)argc + 1, sizeof *given);
    for (int i = 0; i < argc && good; i++, count++) {
        Argument *argument = &given[count];
        good = read_argument(tables, table_count, argc, argv, &i, argument, problem);
        if (!good) break;
        const char *other = other_value(given, count, argument);
        if (argument->row && other && !may_repeat(argument->row))
            good = fail(problem, "--%s is given twice, as '%s' and as '%s'. Give one of them", argument->row->key,
                        other, argument->text);
        else if (argument->row)
            good = set_given(argument->row, argument->values, argument->text, problem);
        else if (positional_count == max_positional)
            good = fail(problem, "unexpected argument '%s'. Options are written --section.key=value", argument->text);
        else
            positional[positional_count++] = argument->text;
    }
    free(given);
    return good;
}

void option_say_repeated(const OptionTable *tables, int table_count, int argc, char **argv)
{
    int count = 0;
    Message unused;
    Argument *given = checked_calloc((size_t)argc + 1, sizeof *given);
    for (int i = 0; i < argc && read_argument(tables, table_count, argc, argv, &i, &given[count], &unused);
         i++, count++) {
        const char *other = other_value(given, count, &given[count]);
        char name[128];
        if (!other) continue;
        option_name(given[count].row, name);
        log_line("warning: --%s is given as '%s' and then as '%s': the last one counts", name, other,
                 given[count].text);
    }
    free(given);
}

/* ---- INI files ---- */

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

/* An INI file that is being read. */
typedef struct IniReader {
    const OptionTable *table;
    char section[64];
    int line;
    int *lines; /* (table->count) where each option was set, 0: nowhere */
} IniReader;

static bool set_from_ini(IniReader *ini, const char *name, const char *text, Message *problem)
{
    const OptionRow *row = find(ini->table, name);
    int *line = row ? &ini->lines[row - ini->table->rows] : NULL;
    if (line && *line) return fail(problem, "%s was set in line %d already. Keep one of the two lines", name, *line);
    if (line) *line = ini->line;
    return option_set(ini->table, 1, name, text, problem);
}

/* One line: [section], key = value, or nothing. */
static bool read_ini_line(IniReader *ini, char *line, Message *problem)
{
    char name[256], *equals, *section = ini->section;
    cut_comment(line);
    line = trim(line);
    size_t length = strlen(line);
    if (length == 0) return true;
    if (line[0] == '[' && line[length - 1] == ']' && length < sizeof ini->section) {
        snprintf(section, sizeof ini->section, "%.*s", (int)length - 2, line + 1);
        return true;
    }
    if (!(equals = strchr(line, '='))) return fail(problem, "neither [section] nor key = value");
    *equals = 0;
    snprintf(name, sizeof name, "%s%s%.150s", section, section[0] ? "." : "", trim(line));
    char *value = trim(equals + 1);
    return unquote(value, problem) && set_from_ini(ini, name, value, problem);
}

/* Own code, not libinih: that cuts lines at 200 bytes, and takes an indented line as a continuation of the one before. */
bool option_read_ini(const OptionTable *table, const char *text, const char *file_name, Message *problem)
{
    static const char byte_order_mark[] = "\xEF\xBB\xBF"; /* some editors begin files with it */
    IniReader ini = {.table = table, .lines = checked_calloc((size_t)table->count, sizeof *ini.lines)};
    size_t mark = strlen(byte_order_mark);
    char *copy = strdup(strncmp(text, byte_order_mark, mark) == 0 ? text + mark : text), *rest = copy, *line;
    bool good = true;
    Message cause;
    while (good && (line = strsep(&rest, "\n"))) {
        ini.line++;
        good = read_ini_line(&ini, line, &cause);
    }
    if (!good) fail(problem, "%s:%d: %s", file_name, ini.line, cause.text);
    free(copy);
    free(ini.lines);
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
    case OPTION_LONG_TEXT: CHECK(false, "internal error: option %s has no short form", row->key);
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
