/* Forward and backward passes of a model over micro-batches of one shape, on one rank of those that share the sequences.

   A PassSpec says how a model is computed: nothing of it changes what is learned but rounding (and dropout, z_loss and
   label_smoothing, which training alone knows). A
   ModelPass is the memory of such passes: made once, used at every step; after it is made nothing allocates. */
#ifndef POLYSKETCH_MODEL_PASS_H
#define POLYSKETCH_MODEL_PASS_H

#include "src/core/param_store.h"
#include "src/core/sequence_link.h"
#include "src/core/token_batch.h"
#include "src/model/model.h"

typedef enum RecomputeKind { RECOMPUTE_NONE, RECOMPUTE_ATTENTION, RECOMPUTE_LAYER } RecomputeKind;

typedef struct PassSpec {
    size_t sequences;      /* B of a micro-batch */
    size_t context_length; /* T */
    size_t block_length;   /* b; that of training where attention_blocks_matter() */
    size_t stretches;      /* parts of a sequence that are computed one after another */
    RecomputeKind recompute;
    bool distances;                 /* model_evaluate() can measure them: ShareWatch.distances */
    bool documents;                 /* no token sees beyond the start of its document: TokenBatch.document_starts */
    double dropout;                 /* rate, in training passes */
    double z_loss, label_smoothing; /* LossSpec, in training passes */
} PassSpec;

/* The shape of rank `position` of `segments`; whole sequences, whatever the stretches. */
AttentionShape pass_shape(const PassSpec *spec, int position, int segments);

/* Tokens of the longest range that rank `position` of `segments` holds at a time: of a whole sequence, or of a stretch. */
size_t pass_longest_range(const PassSpec *spec, int position, int segments);

typedef enum PassPurpose { PASS_EVALUATE, PASS_TRAIN, PASS_READ } PassPurpose;

typedef struct ModelPass ModelPass;

/* `link` must outlive it; its position and segments say which tokens are this rank's. */
ModelPass *model_pass_create(const Model *model, const PassSpec *spec, SequenceLink *link, PassPurpose purpose);
void model_pass_destroy(ModelPass *pass);

const Model *model_pass_model(const ModelPass *pass);
const PassSpec *model_pass_spec(const ModelPass *pass);

/* The tokens of a sequence that this rank holds: one range, or one for each stretch of the sequence (train.stretch_length).
   In all inputs and results below the N tokens of a sequence are those of its ranges, one after another. */
TokenRange model_pass_range(const ModelPass *pass, size_t stretch);
size_t model_pass_tokens(const ModelPass *pass); /* N */

/* Bytes that model_pass_create() would take on rank `position` of `segments`, without taking them: kept from forward to
   backward, and scratch. */
typedef struct PassBytes {
    size_t activations, scratch;
} PassBytes;
PassBytes model_pass_bytes(const Model *model, const PassSpec *spec, int position, int segments, PassPurpose purpose);

/* What dropout masks depend on: never on the grid of ranks. */
typedef struct DropoutKey {
    uint64_t seed, step;
    uint64_t first_sequence; /* number in the batch of the micro-batch's first sequence */
} DropoutKey;

/* Sum of the losses of this rank's tokens. The batch has document_starts where the spec has documents, and only there.
   `losses` (B, N) or NULL; `correct` (B, N) or NULL: 1 where the likeliest token is the target. `watch` or NULL: adds what the
   heads of all layers attend with. No dropout. A pass of either purpose will do. Collective over the ranks of the store. */
double model_evaluate(ModelPass *pass, ParamStore *params, const TokenBatch *batch, real *losses, uint8_t *correct,
                      const ShareWatch *watch);

/* The same, and adds the gradient of loss_scale * sum of losses (with z_loss or label_smoothing: of what these make of it, while
   the losses stay plain cross entropy) to those of `params`: this rank's share, which the store sums
   over all ranks. The store is told when a group's gradients were added. Collective over the ranks of the store. */
double model_train(ModelPass *pass, ParamStore *params, const TokenBatch *batch, real loss_scale, DropoutKey dropout);

/* Of a pass made to PASS_READ, of one sequence: `count` tokens, at most context_length, go on from the recurrent states
   (layers) at `position`, where a block begins, and leave there what decoding them one by one would. Returns the last
   residual row (C) of the last token, which is the pass's. All groups of `params` are acquired. Local. */
const real *model_read(ModelPass *pass, ParamStore *params, const int32_t *tokens, size_t count, size_t position,
                       real *const *states, DecodeShape state_shape);

/* Rows of heads, in all layers of this rank, whose normaliser model_train() had to clamp since the last call of this function:
   their sketched sums were lost in rounding, or they had no weight at all. 0 in a sound run. */
int64_t model_pass_take_clamped(ModelPass *pass);

#endif
