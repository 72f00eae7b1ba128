/* Which files `prepare` reads: those that a user names, and those in folders. */
#ifndef POLYSKETCH_PROGRAMS_INPUT_FILES_H
#define POLYSKETCH_PROGRAMS_INPUT_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/error.h"

/* Why something in a folder is not read. */
typedef enum LeftOut { LEFT_HIDDEN, LEFT_BACKUP, LEFT_SPECIAL, LEFT_REPEATED, LEFT_KINDS } LeftOut;

/* All zero is an empty list. */
typedef struct InputFiles {
    char **paths; /* (count) */
    size_t count, capacity;
    size_t left_out[LEFT_KINDS];
    char *example[LEFT_KINDS]; /* the first of them; NULL: none */
    void *visited;             /* tree of the files and folders that were met */
} InputFiles;

/* Adds a file, or all regular files of a folder and the folders in it, links to files and folders among them; each file
   and folder once, whatever leads to it in this call and those before: again, it is left out and counted. In folders,
   names that begin with "." or end with "~" and what is no file (pipes, sockets, devices) are left out and counted. The
   paths of one call are in the order of their bytes. False with a message about `option` when something cannot be read,
   or when the folder `output` is, or would be made, in a folder that is read. */
bool input_files_add(InputFiles *files, const char *option, const char *path, const char *output, Message *problem);

/* One line on standard output with numbers, reasons and an example of each; nothing when nothing was left out. */
void input_files_print_left_out(const InputFiles *files);

void input_files_destroy(InputFiles *files);

#endif
