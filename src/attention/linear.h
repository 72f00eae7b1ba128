/* Causal attention in linear time for any feature map (feature_map.h): what the rows of linear kinds have in common. They
   differ in their tensors and in layer->map, which their declare() sets. */
#ifndef POLYSKETCH_ATTENTION_LINEAR_H
#define POLYSKETCH_ATTENTION_LINEAR_H

#include "src/attention/attention.h"

/* Whether a layer computes near pairs exactly, from q' and k', and whether it needs q' and k' at all. */
bool linear_exact_local(const AttentionLayer *layer);
bool linear_uses_qk_norm(const AttentionLayer *layer);

size_t linear_saved_count(const AttentionLayer *layer, const AttentionShape *shape);
void linear_plan(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch);
void linear_forward(const AttentionRun *run);
void linear_backward(const AttentionRun *run);
size_t linear_decode_state_count(const AttentionLayer *layer, const DecodeShape *shape);
int linear_decode_state_parts(const AttentionLayer *layer, const DecodeShape *shape, real *state,
                              StatePart parts[ATTENTION_STATE_PARTS]);
void linear_plan_decode(const AttentionLayer *layer, const DecodeShape *shape, Arena *scratch);
void linear_decode(const DecodeRun *run);
AttentionCost linear_cost(const AttentionLayer *layer, const AttentionShape *shape);
CarriedCounts linear_carried(const AttentionLayer *layer, const AttentionShape *shape);

#define LINEAR_FUNCTIONS                                                                                               \
    .saved_count = linear_saved_count, .plan = linear_plan, .forward = linear_forward, .backward = linear_backward,    \
    .decode_state_count = linear_decode_state_count, .decode_state_parts = linear_decode_state_parts,                  \
    .decode = linear_decode, .plan_decode = linear_plan_decode, .cost = linear_cost, .carried = linear_carried

#endif
