/* Memory from the system. */
#ifndef POLYSKETCH_BASE_MEMORY_H
#define POLYSKETCH_BASE_MEMORY_H

#include <stddef.h>

/* Zeroed memory, freed by the caller with free(); ends the job when there is none. */
void *checked_calloc(size_t count, size_t bytes);

/* The same for a large array, 64-byte aligned; every thread is the first to touch a share of it, so that on a node whose memory
   lies beside several processors it is spread over them. try_block() returns NULL when there is none. */
void *checked_block(size_t bytes);
void *try_block(size_t bytes);

/* `array` with room for `needed` elements: itself, or a larger one in its place. *capacity is the room, in elements of `bytes`
   each; NULL with 0 to begin with. Freed with free(); ends the job when there is no memory. */
void *checked_room(void *array, size_t needed, size_t *capacity, size_t bytes);

/* The same, with room for one element more than its `count`. */
void *checked_grow(void *array, size_t count, size_t *capacity, size_t bytes);

/* Zeroes, shared out among the threads. */
void clear_memory(void *start, size_t bytes);

/* Asks for pages of 2 MB in ranges longer than that: large matrices are then read with few misses of the address translation.
   A wish: where the system has none, small pages serve. */
void prefer_huge_pages(void *start, size_t bytes);

#endif
