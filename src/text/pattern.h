/* Regular expressions that look for places in a text: PCRE2, compiled to machine code where it can. */
#ifndef POLYSKETCH_TEXT_PATTERN_H
#define POLYSKETCH_TEXT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/error.h"

typedef struct Pattern Pattern;

/* An expression of Oniguruma (text/onig_pattern.h), or with `literal` a text that is to be found as it is. NULL with the cause
   when it is none, or not known here. */
Pattern *pattern_create(const char *expression, bool literal, Message *problem);
void pattern_destroy(Pattern *pattern); /* NULL allowed */

/* "10.42": of PCRE2. */
const char *pattern_library(char version[64]);

/* Memory of one thread for its searches. */
typedef struct PatternScratch PatternScratch;
PatternScratch *pattern_scratch_create(void);
void pattern_scratch_destroy(PatternScratch *scratch); /* NULL allowed */

/* The first match of `text`, which is valid UTF-8, that begins at byte `from` or behind; what is before `from` is seen by
   lookbehind alone. *start = *end = length + 1 when there is none. False with the cause when the search fails. */
bool pattern_find(const Pattern *pattern, PatternScratch *scratch, const char *text, size_t length, size_t from,
                  size_t *start, size_t *end, Message *problem);

#endif
