#include "io/name_list.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void name_list_add(NameList *list, const char *name)
{
    enum { NAMED = 4 };
    size_t length = strlen(list->text);
    if (list->count++ > NAMED) return;
    bool more = list->count > NAMED;
    snprintf(list->text + length, sizeof list->text - length, "%s%.110s", length ? ", " : "", more ? "..." : name);
}
