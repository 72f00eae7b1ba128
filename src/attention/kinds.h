/* What the files of this folder offer to its table: one line each. */
#ifndef POLYSKETCH_ATTENTION_KINDS_H
#define POLYSKETCH_ATTENTION_KINDS_H

#include "src/attention/attention.h"
#include "src/attention/feature_map.h"

extern const AttentionKind attention_softmax;    /* softmax.c */
extern const AttentionKind attention_polynomial; /* polynomial.c */
extern const AttentionKind attention_polysketch; /* polysketch.c */
extern const AttentionKind attention_performer;  /* performer.c */

extern const FeatureMap feature_map_sketch_random;     /* sketch_random.c */
extern const FeatureMap feature_map_sketch_learned;    /* sketch_learned.c */
extern const FeatureMap feature_map_sketch_projection; /* sketch_projection.c */

#endif
