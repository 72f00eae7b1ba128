#define PCRE2_CODE_UNIT_WIDTH 8
#include "src/text/pattern.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"
#include "src/text/onig_pattern.h"

struct Pattern {
    pcre2_code *code;
};

struct PatternScratch {
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

const char *pattern_library(char version[64])
{
    pcre2_config(PCRE2_CONFIG_VERSION, version); /* with the date; at most 24 bytes */
    version[strcspn(version, " ")] = 0;
    return version;
}

static pcre2_code *compile(const char *expression, uint32_t options, Message *problem)
{
    int error;
    PCRE2_SIZE place;
    PCRE2_UCHAR cause[256];
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    CHECK(context, "cannot allocate a regular expression");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED, options, &error, &place, context);
    pcre2_compile_context_free(context);
    if (code) {
        pcre2_jit_compile(code,
                          PCRE2_JIT_COMPLETE); /* where the processor or the system has no place for it: without */
        return code;
    }
    pcre2_get_error_message(error, cause, sizeof cause);
    char version[64];
    fail(problem,
         "the regular expression '%.200s' is not known here: %s, at byte %zu (by PCRE2 %s; 10.40 or newer is needed)",
         expression, (char *)cause, (size_t)place, pattern_library(version));
    return NULL;
}

Pattern *pattern_create(const char *expression, bool literal, Message *problem)
{
    char *translated = literal ? NULL : onig_pattern_translate(expression, problem);
    if (!literal && !translated) return NULL;
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE);
    pcre2_code *code = compile(literal ? expression : translated, options, problem);
    free(translated);
    if (!code) return NULL;
    Pattern *pattern = checked_calloc(1, sizeof *pattern);
    pattern->code = code;
    return pattern;
}

void pattern_destroy(Pattern *pattern)
{
    if (!pattern) return;
    pcre2_code_free(pattern->code);
    free(pattern);
}

PatternScratch *pattern_scratch_create(void)
{
    const size_t least = 32 << 10, most = 16 << 20;
    PatternScratch *scratch = checked_calloc(1, sizeof *scratch);
    scratch->match = pcre2_match_data_create(1, NULL);
    scratch->context = pcre2_match_context_create(NULL);
    scratch->stack = pcre2_jit_stack_create(least, most, NULL); /* NULL where there is no such compiler */
    CHECK(scratch->match && scratch->context, "cannot allocate the memory of a search");
    pcre2_set_match_limit(scratch->context, UINT32_MAX); /* a match may be as long as a text */
    if (scratch->stack) pcre2_jit_stack_assign(scratch->context, NULL, scratch->stack);
    return scratch;
}

void pattern_scratch_destroy(PatternScratch *scratch)
{
    if (!scratch) return;
    pcre2_match_data_free(scratch->match);
    pcre2_match_context_free(scratch->context);
    pcre2_jit_stack_free(scratch->stack);
    free(scratch);
}

bool pattern_find(const Pattern *pattern, PatternScratch *scratch, const char *text, size_t length, size_t from,
                  size_t *start, size_t *end, Message *problem)
{
    int code = pcre2_match(pattern->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_UTF_CHECK, scratch->match,
                           scratch->context);
    if (code >= 0) {
        const PCRE2_SIZE *places = pcre2_get_ovector_pointer(scratch->match);
        *start = places[0], *end = places[1];
        return true;
    }
    *start = *end = length + 1;
    if (code == PCRE2_ERROR_NOMATCH) return true;
    PCRE2_UCHAR cause[256];
    pcre2_get_error_message(code, cause, sizeof cause);
    return fail(problem, "a regular expression of the tokenizer fails at byte %zu: %s. Divide the text", from,
                (char *)cause);
}
