/* Options in INI files (src/base/options.h). */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"
#include "src/base/options.h"

/* ---- reading ---- */

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

/* An INI file that is being read. */
typedef struct IniReader {
    const OptionTable *table;
    char section[64];
    int line;
    int *lines; /* (table->count) where each option was set, 0: nowhere */
} IniReader;

static bool set_from_ini(IniReader *ini, const char *name, const char *text, Message *problem)
{
    const OptionRow *row = option_find(ini->table, name);
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

/* ---- writing ---- */

/* A value as unquote() reads it, between quotes where the bare text would not be read as it is. */
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
