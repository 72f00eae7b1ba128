/* XXH3 (64 bits) of values: tells whether bits changed on the way to a disk, on it, or in the memory of a rank. */
#ifndef POLYSKETCH_BASE_DIGEST_H
#define POLYSKETCH_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"

enum { DIGEST_TEXT_SIZE = 17 };

uint64_t digest_bytes(const void *bytes, size_t count);

/* Of the values as float32, the form they have in files, whatever `real` is. */
uint64_t digest_reals(const real *values, size_t count);

/* The same of values that come part by part. */
typedef struct DigestStream DigestStream;
DigestStream *digest_begin(void);
void digest_add_reals(DigestStream *stream, const real *values, size_t count);
uint64_t digest_end(DigestStream *stream); /* and frees it */

/* 16 hexadecimal digits, as `xxhash.xxh3_64(...).hexdigest()` of Python prints it. */
void digest_format(uint64_t digest, char text[DIGEST_TEXT_SIZE]);

#endif
