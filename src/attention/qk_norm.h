/* q' = LN_q(q), k' = LN_k(k): the two layer norms over a head's numbers, one pair per layer, shared by its heads. */
#ifndef POLYSKETCH_ATTENTION_QK_NORM_H
#define POLYSKETCH_ATTENTION_QK_NORM_H

#include "src/attention/attention.h"

void qk_norm_declare(AttentionLayer *layer, ParamTable *table, const char *prefix);

/* Takes and releases the scratch of the backward pass. */
void qk_norm_plan(const AttentionLayer *layer, Arena *scratch);

/* query (tokens, C) and key (tokens, C), rows `stride` apart, from qkv (tokens, 3C). */
void qk_norm_forward(const AttentionLayer *layer, ParamStore *params, real *query, size_t query_stride, real *key,
                     size_t key_stride, const real *qkv, size_t tokens);

/* The columns of q and k in d_qkv += ...; gradients of the norms += ... */
void qk_norm_backward(const AttentionLayer *layer, ParamStore *params, real *d_qkv, const real *d_query,
                      size_t d_query_stride, const real *d_key, size_t d_key_stride, const real *qkv, size_t tokens,
                      Arena *scratch);

#endif
