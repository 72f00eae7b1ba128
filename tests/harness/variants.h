/* Every attention variant of the program, on a model small enough for finite differences. */
#ifndef POLYSKETCH_TESTS_HARNESS_VARIANTS_H
#define POLYSKETCH_TESTS_HARNESS_VARIANTS_H

#include <stdbool.h>
#include <stdint.h>

#include "src/model/model.h"
#include "src/train/config.h"

typedef struct Variant {
    const char *name;
    const char *settings; /* "option=value option=value ..." of section attention */
} Variant;

extern const Variant variants[];
extern const int variant_count;

/* Models whose layers differ: for three layers, HYBRID_LAYERS. */
#define HYBRID_LAYERS "model.layers=3 "
extern const Variant hybrids[];
extern const int hybrid_count;

/* Kinds whose sequences can be computed in stretches: linear ones, in all layers. */
bool variant_is_linear(const Variant *variant);

/* Whether the block length is part of what such a model learns. */
bool variant_blocks_matter(const Variant *variant);

/* A finished configuration of 2 layers, width 16, 2 heads, vocabulary 11, b = 4, r = 3, T = 22 (so the last block is
   short), and then the variant's settings and `more` ("section.key=value ..." or NULL). */
Config variant_config(const Variant *variant, const char *more);

/* The model of such a configuration, and how it is computed on `sequences` sequences. */
Model *variant_model(const Config *config);
PassSpec variant_pass(const Config *config, size_t sequences);

/* Parameters with every tensor away from its initial value, so that no gradient is zero by symmetry. */
real *variant_parameters(const Model *model, uint64_t seed);

/* Where the documents of each of the pass's sequences begin, (sequences, T) as TokenBatch.document_starts; NULL for a pass
   without documents. Some are of one token, some of several blocks, and they differ from sequence to sequence. */
int32_t *variant_document_starts(const PassSpec *spec);

/* count random tokens below `vocab_size`. */
int32_t *random_tokens(size_t count, int64_t vocab_size, uint64_t seed);

/* count standard normal numbers times `scale`. */
real *random_reals(size_t count, double scale, uint64_t seed);

#endif
