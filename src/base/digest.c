#include "src/base/digest.h"

#include <stdio.h>
#include <xxhash.h>

#include "src/base/error.h"

uint64_t digest_bytes(const void *bytes, size_t count) { return XXH3_64bits(bytes, count); }

uint64_t digest_reals(const real *values, size_t count)
{
    if (sizeof(real) == sizeof(float)) return digest_bytes(values, count * sizeof *values);
    enum { CHUNK = 1024 };
    float chunk[CHUNK];
    XXH3_state_t *state = XXH3_createState();
    CHECK(state && XXH3_64bits_reset(state) == XXH_OK, "cannot start a digest: no memory is left");
    for (size_t first = 0; first < count; first += CHUNK) {
        size_t length = count - first < CHUNK ? count - first : CHUNK;
        for (size_t i = 0; i < length; i++) chunk[i] = (float)values[first + i];
        XXH3_64bits_update(state, chunk, length * sizeof *chunk);
    }
    uint64_t digest = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return digest;
}

void digest_format(uint64_t digest, char text[DIGEST_TEXT_SIZE])
{
    snprintf(text, DIGEST_TEXT_SIZE, "%016llx", (unsigned long long)digest);
}
