#include "src/base/command.h"

#include <string.h>

#include "src/base/version.h"

enum { COLUMNS = 110 };

const Command *command_find(const Program *program, const char *name)
{
    for (int i = 0; i < program->command_count; i++)
        if (strcmp(name, program->commands[i].name) == 0) return &program->commands[i];
    return NULL;
}

int command_tables(const Program *program, const Command *command, OptionTable tables[2])
{
    tables[0] = (OptionTable){command->help->rows, command->help->row_count, NULL};
    tables[1] = program->configuration();
    return command->help->configuration == CONFIGURATION_NONE ? 1 : 2;
}

bool next_line(const char **text, const char **line, int *length)
{
    if (!**text) return false;
    *line = *text;
    *length = (int)strcspn(*line, "\n");
    *text = *line + *length + ((*line)[*length] == '\n');
    return true;
}

/* A paragraph, in lines of at most COLUMNS. */
static void print_wrapped(const char *paragraph, int length, FILE *file)
{
    int column = 0;
    for (int start = 0, end; start < length; start = end + 1) {
        for (end = start; end < length && paragraph[end] != ' ';) end++;
        int word = end - start;
        if (column > 0) {
            bool fits = column + 1 + word <= COLUMNS;
            fputc(fits ? ' ' : '\n', file);
            column = fits ? column + 1 : 0;
        }
        fprintf(file, "%.*s", word, paragraph + start);
        column += word;
    }
    fputc('\n', file);
}

static void print_paragraphs(const char *text, FILE *file)
{
    const char *line;
    int length;
    while (next_line(&text, &line, &length)) print_wrapped(line, length, file);
}

/* Each line after `first`, or under it. */
static void print_lines(const char *first, const char *text, FILE *file)
{
    const char *line;
    int length, indent = (int)strlen(first);
    for (; next_line(&text, &line, &length); first = "") fprintf(file, "%-*s%.*s\n", indent, first, length, line);
}

void program_print_help(const Program *program, FILE *file)
{
    fprintf(file, "%s %s: %s\n\n", program->name, source_version(), program->summary);
    print_lines("Usage: ", program->usage, file);
    fputc('\n', file);
    for (int i = 0; i < program->command_count; i++)
        fprintf(file, "  %-10s %s\n", program->commands[i].name, program->commands[i].summary);
    fputc('\n', file);
    print_paragraphs(program->text, file);
}

void command_print_help(const Program *program, const Command *command, FILE *file)
{
    const CommandHelp *help = command->help;
    OptionTable tables[2];
    command_tables(program, command, tables);
    print_lines("Usage: ", help->usage, file);
    fputc('\n', file);
    print_paragraphs(help->text, file);
    fputc('\n', file);
    option_print_help(&tables[0], file);
    fprintf(file, "  --%-32s print this\n\n", "help");
    if (help->configuration == CONFIGURATION_LISTED) {
        option_print_help(&tables[1], file);
        fputc('\n', file);
    }
    fputs("Example:\n", file);
    print_lines("  ", help->example, file);
}
