/* Small whole files of our own, and reading them to the last byte: what damage is done to, and what notices it. */
#ifndef POLYSKETCH_TESTS_FAULTS_SEED_FILES_H
#define POLYSKETCH_TESTS_FAULTS_SEED_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/error.h"

/* A checkpoint with moments, tensors that are not trained and a tokenizer, or a token file with pieces. */
typedef struct SeedKind {
    const char *name; /* of the file, too */

    /* Collective. */
    void (*write)(const char *path);

    /* Reads the file with every reader there is. False with a message when one of them refuses it, otherwise `digest`
       is that of every number and text that was read. */
    bool (*read)(const char *path, uint64_t *digest, Message *problem);
} SeedKind;

extern const SeedKind seed_kinds[];
extern const int seed_kind_count;

/* NULL when there is none of that name. */
const SeedKind *seed_kind_named(const char *name);

#endif
