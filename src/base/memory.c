#include "src/base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/base/error.h"

enum { HUGE_PAGE = 2 << 20 };

static void require_memory(const void *memory, double bytes)
{
    CHECK(memory, "cannot allocate %.1f MB. Use more ranks, a smaller model or a smaller batch", bytes / 1e6);
}

void *checked_calloc(size_t count, size_t bytes)
{
    void *memory = calloc(count ? count : 1, bytes ? bytes : 1);
    require_memory(memory, (double)count * (double)bytes);
    prefer_huge_pages(memory, count * bytes);
    return memory;
}

void *try_block(size_t bytes)
{
    enum { ALIGNMENT = 64 };
    size_t rounded = (bytes ? bytes + ALIGNMENT - 1 : ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    void *block = aligned_alloc(ALIGNMENT, rounded);
    if (!block) return NULL;
    prefer_huge_pages(block, rounded);
    clear_memory(block, rounded);
    return block;
}

void *checked_block(size_t bytes)
{
    void *block = try_block(bytes);
    require_memory(block, (double)bytes);
    return block;
}

void *checked_room(void *array, size_t needed, size_t *capacity, size_t bytes)
{
    if (needed <= *capacity) return array;
    if (*capacity < 32) *capacity = 32;
    while (*capacity < needed) *capacity *= 2;
    array = realloc(array, *capacity * bytes);
    CHECK(array, "cannot allocate a list of %zu elements of %zu bytes. Use a machine with more memory", *capacity,
          bytes);
    return array;
}

void *checked_grow(void *array, size_t count, size_t *capacity, size_t bytes)
{
    return checked_room(array, count + 1, capacity, bytes);
}

void clear_memory(void *start, size_t bytes)
{
    enum { PIECE = 1 << 18 };
#pragma omp parallel for schedule(static) if (bytes > PIECE)
    for (size_t first = 0; first < bytes; first += PIECE)
        memset((char *)start + first, 0, bytes - first < PIECE ? bytes - first : PIECE);
}

void prefer_huge_pages(void *start, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)start + page - 1) / page * page, end = ((uintptr_t)start + bytes) / page * page;
    if (end < first + HUGE_PAGE) return;
    (void)madvise((void *)first, end - first, MADV_HUGEPAGE); /* refused: only the speed differs */
}
