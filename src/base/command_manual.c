/* Manual pages, in the macros of man(7). */
#include <ctype.h>
#include <string.h>

#include "src/base/command.h"
#include "src/base/version.h"

/* What means something else to roff, and how it is written so that it can be copied from the page. */
static const char *escape_of(char character)
{
    switch (character) {
    case '\\': return "\\e";
    case '-': return "\\-";
    case '\'': return "\\(aq";
    case '"': return "\\(dq";
    case '`': return "\\(ga";
    case '^': return "\\(ha";
    case '~': return "\\(ti";
    }
    return NULL;
}

/* As one line, which never looks like a request. */
static void print_text(const char *text, int length, FILE *file)
{
    if (length > 0 && text[0] == '.') fputs("\\&", file);
    for (int i = 0; i < length; i++) {
        const char *escape = escape_of(text[i]);
        if (escape)
            fputs(escape, file);
        else
            fputc(text[i], file);
    }
}

static void print_word(const char *word, FILE *file) { print_text(word, (int)strlen(word), file); }

/* As they stand. */
static void print_lines(const char *text, FILE *file)
{
    const char *line;
    int length;
    fputs(".nf\n", file);
    while (next_line(&text, &line, &length)) {
        print_text(line, length, file);
        fputc('\n', file);
    }
    fputs(".fi\n", file);
}

static void print_paragraphs(const char *text, FILE *file)
{
    const char *line;
    int length;
    bool first = true;
    for (; next_line(&text, &line, &length); first = false) {
        if (!first) fputs(".PP\n", file);
        print_text(line, length, file);
        fputc('\n', file);
    }
}

/* What stands for a value. */
static const char *value_word(const OptionRow *row)
{
    switch (row->type) {
    case OPTION_INTEGER: return "N";
    case OPTION_REAL: return "X";
    case OPTION_BOOL: return row->section[0] ? "true|false" : "";
    case OPTION_TEXT:
    case OPTION_LONG_TEXT: return "TEXT";
    case OPTION_CHOICE: return "WORD";
    }
    return "";
}

static void print_option(const char *name, const char *value, const char *description, FILE *file)
{
    fputs(".TP\n.BI \\-\\-", file);
    print_word(name, file);
    fprintf(file, "%s%s\n", value[0] ? "= " : "", value);
    print_word(description, file);
    fputc('\n', file);
}

static void print_options(const OptionTable *table, FILE *file)
{
    const char *section = "";
    for (int i = 0; i < table->count; i++) {
        const OptionRow *row = &table->rows[i];
        char name[128], description[OPTION_DESCRIPTION_SIZE];
        option_name(row, name);
        option_describe(row, description);
        if (strcmp(section, row->section)) fprintf(file, ".SS [%s]\n", row->section);
        section = row->section;
        print_option(name, value_word(row), description, file);
    }
}

/* The title and the line that whatis(1) reads. */
static void print_head(const Program *program, const Command *command, FILE *file)
{
    const char *dash = command ? "-" : "", *name = command ? command->name : "";
    char page[128];
    snprintf(page, sizeof page, "%s%s%s", program->name, dash, name);
    fprintf(file, ".\\\" Made by %s from its tables of options.\n.TH \"", program->name);
    for (const char *letter = page; *letter; letter++) fputc(toupper((unsigned char)*letter), file);
    fprintf(file, "\" 1 \"%s\" \"%s %s\" \"User Commands\"\n.SH NAME\n", RELEASE_DATE, program->name, RELEASE_VERSION);
    print_word(page, file);
    fputs(" \\- ", file);
    print_word(command ? command->summary : program->summary, file);
    fputs("\n.SH SYNOPSIS\n", file);
}

static void print_program(const Program *program, FILE *file)
{
    print_lines(program->usage, file);
    fputs(".SH DESCRIPTION\n", file);
    print_paragraphs(program->text, file);
    fputs(".SH COMMANDS\n", file);
    for (int i = 0; i < program->command_count; i++) {
        fprintf(file, ".TP\n.BR %s\\-%s (1)\n", program->name, program->commands[i].name);
        print_word(program->commands[i].summary, file);
        fputc('\n', file);
    }
}

static void print_command(const Program *program, const Command *command, FILE *file)
{
    OptionTable tables[2];
    const CommandHelp *help = command->help;
    command_tables(program, command, tables);
    print_lines(help->usage, file);
    fputs(".SH DESCRIPTION\n", file);
    print_paragraphs(help->text, file);
    fputs(".SH OPTIONS\n", file);
    print_option("help", "", "print a summary", file);
    print_options(&tables[0], file);
    if (help->configuration == CONFIGURATION_LISTED) print_options(&tables[1], file);
    fputs(".SH EXAMPLES\n", file);
    print_lines(help->example, file);
}

void command_print_manual(const Program *program, const Command *command, FILE *file)
{
    print_head(program, command, file);
    if (command)
        print_command(program, command, file);
    else
        print_program(program, file);
    fputs(".SH EXIT STATUS\n", file);
    print_paragraphs(program->exit_codes, file);
    if (command) fprintf(file, ".SH SEE ALSO\n.BR %s (1)\n", program->name);
}
