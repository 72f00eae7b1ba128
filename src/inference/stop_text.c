#include "src/inference/stop_text.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"

StopText stop_text_create(const char *text) { return (StopText){.text = text, .length = strlen(text)}; }

void stop_text_destroy(StopText *stop)
{
    free(stop->held);
    *stop = (StopText){0};
}

static void append(StopText *stop, const uint8_t *bytes, size_t count)
{
    size_t needed = stop->held_count + count;
    stop->held = checked_room(stop->held, needed, &stop->capacity, 1);
    if (count > 0) memcpy(stop->held + stop->held_count, bytes, count);
    stop->held_count = needed;
}

static void let_go(StopText *stop, size_t count, ByteSink sink, void *context)
{
    if (count == 0) return;
    if (sink) sink(context, stop->held, count);
    stop->held_count -= count;
    memmove(stop->held, stop->held + count, stop->held_count);
}

/* The first place of what is held from which on all agrees with the stop text, as far as both go. */
static size_t first_possible(const StopText *stop)
{
    size_t place = 0;
    for (; place < stop->held_count; place++) {
        size_t rest = stop->held_count - place, common = rest < stop->length ? rest : stop->length;
        if (memcmp(stop->held + place, stop->text, common) == 0) break;
    }
    return place;
}

bool stop_text_add(StopText *stop, const uint8_t *bytes, size_t count, ByteSink sink, void *context)
{
    append(stop, bytes, count);
    let_go(stop, stop->length > 0 ? first_possible(stop) : stop->held_count, sink, context);
    return stop->length > 0 && stop->held_count >= stop->length;
}

void stop_text_finish(StopText *stop, ByteSink sink, void *context) { let_go(stop, stop->held_count, sink, context); }
