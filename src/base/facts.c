#include "src/base/facts.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/json_text.h"
#include "src/base/log.h"
#include "src/base/memory.h"

enum { MAX_DEPTH = 8 };

struct Facts {
    json_t *open[MAX_DEPTH]; /* objects and lists, each in the one before; NULL without JSON */
    int depth;
    FILE *line; /* under way: a stream into `text` */
    char *text;
    size_t length;
};

Facts *facts_create(bool json)
{
    Facts *facts = checked_calloc(1, sizeof *facts);
    facts->line = open_memstream(&facts->text, &facts->length);
    CHECK(facts->line, "cannot allocate a line of text");
    if (!json) return facts;
    log_use_standard_error();
    facts->open[facts->depth++] = json_object();
    return facts;
}

void facts_finish(const Facts *facts)
{
    if (facts->depth == 0 || !log_speaks()) return;
    ASSERT(facts->depth == 1);
    json_dumpf(facts->open[0], stdout, JSON_INDENT(2));
    putchar('\n');
}

void facts_destroy(Facts *facts)
{
    if (!facts) return;
    json_decref(facts->open[0]); /* with all that is in it; NULL is allowed */
    fclose(facts->line);
    free(facts->text);
    free(facts);
}

static bool is_json(const Facts *facts) { return facts->depth > 0; }

/* The document takes `value`; NULL is null there. */
static void put(Facts *facts, const char *name, json_t *value)
{
    json_t *into = facts->open[facts->depth - 1];
    if (!value) value = json_null();
    int failed = json_is_array(into) ? json_array_append_new(into, value) : json_object_set_new(into, name, value);
    CHECK(failed == 0, "cannot allocate a document in JSON");
}

/* Adds to the line under way, which goes to the log when it ends. */
static void extend_line(Facts *facts, const char *format, va_list arguments)
{
    vfprintf(facts->line, format, arguments);
    fflush(facts->line);
    if (facts->length == 0 || facts->text[facts->length - 1] != '\n') return;
    facts->text[facts->length - 1] = 0;
    log_line("%s", facts->text);
    rewind(facts->line);
}

void facts_say(Facts *facts, const char *format, ...)
{
    if (is_json(facts)) return;
    va_list arguments;
    va_start(arguments, format);
    extend_line(facts, format, arguments);
    va_end(arguments);
}

/* The same for a format that is a fact's own. */
static void say_value(Facts *facts, const char *text, ...)
{
    if (!text) return;
    va_list arguments;
    va_start(arguments, text);
    extend_line(facts, text, arguments);
    va_end(arguments);
}

void facts_integer(Facts *facts, const char *name, const char *text, int64_t value)
{
    if (is_json(facts))
        put(facts, name, json_integer(value));
    else
        say_value(facts, text, (long long)value);
}

void facts_real(Facts *facts, const char *name, const char *text, double value)
{
    if (is_json(facts))
        put(facts, name, isfinite(value) ? json_real(value) : NULL);
    else
        say_value(facts, text, value);
}

void facts_text(Facts *facts, const char *name, const char *text, const char *value)
{
    if (is_json(facts))
        put(facts, name, json_from_bytes(value, strlen(value)));
    else
        say_value(facts, text, value);
}

void facts_flag(Facts *facts, const char *name, bool value)
{
    if (is_json(facts)) put(facts, name, json_boolean(value));
}

void facts_bytes(Facts *facts, const char *name, const char *text, double value)
{
    char words[32];
    if (is_json(facts))
        put(facts, name, json_integer((json_int_t)value));
    else
        say_value(facts, text, log_bytes(value, words));
}

static void open_container(Facts *facts, const char *name, json_t *container)
{
    ASSERT(facts->depth < MAX_DEPTH);
    put(facts, name, container);
    facts->open[facts->depth++] = container;
}

void facts_open(Facts *facts, const char *name)
{
    if (is_json(facts)) open_container(facts, name, json_object());
}

void facts_open_list(Facts *facts, const char *name)
{
    if (is_json(facts)) open_container(facts, name, json_array());
}

void facts_close(Facts *facts)
{
    if (is_json(facts)) facts->depth--;
}
