/* Regular expressions of Oniguruma, in which tokenizer.json has its patterns, as PCRE2 writes them.

   Both agree on most of what tokenizers use. \s and \S are translated (in PCRE2 they have U+180E besides), \uHHHH and the names
   of scripts too. What would mean something else, or nothing, is refused: [...] and && within classes, \w, \b, \h and others,
   {,n}, {n,m}+, options but (?i:...). */
#ifndef POLYSKETCH_TEXT_ONIG_PATTERN_H
#define POLYSKETCH_TEXT_ONIG_PATTERN_H

#include "src/base/error.h"

/* A new text, for pcre2_compile() with PCRE2_UTF, PCRE2_UCP and PCRE2_MULTILINE. NULL with the part that is refused. */
char *onig_pattern_translate(const char *pattern, Message *problem);

#endif
