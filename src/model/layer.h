/* One transformer layer, forward and backward. */
#ifndef POLYSKETCH_MODEL_LAYER_H
#define POLYSKETCH_MODEL_LAYER_H

#include "src/base/rng.h"
#include "src/model/pass.h"

/* What a layer leaves for its backward pass; norms and GELUs are computed again. */
typedef struct LayerSaved {
    real *qkv;            /* (B, N, 3C), after the rotary embedding */
    real *gate;           /* (B, H, N); NULL without a gate */
    real *raw_qk;         /* (B, N, 2C) q and k before their norms, with norm_before_rotary alone */
    real *attention;      /* AttentionKind.saved_count() */
    real *attention_out;  /* (B, N, C) before the output projection */
    real *middle;         /* (B, N, C) residual after attention */
    real *feedforward_in; /* (B, N, 2F or F) */
} LayerSaved;

/* What all layers of a pass share. */
typedef struct LayerRun {
    const Model *model;
    AttentionShape shape;
    SequenceLink *link;
    const int32_t *document_starts; /* AttentionRun.document_starts */
    const real *rotary;             /* (N, 2, h/2) */
    ParamStore *params;             /* the layer acquires and releases its group */
    Arena *scratch;
    int64_t *clamped;     /* AttentionRun.clamped */
    ShareWatch watch;     /* of all layers */
    CarriedLink *carried; /* `link`'s, in stretches; else NULL */
    real *const *states;  /* (layers) AttentionRun.state; NULL: none */
    DecodeShape state_shape;
    double dropout_rate; /* 0 when evaluating */
    DropoutKey dropout;
} LayerRun;

/* Numbers of LayerSaved.attention. */
size_t layer_attention_count(const Layer *layer, const AttentionShape *shape);

/* `attention`: memory for what attention leaves, where layers take turns with one; NULL: the layer gets its own. */
LayerSaved layer_take_saved(const Model *model, const Layer *layer, const AttentionShape *shape, real *attention,
                            bool shared, Arena *arena);
/* Takes and releases the scratch of both passes. */
void layer_plan(const Model *model, const Layer *layer, const PassSpec *spec, const AttentionShape *shape,
                PassPurpose purpose, Arena *scratch);

/* x_out (B, N, C) from x (B, N, C); they must differ. */
void layer_forward(const LayerRun *run, size_t index, const LayerSaved *saved, real *x_out, const real *x);

/* Fills saved->attention again, for the backward pass of this layer; the same bits. Collective like the first time. */
void layer_attention_again(const LayerRun *run, size_t index, const LayerSaved *saved);

/* d_x (B, N, C): gradient of x_out on entry, of x on return. */
void layer_backward(const LayerRun *run, size_t index, const LayerSaved *saved, real *d_x, const real *x);

#endif
