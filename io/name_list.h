/* Names for a message: the first few, and how many there are. */
#ifndef POLYSKETCH_IO_NAME_LIST_H
#define POLYSKETCH_IO_NAME_LIST_H

#include <stddef.h>

/* All zero: none. */
typedef struct NameList {
    size_t count;
    char text[480]; /* "a, b, c, d, ..." */
} NameList;

void name_list_add(NameList *list, const char *name);

#endif
