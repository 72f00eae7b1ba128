/* Counter-based random numbers (Philox 4x32-10, Salmon et al., SC 2011, by the Random123 library).

   A value is a function of (seed, purpose, index) and of nothing else: not of the ranks, the threads or what was drawn
   before. There is no state to keep in a checkpoint. */
#ifndef POLYSKETCH_BASE_RNG_H
#define POLYSKETCH_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"

/* A stream of numbers; made by rng_stream(). */
typedef struct RngStream {
    uint64_t key;
} RngStream;

/* The stream of `purpose` (a tensor name, "dropout", "data order") under `seed`; `sub` numbers the streams of one
   purpose, for example by step. */
RngStream rng_stream(uint64_t seed, const char *purpose, uint64_t sub);

/* Four independent 32-bit words at `index`. */
void rng_words(RngStream stream, uint64_t index, uint32_t words[4]);

/* Uniform in [0, 1) at `index`, 53 bits. */
double rng_uniform(RngStream stream, uint64_t index);

/* Standard normal values of indices first .. first + count - 1 (Box-Muller). */
void rng_normal(RngStream stream, uint64_t first, size_t count, double *values);

/* A permutation of 0 .. count - 1: the image of `index`, computed without a table. */
uint64_t rng_permute(RngStream stream, uint64_t count, uint64_t index);

#endif
