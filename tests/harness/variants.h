/* Every attention variant of the program, on a model small enough for finite differences. */
#ifndef POLYSKETCH_TESTS_HARNESS_VARIANTS_H
#define POLYSKETCH_TESTS_HARNESS_VARIANTS_H

#include <stdint.h>

#include "src/base/config.h"
#include "src/model/model.h"

typedef struct Variant {
    const char *name;
    const char *settings; /* "option=value option=value ..." of section attention */
} Variant;

extern const Variant variants[];
extern const int variant_count;

/* A resolved configuration of 2 layers, width 16, 2 heads, vocabulary 11, b = 4, r = 3, T = 22 (so the last block is
   short), and then the variant's settings and `more` ("section.key=value ..." or NULL). */
Config variant_config(const Variant *variant, const char *more);

/* Parameters with every tensor away from its initial value, so that no gradient is zero by symmetry. */
real *variant_parameters(const Model *model, uint64_t seed);

/* count random tokens below `vocab_size`. */
int32_t *random_tokens(size_t count, int64_t vocab_size, uint64_t seed);

/* count standard normal numbers times `scale`. */
real *random_reals(size_t count, double scale, uint64_t seed);

#endif
