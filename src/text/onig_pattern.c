#include "src/text/onig_pattern.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"

typedef struct Translation {
    const char *rest; /* of the pattern */
    char *text;       /* what it became so far */
    size_t length, capacity;
    bool in_class;    /* within [...] */
    bool after_brace; /* behind {n,m} */
    Message *problem;
} Translation;

static void put(Translation *t, const char *text, size_t length)
{
    t->text = checked_room(t->text, t->length + length + 1, &t->capacity, 1);
    memcpy(t->text + t->length, text, length);
    t->length += length;
    t->text[t->length] = 0;
}

static void put_text(Translation *t, const char *text) { put(t, text, strlen(text)); }

static void copy(Translation *t, size_t length)
{
    put(t, t->rest, length);
    t->rest += length;
}

static bool refuse(const Translation *t, size_t shown)
{
    size_t left = strlen(t->rest);
    return fail(t->problem, "%.*s in its regular expressions is not known here", (int)(left < shown ? left : shown),
                t->rest);
}

/* \p{L}, \P{Lu}, \p{^N}; names of more than two letters are those of scripts. \pL is a property in PCRE2 alone: to Oniguruma it
   is the text "pL". */
static bool put_property(Translation *t)
{
    const char *name = t->rest + 2, *end = strchr(name, '}');
    if (*name != '{' || !end) return refuse(t, 20);
    name++;
    bool negated = *name == '^';
    name += negated;
    size_t length = (size_t)(end - name);
    put(t, t->rest, 3);
    if (negated) put_text(t, "^");
    if (length > 2) put_text(t, "sc:");
    put(t, name, length + 1);
    t->rest = end + 1;
    return true;
}

static bool put_escape(Translation *t)
{
    char sign = t->rest[1];
    if (sign == 's' || sign == 'S') {
        put_text(t, sign == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
        t->rest += 2;
        return true;
    }
    if (sign == 'p' || sign == 'P') return put_property(t);
    if (sign == 'u') {
        for (int i = 2; i < 6; i++)
            if (!isxdigit((unsigned char)t->rest[i])) return refuse(t, 6);
        put_text(t, "\\x{");
        put(t, t->rest + 2, 4);
        put_text(t, "}");
        t->rest += 6;
        return true;
    }
    if (sign == 'x') { /* without braces it is a byte */
        const char *end = t->rest[2] == '{' ? strchr(t->rest, '}') : NULL;
        return end ? copy(t, (size_t)(end + 1 - t->rest)), true : refuse(t, 4);
    }
    if (!sign || (isalnum((unsigned char)sign) && !strchr("dDnrtf", sign))) return refuse(t, 2);
    copy(t, 2);
    return true;
}

static bool put_in_class(Translation *t)
{
    if (*t->rest == '[' || strncmp(t->rest, "&&", 2) == 0) return refuse(t, 2);
    t->in_class = *t->rest != ']';
    copy(t, 1);
    return true;
}

/* A group: capturing or not, looking ahead or behind, or without regard to case. */
static bool put_group(Translation *t)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    if (t->rest[1] == '*') return refuse(t, 8); /* a verb there, a callout here */
    if (t->rest[1] != '?') return copy(t, 1), true;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(t->rest, known[i], strlen(known[i])) == 0) return copy(t, strlen(known[i])), true;
    return refuse(t, 5);
}

static bool put_next(Translation *t)
{
    bool after_brace = t->after_brace;
    t->after_brace = false;
    if (*t->rest == '\\') return put_escape(t);
    if (t->in_class) return put_in_class(t);
    if (*t->rest == '(') return put_group(t);
    if (after_brace && *t->rest == '+') return refuse(t, 1);
    if (strncmp(t->rest, "{,", 2) == 0) return refuse(t, 5);
    t->after_brace = *t->rest == '}';
    t->in_class = *t->rest == '[';
    bool negated = t->in_class && t->rest[1] == '^';
    if (t->in_class && t->rest[1 + negated] == ']') return refuse(t, 3);
    copy(t, 1 + (size_t)negated);
    return true;
}

char *onig_pattern_translate(const char *pattern, Message *problem)
{
    Translation t = {.rest = pattern, .problem = problem};
    put_text(&t, "");
    while (*t.rest)
        if (!put_next(&t)) {
            free(t.text);
            return NULL;
        }
    return t.text;
}
