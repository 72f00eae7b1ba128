#include "src/base/digest.h"

#include <stdio.h>
#include <xxhash.h>

#include "src/base/error.h"

uint64_t digest_bytes(const void *bytes, size_t count) { return XXH3_64bits(bytes, count); }

uint64_t digest_reals(const real *values, size_t count)
{
    if (sizeof(real) == sizeof(float)) return digest_bytes(values, count * sizeof *values);
    DigestStream *stream = digest_begin();
    digest_add_reals(stream, values, count);
    return digest_end(stream);
}

DigestStream *digest_begin(void)
{
    XXH3_state_t *state = XXH3_createState();
    CHECK(state && XXH3_64bits_reset(state) == XXH_OK, "cannot start a digest: no memory is left");
    return (DigestStream *)state;
}

void digest_add_reals(DigestStream *stream, const real *values, size_t count)
{
    enum { CHUNK = 1024 };
    float chunk[CHUNK];
    for (size_t first = 0; first < count; first += CHUNK) {
        size_t length = count - first < CHUNK ? count - first : CHUNK;
        for (size_t i = 0; i < length; i++) chunk[i] = (float)values[first + i];
        XXH3_64bits_update((XXH3_state_t *)stream, chunk, length * sizeof *chunk);
    }
}

uint64_t digest_end(DigestStream *stream)
{
    uint64_t digest = XXH3_64bits_digest((XXH3_state_t *)stream);
    XXH3_freeState((XXH3_state_t *)stream);
    return digest;
}

void digest_format(uint64_t digest, char text[DIGEST_TEXT_SIZE])
{
    snprintf(text, DIGEST_TEXT_SIZE, "%016llx", (unsigned long long)digest);
}
