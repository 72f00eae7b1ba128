/* q' = LN_q(q), k' = LN_k(k): the two layer norms over a head's numbers, one pair per layer, shared by its heads. */
#ifndef POLYSKETCH_ATTENTION_QK_NORM_H
#define POLYSKETCH_ATTENTION_QK_NORM_H

#include "src/attention/attention.h"
#include "src/tensor/matrix.h"

void qk_norm_declare(AttentionLayer *layer, ParamTable *table, const char *prefix);

/* Takes and releases the scratch of the backward pass. */
void qk_norm_plan(const AttentionLayer *layer, Arena *scratch);

/* query (tokens, C) and key (tokens, C) from qkv (tokens, 3C). */
void qk_norm_forward(const AttentionLayer *layer, ParamStore *params, Matrix query, Matrix key, const real *qkv);

/* The columns of q and k in d_qkv (tokens, 3C) += ...; gradients of the norms += ... d_query and d_key (tokens, C). */
void qk_norm_backward(const AttentionLayer *layer, ParamStore *params, real *d_qkv, ConstMatrix d_query,
                      ConstMatrix d_key, const real *qkv, Arena *scratch);

#endif
