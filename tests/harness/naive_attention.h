/* The definitions of the attention kinds, pair by pair and in double: what the kernels are compared with. */
#ifndef POLYSKETCH_TESTS_HARNESS_NAIVE_ATTENTION_H
#define POLYSKETCH_TESTS_HARNESS_NAIVE_ATTENTION_H

#include "src/model/model.h"

/* One sequence in blocks of `block` tokens. */
typedef struct NaiveInput {
    const real *qkv;       /* (T, 3C) */
    const real *gate;      /* (H, T), or NULL */
    const int32_t *starts; /* (T): the first position that each token sees, or NULL */
    size_t tokens, block;
    ShareWatch watch; /* of this sequence and layer: (1), (H); all zero: nothing is counted */
} NaiveInput;

/* out (T, C); params in the plain layout of the table. */
void naive_attention(const AttentionLayer *layer, const ParamTable *table, const real *params, const NaiveInput *input,
                     double *out);

/* Which queries or keys of a token. */
typedef struct NaiveSide {
    size_t head;
    bool keys;
} NaiveSide;

/* u (r numbers) of one vector x (h), q' or q as the map wants it. */
void naive_features(const AttentionLayer *layer, const ParamTable *table, const real *params, NaiveSide side,
                    const double *x, double *u);

#endif
