/* The scale on which a layer computes powers, so that none of them overflows.

   q' = LN_q(q) is at most max |weight| sqrt(h) + |bias| long, whatever the token, and so is k' with its own norm. So a layer's
   parameters alone bound its scores: no token looks at another, and every rank finds the same. Where the bound's power
   exceeds 2^80, scores are multiplied by a power of two, c. Every weight and the constant of the normaliser then carry the factor
   c^p, and outputs none. With gains of ordinary size c is 1.

   Weights 2^-200 times the bound's power and smaller may underflow. */
#ifndef POLYSKETCH_ATTENTION_POWER_SCALE_H
#define POLYSKETCH_ATTENTION_POWER_SCALE_H

#include "src/attention/attention.h"

typedef struct PowerScale {
    real scale;  /* of <q', k'>: c * attention.scale */
    real factor; /* c^p: what weights that are no powers of such scores must be multiplied by */
    real one;    /* c^p * attention.denominator_one */
    real log_factor;
} PowerScale;

/* Of a layer that uses q' and k'. */
PowerScale power_scale(const AttentionLayer *layer, ParamStore *params);

/* Weights must not be negative: an even degree. AttentionKind.check. */
bool power_degree_check(const AttentionSpec *spec, Message *problem);

/* Of one that does not: c = 1. */
PowerScale power_scale_free(const AttentionLayer *layer);

#endif
