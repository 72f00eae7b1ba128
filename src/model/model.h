/* The language model: embedding, layers, tied output layer, loss; forward and backward over one micro-batch.

       x    = E[token]
       x   += dropout( Attention(LN(x)) )          per layer
       x   += dropout( FeedForward(LN(x)) )        per layer
       loss = mean of -log softmax(LN(x) E^T + logit_bias)[next token]

   A Model is the plan: its tensors and their places, no memory for values. A ModelPass is the memory of passes of one
   shape: made once, used at every step; after it is made nothing allocates. */
#ifndef POLYSKETCH_MODEL_MODEL_H
#define POLYSKETCH_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "src/attention/attention.h"
#include "src/base/arena.h"
#include "src/base/config.h"
#include "src/base/param_table.h"
#include "src/base/sequence_link.h"

/* Rows of the parameter table. */
typedef struct Layer {
    AttentionLayer attention;
    int attention_norm[2], feedforward_norm[2]; /* weight, bias (C) */
    int qkv;                                    /* (3C, C) */
    int out;                                    /* (C, C) */
    int feedforward_in;                         /* (2F, C) glu, (F, C) gelu */
    int feedforward_out;                        /* (C, F) */
} Layer;

typedef struct Model {
    Config config; /* resolved */
    ParamTable table;
    Layer *layers;
    int embedding;     /* (V, C) */
    int logit_bias;    /* (V) */
    int final_norm[2]; /* (C) */
    size_t layer_count, width, heads, head_width, feedforward_width, feedforward_in_width,
        vocab_size; /* L C H h F 2F|F V */
} Model;

/* `config` resolved and checked. Owned by the caller; model_destroy(). */
Model *model_create(const Config *config);
void model_destroy(Model *model);

typedef enum PassPurpose { PASS_EVALUATE, PASS_TRAIN } PassPurpose;

typedef struct ModelPass ModelPass;

/* Memory for passes over `shape`. `link` must outlive it. */
ModelPass *model_pass_create(const Model *model, AttentionShape shape, SequenceLink *link, PassPurpose purpose);
void model_pass_destroy(ModelPass *pass);

AttentionShape model_pass_shape(const ModelPass *pass);

/* The tokens of a sequence that this rank holds: one range, or one for each stretch of the sequence (train.stretch_length).
   In all inputs and results below the N tokens of a sequence are those of its ranges, one after another. */
size_t model_pass_stretches(const ModelPass *pass);
TokenRange model_pass_range(const ModelPass *pass, size_t stretch);
size_t model_pass_tokens(const ModelPass *pass); /* N */

/* Bytes that model_pass_create() would take, without taking them: kept from forward to backward, and scratch. */
typedef struct PassBytes {
    size_t activations, scratch;
} PassBytes;
PassBytes model_pass_bytes(const Model *model, AttentionShape shape, PassPurpose purpose);

/* The shape of rank `position` of `segments` for micro-batches of B sequences; whole sequences, whatever
   train.stretch_length. */
AttentionShape model_shape(const Config *config, size_t sequences, size_t context_length, int position, int segments);

/* Tokens of the longest range that rank `position` of `segments` holds at a time: of a whole sequence, or of a stretch. */
size_t model_longest_range(const Config *config, size_t context_length, int position, int segments);

/* What dropout masks depend on: never on the grid of ranks. */
typedef struct DropoutKey {
    uint64_t seed, step;
    uint64_t first_sequence; /* number in the batch of the micro-batch's first sequence */
} DropoutKey;

/* Sum of the losses of this rank's tokens. inputs, targets (B, N). `losses` (B, N) or NULL. No dropout. A pass of either
   purpose will do. Collective over the ranks of the sequence. */
double model_evaluate(ModelPass *pass, const real *params, const int32_t *inputs, const int32_t *targets, real *losses);

/* The same, and grads (trained_count) += gradient of loss_scale * sum of losses. Collective over the ranks of the
   sequence; gradients are this rank's share, to be summed over all ranks. */
double model_train(ModelPass *pass, const real *params, real *grads, const int32_t *inputs, const int32_t *targets,
                   real loss_scale, DropoutKey dropout);

/* Rows of heads, in all layers of this rank, whose normaliser model_train() had to clamp since the last call of this function:
   their sketched sums were lost in rounding, or they had no weight at all. 0 in a sound run. */
int64_t model_pass_take_clamped(ModelPass *pass);

/* Useful floating-point operations of one training step per sequence of T tokens: forward products and twice as many
   backward; causal halves, packed features, nothing computed again. */
double model_train_flops(const Model *model, size_t context_length);

#endif
