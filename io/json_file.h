/* JSON in files. For the other files of io/ only; nothing outside sees jansson.h. */
#ifndef POLYSKETCH_IO_JSON_FILE_H
#define POLYSKETCH_IO_JSON_FILE_H

#include <jansson.h>
#include <stdio.h>

#include "src/base/error.h"

/* The object in a file, for json_decref(); strings may have zeros in them. NULL with a message that names `path` when it cannot
   be read, or is no JSON object. */
json_t *json_file_read(const char *path, Message *problem);

/* Prints an object, in lines, and ends it. `flags` of jansson besides. */
void json_file_print(FILE *stream, json_t *object, size_t flags);

#endif
