/* Tokens in memory that grows. */
#ifndef POLYSKETCH_TEXT_TOKEN_LIST_H
#define POLYSKETCH_TEXT_TOKEN_LIST_H

#include <stddef.h>
#include <stdint.h>

/* All zero is an empty list; free(list.ids) ends it. */
typedef struct TokenList {
    int32_t *ids; /* (count) */
    size_t count, capacity;
} TokenList;

void token_list_append(TokenList *list, const int32_t *ids, size_t count);

#endif
