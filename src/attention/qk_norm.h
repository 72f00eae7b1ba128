/* q' = LN_q(q), k' = LN_k(k): the two layer norms over a head's numbers, one pair per layer, shared by its heads. */
#ifndef POLYSKETCH_ATTENTION_QK_NORM_H
#define POLYSKETCH_ATTENTION_QK_NORM_H

#include "src/attention/attention.h"
#include "src/tensor/matrix.h"

void qk_norm_declare(AttentionLayer *layer, ParamTable *table, const char *prefix);

/* Takes and releases the scratch of the backward pass. */
void qk_norm_plan(const AttentionLayer *layer, Arena *scratch);

/* query (tokens, C) and key (tokens, C) from qkv (tokens, 3C), whose columns they may be. */
void qk_norm_forward(const AttentionLayer *layer, ParamStore *params, Matrix query, Matrix key, const real *qkv);

/* d_qk += ..., gradients of the norms += ... from d_query and d_key (tokens, C) at qk. The first C columns of d_qk and qk are
   q, the next C are k; more may follow. */
void qk_norm_backward(const AttentionLayer *layer, ParamStore *params, Matrix d_qk, ConstMatrix d_query,
                      ConstMatrix d_key, ConstMatrix qk, Arena *scratch);

#endif
