/* Options as rows of a table: one row per option makes the help text, the parsing of file and command line, the checks
   of type and bounds, the printed and the saved form.

   An option is named `section.key` everywhere: `--section.key=value` on the command line, `[section] key = value` in a
   file. Options of a subcommand have no section: `--key=value`. */
#ifndef POLYSKETCH_BASE_OPTIONS_H
#define POLYSKETCH_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "src/base/error.h"

enum { OPTION_TEXT_SIZE = 512 }; /* bytes of a text option, final zero included */

typedef enum OptionType {
    OPTION_INTEGER,   /* int64_t */
    OPTION_REAL,      /* double; a default of "auto" lets the word auto stand for "not given" (NaN) */
    OPTION_BOOL,      /* bool: true or false */
    OPTION_TEXT,      /* char[OPTION_TEXT_SIZE] */
    OPTION_LONG_TEXT, /* const char *: of any length, in the memory of the arguments; not for configurations */
    OPTION_CHOICE,    /* int: the position of the word in `choices` */
} OptionType;

typedef struct OptionRow {
    const char *section; /* "" for the options of a subcommand */
    const char *key;
    OptionType type;
    size_t offset;        /* of the field in the struct that holds the values */
    const char *fallback; /* the default, as text */
    double low, high;     /* inclusive bounds of numbers; of a text low = 1 refuses an empty one that is given */
    const char *choices;  /* words separated by '|' */
    bool model_defining;  /* a checkpoint can be continued only with the same value */
    const char *help;
} OptionRow;

/* Rows and the struct their offsets point into. */
typedef struct OptionTable {
    const OptionRow *rows;
    int count;
    void *values;
} OptionTable;

void option_set_defaults(const OptionTable *table);

/* "section.key", or "key" without a section; into `name`. */
void option_name(const OptionRow *row, char name[128]);

/* The row of the option `name`; NULL: the table has none. */
const OptionRow *option_find(const OptionTable *table, const char *name);

/* Sets the option `name` in whichever of the tables has it. False with a message that names the nearest known option,
   the bounds or the choices. */
bool option_set(const OptionTable *tables, int table_count, const char *name, const char *text, Message *problem);

/* Reads `--name=value` and `--name value` (a boolean alone means true); up to max_positional other arguments are stored
   in `positional`. Of a `section.key` that is given more than once the last counts, which is for option_say_repeated() to
   say; options without a section are refused when they have two values. */
bool option_read_arguments(const OptionTable *tables, int table_count, int argc, char **argv, const char **positional,
                           int max_positional, Message *problem);

/* A warning (log_line) for each option of arguments that were read which has two values. */
void option_say_repeated(const OptionTable *tables, int table_count, int argc, char **argv);

/* Reads the text of an INI file; `file_name` is for messages. A key that stands there twice is refused. */
bool option_read_ini(const OptionTable *table, const char *text, const char *file_name, Message *problem);

/* The value as text: numbers so that reading them back gives the same bits. */
void option_format(const OptionRow *row, const void *values, char text[OPTION_TEXT_SIZE]);

/* Appends rows to those of a table that several modules fill; `offset` is added to theirs. Ends the job when there is no room. */
void option_append_rows(OptionRow *rows, int *count, int capacity, const OptionRow *more, int more_count,
                        size_t offset);

/* Adds a word to a list of choices, "word|word|..."; for tables that others fill. */
void option_add_choice(char *choices, size_t size, const char *word);

/* The word of a choice. */
void option_choice_word(const OptionRow *row, int choice, char word[64]);

bool option_equal(const OptionRow *row, const void *values, const void *other_values);

/* As an INI file that reads back the same. `resolved` (the same struct, or NULL): values that differ in it are comments. */
void option_print_ini(const OptionTable *table, const void *resolved, FILE *file);

/* What --help says of an option: its help, then in brackets the words of a choice and the default. */
enum { OPTION_DESCRIPTION_SIZE = 1024 };
void option_describe(const OptionRow *row, char text[OPTION_DESCRIPTION_SIZE]);

/* A line for each option; an empty line between sections. */
void option_print_help(const OptionTable *table, FILE *file);

#endif
