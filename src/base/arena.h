/* A planned block of memory, handed out piece by piece.

   The same layout function runs twice: first on a measuring arena, which only counts, then on one created with the
   measured size, which hands out 64-byte aligned pointers. So sizes are never written down twice, and `plan` can report
   the memory of a job that this machine could not hold.

       Arena measure = arena_measure();
       plan_layer(&layer, &measure);                  every pointer is NULL
       Arena arena = arena_create(measure.peak, "activations");
       plan_layer(&layer, &arena);                    the same calls, real pointers */
#ifndef POLYSKETCH_BASE_ARENA_H
#define POLYSKETCH_BASE_ARENA_H

#include <stddef.h>

#include "src/base/real.h"

typedef struct Arena {
    char *base; /* NULL while measuring */
    size_t used, capacity;
    size_t peak; /* largest `used` so far, in bytes */
} Arena;

Arena arena_measure(void);

/* `bytes` of zeroed memory (debug builds: NaN); ends the job with `name` in the message when there is not enough. */
Arena arena_create(size_t bytes, const char *name);
void arena_destroy(Arena *arena);

/* Memory for `count` numbers, 64-byte aligned; NULL while measuring. */
real *arena_take(Arena *arena, size_t count);
void *arena_take_bytes(Arena *arena, size_t bytes);

/* The share number `index` of a block of equal shares taken before, as an arena of its own: one for each thread. */
Arena arena_share(void *block, size_t index, size_t share_bytes);

/* Scratch: what is taken after a mark is given back by the release; `peak` remembers the most that was in use. */
size_t arena_mark(const Arena *arena);
void arena_release(Arena *arena, size_t mark);

#endif
