#include "src/base/rng.h"

#include <Random123/philox.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

RngStream rng_stream(uint64_t seed, const char *purpose, uint64_t sub)
{
    uint64_t parts[2] = {seed, sub};
    return (RngStream){XXH64(purpose, strlen(purpose), XXH64(parts, sizeof parts, 0))};
}

void rng_words(RngStream stream, uint64_t index, uint32_t words[4])
{
    philox4x32_ctr_t counter = {{(uint32_t)index, (uint32_t)(index >> 32), 0, 0}};
    philox4x32_key_t key = {{(uint32_t)stream.key, (uint32_t)(stream.key >> 32)}};
    philox4x32_ctr_t drawn = philox4x32(counter, key);
    memcpy(words, drawn.v, sizeof drawn.v);
}

double rng_uniform(RngStream stream, uint64_t index)
{
    uint32_t words[4];
    rng_words(stream, index, words);
    uint64_t bits = ((uint64_t)words[0] << 32 | words[1]) >> 11;
    return (double)bits * 0x1p-53;
}

/* Box-Muller. Not inlined: gcc 12 would vectorise pairs of calls and then leave the vector registers in a state in which
   each call of the C library takes four times as long. */
static __attribute__((noinline)) void normal_pair(uint32_t first, uint32_t second, double values[2])
{
    const double two_pi = 6.283185307179586476925286766559;
    double u = ((double)first + 0.5) * 0x1p-32; /* in (0, 1): the logarithm is finite */
    double angle = two_pi * ((double)second + 0.5) * 0x1p-32;
    double radius = sqrt(-2.0 * log(u));
    values[0] = radius * cos(angle);
    values[1] = radius * sin(angle);
}

/* Values 4i .. 4i+3 come from the words at index i, two pairs. */
static void four_normals(RngStream stream, uint64_t index, double values[4])
{
    uint32_t words[4];
    rng_words(stream, index, words);
    normal_pair(words[0], words[1], values);
    normal_pair(words[2], words[3], values + 2);
}

void rng_normal(RngStream stream, uint64_t first, size_t count, double *values)
{
    double four[4];
    for (size_t i = 0; i < count; i++) {
        uint64_t index = first + i;
        if (i == 0 || index % 4 == 0) four_normals(stream, index / 4, four);
        values[i] = four[index % 4];
    }
}

/* A four-round Feistel network permutes the numbers of 2*half_bits bits; walking the cycle until the value falls below
   `count` restricts it to 0 .. count - 1. The domain is less than four times `count`, so the walk is short. */
uint64_t rng_permute(RngStream stream, uint64_t count, uint64_t index)
{
    int half_bits = 1;
    while (half_bits < 31 && (UINT64_C(1) << (2 * half_bits)) < count) half_bits++;
    uint64_t mask = (UINT64_C(1) << half_bits) - 1;
    do {
        uint64_t left = index >> half_bits, right = index & mask;
        for (uint64_t round = 0; round < 4; round++) {
            uint32_t words[4];
            rng_words(stream, round << 62 | right, words);
            uint64_t next = left ^ (words[0] & mask);
            left = right;
            right = next;
        }
        index = left << half_bits | right;
    } while (index >= count);
    return index;
}
