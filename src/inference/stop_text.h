/* Text that ends where a stop text begins. It comes piece by piece, and what may be the beginning of the stop text is held
   back until that is decided. */
#ifndef POLYSKETCH_INFERENCE_STOP_TEXT_H
#define POLYSKETCH_INFERENCE_STOP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct StopText {
    const char *text; /* the caller's; "" never stops */
    size_t length;
    uint8_t *held; /* what has not been let go yet: after a call less than `length` bytes */
    size_t held_count, capacity;
} StopText;

StopText stop_text_create(const char *text);
void stop_text_destroy(StopText *stop);

typedef void (*ByteSink)(void *context, const uint8_t *bytes, size_t count);

/* The next bytes of the text; lets go to `sink` (NULL: nobody) what cannot belong to the stop text. True when that has come:
   nothing more follows. */
bool stop_text_add(StopText *stop, const uint8_t *bytes, size_t count, ByteSink sink, void *context);

/* The text ends by itself: what was held belongs to it. */
void stop_text_finish(StopText *stop, ByteSink sink, void *context);

#endif
