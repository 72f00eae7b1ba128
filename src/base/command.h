/* The commands of a program as data: --help, the manual pages and the completion of bash are all made from what stands here and
   in the tables of options. Nothing of it needs MPI. */
#ifndef POLYSKETCH_BASE_COMMAND_H
#define POLYSKETCH_BASE_COMMAND_H

#include <stdio.h>

#include "src/base/options.h"

/* Whether a command takes the options of a configuration, besides its own. */
typedef enum ConfigurationUse {
    CONFIGURATION_NONE,
    CONFIGURATION_TAKEN, /* its help does not repeat them */
    CONFIGURATION_LISTED,
} ConfigurationUse;

/* What is said of a command. Lines and paragraphs end with a newline, but for the last; paragraphs are wrapped where they are
   printed. --help itself needs no row. */
typedef struct CommandHelp {
    const char *usage;    /* a line for each way to call it */
    const char *text;     /* paragraphs */
    const char *example;  /* lines */
    const char *operands; /* the words that stand before options, between '|'; NULL: files, if anything */
    const OptionRow *rows;
    int row_count;
    ConfigurationUse configuration;
} CommandHelp;

typedef struct Command {
    const char *name, *summary;
    int (*run)(int argc, char **argv); /* the arguments after the name; the exit code */
    const CommandHelp *help;
} Command;

/* The whole program; texts as those of a command. */
typedef struct Program {
    const char *name, *summary, *usage, *text, *exit_codes;
    const Command *commands;
    int command_count;
    OptionTable (*configuration)(void); /* options that commands may take besides their own; without values */
} Program;

/* NULL: there is no such command. */
const Command *command_find(const Program *program, const char *name);

/* What --help prints, of the program and of a command. */
void program_print_help(const Program *program, FILE *file);
void command_print_help(const Program *program, const Command *command, FILE *file);

/* The source of a manual page of section 1, PROGRAM.1 or PROGRAM-COMMAND.1 (`command` NULL: that of the program). */
void command_print_manual(const Program *program, const Command *command, FILE *file);

/* A script for bash which completes commands, options, the words of choices, and files. */
void program_print_completion(const Program *program, FILE *file);

/* ---- for those functions ---- */

/* The tables that a command reads: its own rows, then those of a configuration if it takes them. Returns how many. */
int command_tables(const Program *program, const Command *command, OptionTable tables[2]);

/* The first line of a text of lines: its length; `text` moves on to the next one. False at the end. */
bool next_line(const char **text, const char **line, int *length);

#endif
