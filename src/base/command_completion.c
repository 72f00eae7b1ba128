/* A script for bash. It looks at nothing but the words on the command line: starting the program for each of them would take
   longer than people wait. */
#include <string.h>

#include "src/base/command.h"
#include "src/base/version.h"

/* The options of a table as words: --key= where a value must follow. */
static void print_option_words(const OptionTable *table, FILE *file)
{
    char name[128];
    for (int i = 0; i < table->count; i++) {
        const OptionRow *row = &table->rows[i];
        bool alone = row->type == OPTION_BOOL && !row->section[0];
        option_name(row, name);
        fprintf(file, " --%s%s", name, alone ? "" : "=");
    }
}

/* "a|b" as "a b". */
static void print_choices(const char *choices, FILE *file)
{
    for (; *choices; choices++) fputc(*choices == '|' ? ' ' : *choices, file);
}

/* What a value may be, for `commands`, a pattern. Texts have no row here: they are completed as files. */
static void print_values(const char *commands, const OptionTable *table, FILE *file)
{
    char name[128];
    for (int i = 0; i < table->count; i++) {
        const OptionRow *row = &table->rows[i];
        if (row->type == OPTION_TEXT || row->type == OPTION_LONG_TEXT) continue;
        option_name(row, name);
        fprintf(file, "        %s:--%s) ", commands, name);
        if (row->type == OPTION_CHOICE) {
            fputs("words='", file);
            print_choices(row->choices, file);
            fputs("' ;;\n", file);
        } else {
            fputs(row->type == OPTION_BOOL ? "words='true false' ;;\n" : "return ;;\n", file);
        }
    }
}

static void print_command(const Program *program, const Command *command, FILE *file)
{
    OptionTable tables[2];
    int count = command_tables(program, command, tables);
    fprintf(file, "        %s)\n            options=\"--help", command->name);
    print_option_words(&tables[0], file);
    fputs(count > 1 ? " $configuration\"\n" : "\"\n", file);
    if (command->help->operands) {
        fputs("            operands='", file);
        print_choices(command->help->operands, file);
        fputs("'\n", file);
    }
    fputs("            ;;\n", file);
}

/* Bash takes --key=value for three words, unless '=' was taken out of COMP_WORDBREAKS. */
static const char find_option[] =
    "    if [[ $current == = ]]; then\n"
    "        option=$before\n"
    "        current=\n"
    "    elif [[ $before == = ]]; then\n"
    "        option=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    elif [[ $current == --*=* ]]; then\n"
    "        option=${current%%=*}\n"
    "        start=$option=\n"
    "        current=${current#*=}\n"
    "    elif [[ \" $options \" == *\" $before= \"* ]]; then\n"
    "        option=$before\n"
    "    elif [[ $current == -* ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\")\n"
    "        if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi\n"
    "        return\n"
    "    fi\n";

static const char complete_value[] =
    "    if [[ -z $option ]]; then words=$operands; fi\n"
    "    if [[ -n $words ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -P \"$start\" -W \"$words\" -- \"$current\")\n"
    "    fi\n"
    "    if [[ -z $words || ( -z $option && ${#COMPREPLY[@]} -eq 0 ) ]]; then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -P \"$start\" -f -- \"$current\")\n"
    "    fi\n"
    "}\n";

void program_print_completion(const Program *program, FILE *file)
{
    const char *name = program->name;
    OptionTable configuration = program->configuration();
    fprintf(file, "# Completion of %s for bash, made by %s %s from its tables of options.\n\n_%s() {\n", name, name,
            RELEASE_VERSION, name);
    fputs("    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}\n"
          "    local option='' start='' words='' options='' operands=''\n    local commands='",
          file);
    for (int i = 0; i < program->command_count; i++) fprintf(file, "%s%s", i ? " " : "", program->commands[i].name);
    fputs("'\n    local configuration='", file);
    print_option_words(&configuration, file);
    fputs("'\n    COMPREPLY=()\n"
          "    if [[ $COMP_CWORD -eq 1 || ( $COMP_CWORD -eq 2 && $command == help ) ]]; then\n"
          "        mapfile -t COMPREPLY < <(compgen -W \"$commands help --help --version\" -- \"$current\")\n"
          "        return\n"
          "    fi\n"
          "    case $command in\n",
          file);
    for (int i = 0; i < program->command_count; i++) print_command(program, &program->commands[i], file);
    fputs("        *) return ;;\n    esac\n", file);
    fputs(find_option, file);
    fputs("    case $command:$option in\n        *:) ;;\n", file);
    for (int i = 0; i < program->command_count; i++) {
        OptionTable own = {program->commands[i].help->rows, program->commands[i].help->row_count, NULL};
        print_values(program->commands[i].name, &own, file);
    }
    print_values("*", &configuration, file);
    fputs("    esac\n", file);
    fputs(complete_value, file);
    fprintf(file, "\ncomplete -F _%s %s\n", name, name);
}
