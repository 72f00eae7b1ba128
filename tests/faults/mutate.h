/* Random damage to the bytes of a file. */
#ifndef POLYSKETCH_TESTS_FAULTS_MUTATE_H
#define POLYSKETCH_TESTS_FAULTS_MUTATE_H

#include <stddef.h>
#include <stdint.h>

typedef struct Bytes {
    uint8_t *data;
    size_t count;
} Bytes;

/* A copy of `original` with one to three wounds, a function of (seed, number) alone; the caller frees its data. The words
   of `description` (256 bytes) say what was done. */
Bytes mutate(Bytes original, uint64_t seed, uint64_t number, char description[256]);

#endif
