/* The files of the folder huggingface/, as they were when the program was built: they are in the program, which so finds them
   wherever it is installed. */
#ifndef POLYSKETCH_PROGRAMS_PYTHON_FILES_H
#define POLYSKETCH_PROGRAMS_PYTHON_FILES_H

#include <stdio.h>

/* Prints the file of this name, which is one of them. */
void python_file_print(FILE *stream, const char *name);

#endif
