/* What a linear attention kind supplies: a map u of queries and keys; linear.c does the rest.

   A self-tensored map (the polynomial sketches) has features u (x) u, so that weights <u(q), u(k)>^2 are never
   negative; linear.c forms them in the packed symmetric form of r(r+1)/2 numbers. Otherwise u itself is the feature. */
#ifndef POLYSKETCH_ATTENTION_FEATURE_MAP_H
#define POLYSKETCH_ATTENTION_FEATURE_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "src/attention/attention.h"

struct FeatureMap {
    bool normalised_input; /* x is q' = LN(q) and k' = LN(k), rather than q and k after the rotary embedding */
    bool self_tensored;
    size_t (*width)(const AttentionLayer *); /* r: numbers in u */
    void (*declare)(AttentionLayer *, ParamTable *, const char *prefix);
    /* Takes and releases the scratch of both passes. */
    void (*plan)(const AttentionLayer *, size_t tokens, Arena *scratch);
    /* u (tokens, H, r) of x (tokens, H, h), whose tokens are x_stride apart. */
    void (*forward)(const AttentionLayer *, const real *params, real *u, const real *x, size_t x_stride, size_t tokens,
                    Arena *scratch);
    /* d_x (tokens, H, h) += ..., tokens d_x_stride apart; adds to the gradients of the map's trained tensors. */
    void (*backward)(const AttentionLayer *, const real *params, real *grads, real *d_x, size_t d_x_stride,
                     const real *d_u, const real *u, const real *x, size_t x_stride, size_t tokens, Arena *scratch);
    /* Multiply-adds count 2; of one token and head, forward, one of q and k. */
    double (*flops)(const AttentionLayer *);
};

#endif
