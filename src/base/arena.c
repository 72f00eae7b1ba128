#define _GNU_SOURCE
#include "src/base/arena.h"

#include <math.h>
#include <stdlib.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum { ALIGNMENT = 64 };

static size_t round_up(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* A kernel that reads what nobody wrote is found by the first test. */
static void poison(char *start, size_t bytes)
{
#ifdef DEBUG
    for (real *p = (real *)start; (char *)(p + 1) <= start + bytes; p++) *p = (real)NAN;
#else
    (void)start, (void)bytes;
#endif
}

Arena arena_measure(void) { return (Arena){0}; }

Arena arena_create(size_t bytes, const char *name)
{
    Arena arena = {.capacity = round_up(bytes ? bytes : 1)};
    arena.base = try_block(arena.capacity);
    CHECK(arena.base, "cannot allocate %.1f MB of %s. Use more ranks, a smaller model or a smaller micro-batch",
          (double)bytes / 1e6, name);
    poison(arena.base, arena.capacity);
    return arena;
}

void arena_destroy(Arena *arena)
{
    free(arena->base);
    *arena = (Arena){0};
}

void *arena_take_bytes(Arena *arena, size_t bytes)
{
    size_t start = arena->used;
    arena->used += round_up(bytes);
    if (arena->used > arena->peak) arena->peak = arena->used;
    if (!arena->base) return NULL;
    CHECK(arena->used <= arena->capacity, "internal error: an arena of %zu bytes was asked for %zu", arena->capacity,
          arena->used);
    return arena->base + start;
}

real *arena_take(Arena *arena, size_t count) { return arena_take_bytes(arena, count * sizeof(real)); }

Arena arena_share(void *block, size_t index, size_t share_bytes)
{
    return (Arena){.base = (char *)block + index * share_bytes, .capacity = share_bytes};
}

size_t arena_mark(const Arena *arena) { return arena->used; }

void arena_release(Arena *arena, size_t mark)
{
    if (arena->base) poison(arena->base + mark, arena->used - mark);
    arena->used = mark;
}
