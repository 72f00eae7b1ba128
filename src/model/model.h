/* The language model: embedding, layers, tied output layer, loss.

       x    = E[token]
       x   += dropout( Attention(LN(x)) )          per layer
       x   += dropout( FeedForward(LN(x)) )        per layer
       out  = LN(x) E^T + logit_bias               and soft_cap tanh(out / soft_cap) of that, if there is a cap
       loss = mean of -log softmax(out)[next token]

   A Model says what is learned: its tensors and how they are used, no memory for values (ParamStore), nothing about how
   it is computed (PassSpec, pass.h). It does not change once it is made. */
#ifndef POLYSKETCH_MODEL_MODEL_H
#define POLYSKETCH_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "src/attention/attention.h"
#include "src/core/param_table.h"

typedef enum FeedForwardKind { FEEDFORWARD_GLU, FEEDFORWARD_GELU } FeedForwardKind;

/* What is learned. */
typedef struct ModelSpec {
    size_t layers, width, heads, vocab_size; /* L C H V; C a multiple of 2H */
    size_t feedforward_width;                /* F */
    FeedForwardKind feedforward;
    double logit_soft_cap;          /* 0: none */
    double rotary_share;            /* 0 to 1: part of the pairs of a head that the rotary embedding turns */
    bool zero_init_branches;        /* what ends a residual branch starts at 0 */
    const AttentionSpec *attention; /* of each layer, resolved */
} ModelSpec;

/* Rows of the parameter table. */
typedef struct Layer {
    AttentionLayer attention;
    int group;
    int attention_norm[2], feedforward_norm[2]; /* weight, bias (C) */
    int qkv;                                    /* (3C, C) */
    int out;                                    /* (C, C) */
    int feedforward_in;                         /* (2F, C) glu, (F, C) gelu */
    int feedforward_out;                        /* (C, F) */
} Layer;

typedef struct Model {
    ParamTable table;
    Layer *layers;
    int embedding;     /* (V, C) */
    int logit_bias;    /* (V) */
    int final_norm[2]; /* (C) */
    int embedding_group, output_group;
    FeedForwardKind feedforward;
    double logit_soft_cap;
    double *rotary_turns; /* (h/2): rotary_fill_turns() */
    size_t layer_count, width, heads, head_width, feedforward_width, feedforward_in_width,
        vocab_size; /* L C H h F 2F|F V */
} Model;

/* Owned by the caller; model_destroy(). */
Model *model_create(const ModelSpec *spec);
void model_destroy(Model *model);

/* Useful floating-point operations of one training step per sequence of T tokens in blocks of b: forward products and twice as
   many backward; causal halves, packed features, nothing computed again. */
double model_train_flops(const Model *model, size_t context_length, size_t block_length);
/* Of these, what sketches and other maps of queries and keys take. */
double model_feature_flops(const Model *model, size_t context_length, size_t block_length);

#endif
