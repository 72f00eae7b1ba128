#include "src/text/token_list.h"

#include <string.h>

#include "src/base/memory.h"

void token_list_append(TokenList *list, const int32_t *ids, size_t count)
{
    if (count == 0) return;
    list->ids = checked_room(list->ids, list->count + count, &list->capacity, sizeof *list->ids);
    memcpy(list->ids + list->count, ids, count * sizeof *ids);
    list->count += count;
}
