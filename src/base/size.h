/* Of two sizes. */
#ifndef POLYSKETCH_BASE_SIZE_H
#define POLYSKETCH_BASE_SIZE_H

#include <stddef.h>

static inline size_t larger(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

#endif
