/* Draws the next token from logits. */
#ifndef POLYSKETCH_MODEL_SAMPLER_H
#define POLYSKETCH_MODEL_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"

typedef struct SamplerSettings {
    double temperature; /* 0: always the most likely token */
    int64_t top_k;      /* only the k most likely tokens; 0: all */
    double top_p;       /* of these only the most likely ones that reach this share of their probability; 1: all */
} SamplerSettings;

typedef struct Sampler Sampler;

Sampler *sampler_create(SamplerSettings settings, size_t vocab_size);
void sampler_destroy(Sampler *sampler);

/* `uniform` in [0, 1) decides; equal logits are ordered by token. */
int32_t sampler_draw(Sampler *sampler, const real *logits /* (V) */, double uniform);

#endif
