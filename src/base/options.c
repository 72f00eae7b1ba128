#define _GNU_SOURCE
#include "src/base/options.h"

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

const OptionRow *option_find(const OptionTable *table, const char *name)
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
        const OptionRow *row = option_find(&tables[t], name);
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

/* ---- written ---- */

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

void option_describe(const OptionRow *row, char text[OPTION_DESCRIPTION_SIZE])
{
    bool choice = row->type == OPTION_CHOICE;
    snprintf(text, OPTION_DESCRIPTION_SIZE, "%s (%s%sdefault %s)", row->help, choice ? row->choices : "",
             choice ? "; " : "", row->fallback[0] ? row->fallback : "none");
}

void option_print_help(const OptionTable *table, FILE *file)
{
    const char *section = NULL;
    for (int i = 0; i < table->count; i++) {
        const OptionRow *row = &table->rows[i];
        if (!section || strcmp(section, row->section)) fprintf(file, "%s", section ? "\n" : "");
        section = row->section;
        char name[128], description[OPTION_DESCRIPTION_SIZE];
        option_name(row, name);
        option_describe(row, description);
        fprintf(file, "  --%-32s %s\n", name, description);
    }
}
