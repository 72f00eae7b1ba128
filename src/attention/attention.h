/* One attention mechanism: the interface, and the table of all of them.

   A kind has its option rows, its checks and its summary in its own file; CONTRIBUTING.md says how to add one. One whose weights
   are inner products of features needs only a FeatureMap (feature_map.h): linear.c turns any feature map into causal attention.

   Letters: B sequences of a micro-batch, N tokens of each on this rank, H heads, h = C/H numbers per head, T context
   length, b block length. Queries, keys and values are columns of one (B, N, 3C) matrix: [all heads of q; of k; of v]. */
#ifndef POLYSKETCH_ATTENTION_ATTENTION_H
#define POLYSKETCH_ATTENTION_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/attention/shares.h"
#include "src/base/arena.h"
#include "src/base/error.h"
#include "src/base/options.h"
#include "src/core/param_store.h"
#include "src/base/real.h"
#include "src/base/size.h"
#include "src/core/carried_link.h"
#include "src/core/sequence_link.h"

typedef struct AttentionKind AttentionKind;
typedef struct FeatureMap FeatureMap;

/* Near pairs: exact inside a block; exact also with the blocks just before it; or sketched like all others. */
typedef enum LocalKind { LOCAL_EXACT, LOCAL_WINDOW, LOCAL_SKETCH } LocalKind;
/* Their weights: the power that the sketch approximates, or exp(scale <q', k'>). */
typedef enum LocalWeight { LOCAL_POWER, LOCAL_EXP } LocalWeight;
/* Forgetting: gate.h. */
typedef enum GateKind { GATE_NONE, GATE_CONSTANT, GATE_DATA } GateKind;

/* What a layer attends by, learned together with its tensors. As the section [attention] of a configuration it holds for
   all layers; attention.pattern makes others of it for some. */
typedef struct AttentionSpec {
    int kind; /* row of the table of kinds */
    int64_t degree;
    double scale, denominator_one; /* scale NaN: by rule */
    int gate;                      /* GateKind */
    int sketch;                    /* polysketch: row of its table of sketches */
    int64_t sketch_size;
    int64_t sketch_levels;    /* L, of learned sketches */
    int64_t sketch_expansion; /* E, likewise */
    int local;                /* polysketch: LocalKind */
    int64_t window_blocks;    /* of LOCAL_WINDOW */
    int local_weight;         /* LocalWeight, of exact near pairs */
    double far_scale;         /* initial factor of sketched weights; 0: no such tensor */
    int64_t features;         /* performer */
    bool qk_norm;             /* softmax */
} AttentionSpec;

/* Which way a pass goes; in both, sums and rows travel over the ranks in ScanDirections of their own. */
typedef enum PassDirection { FORWARD, BACKWARD } PassDirection;

/* The sizes of one pass. */
typedef struct AttentionShape {
    size_t sequences;       /* B */
    size_t tokens;          /* N */
    size_t first_token;     /* position of this rank's first token in its sequence; a multiple of b */
    size_t context_length;  /* T; ATTENTION_NO_END where the tokens go on from a recurrent state */
    size_t block_length;    /* b: here alone, since most kinds may be computed with any */
    size_t least_blocks;    /* whole blocks that any rank but the last holds at least at a time */
    int position, segments; /* this rank, of the ranks that share the sequence */
    bool documents;         /* sequences may hold several: AttentionRun.document_starts */
} AttentionShape;

/* A context that is longer than any: what comes behind its tokens is not known yet. */
#define ATTENTION_NO_END ((size_t)1 << 48)

/* A recurrent state: what tokens that follow need of those so far. */
typedef struct DecodeShape {
    size_t max_tokens;   /* positions are below it */
    size_t block_length; /* b */
} DecodeShape;

/* A part of it, for files: (heads, rows, width), each head's rows dense. */
typedef struct StatePart {
    const char *name;
    real *at; /* NULL when only sizes are asked for */
    size_t heads, rows, width;
    size_t stride; /* numbers from a head to the next */
} StatePart;

enum { ATTENTION_MAX_SKETCH_LEVELS = 8, ATTENTION_MAX_TENSORS = 64, ATTENTION_STATE_PARTS = 8 };

/* One attention layer: what does not change from pass to pass. Indices are rows of the parameter table. */
typedef struct AttentionLayer {
    AttentionSpec spec; /* resolved */
    const AttentionKind *kind;
    const FeatureMap *map;                  /* of the linear kinds, else NULL */
    size_t heads, head_width;               /* H, h */
    int query_norm[2], key_norm[2];         /* weight, bias; where q' and k' are used */
    int gate_weight, gate_bias;             /* where there is a gate; the weight when it depends on the data */
    int far_scale;                          /* of sketches that have one; else -1 */
    bool norm_before_rotary;                /* the kind gets q', k' as q, k: the model norms them */
    int map_tensors[ATTENTION_MAX_TENSORS]; /* the feature map's, in its own order */
} AttentionLayer;

/* The tensors of one pass. The forward pass fills `out` and `saved`; the backward pass adds to the gradients and
   overwrites d_qkv and d_gate. */
typedef struct AttentionRun {
    const AttentionLayer *layer;
    AttentionShape shape;
    SequenceLink *link;
    ParamStore *params; /* with the layer's group acquired */
    const real *qkv;    /* (B, N, 3C), after the rotary embedding */
    const real *gate;   /* (B, H, N); NULL: no gate */
    /* (B, N): where in its sequence the document of each token begins, before which it sees nothing; NULL: at 0. Never falls
       from one token to the next. */
    const int32_t *document_starts;
    /* Not NULL: the tokens, of one sequence that is whole in this process, go on from this recurrent state, at the start of a
       block, and leave there what DecodeRun.state would be after them. Forward only, without documents. */
    real *state;
    DecodeShape state_shape; /* that it was made for */
    real *out;               /* (B, N, C) */
    real *saved;             /* saved_count() numbers that the forward pass leaves for the backward pass */
    const real *d_out;       /* (B, N, C) */
    real *d_qkv;             /* (B, N, 3C) */
    real *d_gate;            /* (B, H, N) */
    int64_t *clamped;        /* the backward pass adds the rows of heads whose normaliser had to be clamped; or NULL */
    ShareWatch watch;        /* what the forward pass counts; all zero in training */
    Arena *scratch;
} AttentionRun;

/* Decoding one token. */
typedef struct DecodeRun {
    const AttentionLayer *layer;
    DecodeShape shape;
    ParamStore *params;
    real *state;      /* decode_state_count() numbers, made for the same shape and zeroed before position 0 */
    size_t position;  /* they come in order from 0 on */
    const real *qkv;  /* (3C) */
    const real *gate; /* (H); NULL: no gate */
    real *out;        /* (C) */
    Arena *scratch;
} DecodeRun;

/* What one rank sends in one pass. */
typedef struct AttentionMessages {
    int count;
    size_t numbers; /* in all of them, B sequences */
    /* Of these, the numbers of each exclusive sum over the ranks, 0 where there is none; all others go to a neighbour. */
    size_t sums[2];
} AttentionMessages;

/* What a layer costs, for reports; products only, a multiply-add counted as 2. */
typedef struct AttentionCost {
    double forward_flops; /* per sequence of T tokens, all heads; the backward pass takes twice as many */
    double feature_flops; /* of these, those of the feature map */
    AttentionMessages forward, backward;
} AttentionCost;

struct AttentionKind {
    const char *name;    /* attention.kind */
    const char *summary; /* one line for logs */
    /* Rows of the options that only this kind reads, with offsets in AttentionSpec; may be NULL. */
    const OptionRow *(*options)(int *count);
    const char *variants; /* for messages: what else may stand in attention.pattern; or NULL */
    /* NULL where there is nothing to do: takes the WORD of `kind:WORD` in attention.pattern; replaces values "by rule";
       checks what rows cannot; whether the block length is part of the model. */
    bool (*set_variant)(AttentionSpec *, const char *word);
    void (*resolve)(AttentionSpec *, size_t head_width);
    bool (*check)(const AttentionSpec *, Message *problem);
    bool (*blocks_matter)(const AttentionSpec *);
    /* Adds the kind's tensors, named `prefix`.something, and sets the layer's indices. */
    void (*declare)(AttentionLayer *, ParamTable *, const char *prefix);
    size_t (*saved_count)(const AttentionLayer *, const AttentionShape *);
    /* Takes and releases all the scratch that forward and backward will take. */
    void (*plan)(const AttentionLayer *, const AttentionShape *, Arena *scratch);
    /* Collective over the ranks of the sequence. */
    void (*forward)(const AttentionRun *);
    void (*backward)(const AttentionRun *);
    /* Token by token: the recurrent state of one sequence. */
    size_t (*decode_state_count)(const AttentionLayer *, const DecodeShape *);
    /* The parts of a state, all of it together, in a fixed order; returns how many. In a state of fewer max_tokens a part has
       fewer rows, of the same numbers as long as positions stay below both. */
    int (*decode_state_parts)(const AttentionLayer *, const DecodeShape *, real *state,
                              StatePart parts[ATTENTION_STATE_PARTS]);
    void (*decode)(const DecodeRun *);
    void (*plan_decode)(const AttentionLayer *, const DecodeShape *, Arena *scratch);
    AttentionCost (*cost)(const AttentionLayer *, const AttentionShape *);
    /* What one stretch of a sequence hands to the next: prefix states, the window, sums of gates' gradients. NULL for the
       quadratic kinds, which look back at all keys. */
    CarriedCounts (*carried)(const AttentionLayer *, const AttentionShape *);
};

/* The rows of section [attention], of all kinds, with offsets in AttentionSpec; valid for ever. */
const OptionRow *attention_options(int *count);

/* The specs of all layers, resolved and checked: `common`, or what `pattern` makes of it ("" or "KIND*N,KIND:WORD,...", in the
   order of the layers). False with a message. */
bool attention_specs(const AttentionSpec *common, const char *pattern, size_t layers, size_t head_width,
                     AttentionSpec *specs, Message *problem);

const AttentionKind *attention_kind(const AttentionSpec *spec);
bool attention_same(const AttentionSpec *spec, const AttentionSpec *other);

/* Whether the block length is part of what a layer of this spec has learned, rather than a way to compute it. */
bool attention_blocks_matter(const AttentionSpec *spec);

/* The layer of a resolved spec; adds its tensors, named `prefix`.something, to `table`. */
AttentionLayer attention_declare(const AttentionSpec *spec, size_t heads, size_t head_width, ParamTable *table,
                                 const char *prefix);

static inline bool attention_has_gate(const AttentionLayer *layer) { return layer->spec.gate != GATE_NONE; }

/* document_starts of sequence s, (N); NULL where there are none. */
static inline const int32_t *attention_document_starts(const AttentionRun *run, size_t s)
{
    return run->document_starts ? run->document_starts + s * run->shape.tokens : NULL;
}

/* Below this a row's normaliser is replaced by it, so that nothing is divided by zero: where denominator_one = 0 and all
   weights of a row vanish. No other row comes near it. */
#define LEAST_NORMALISER ((real)0x1p-100)

/* delta (count) = 0 where the normaliser was clamped: a constant there, whose gradient does not flow. Returns how many. */
static inline int64_t attention_hold_clamped(real *delta, const real *normaliser, size_t count)
{
    int64_t clamped = 0;
    for (size_t i = 0; i < count; i++) {
        if (normaliser[i] > LEAST_NORMALISER) continue;
        delta[i] = 0;
        clamped++;
    }
    return clamped;
}

/* The rows of sequence s on this rank whose shares somebody watches. */
static inline TokenRange attention_watched_rows(const AttentionRun *run, size_t s)
{
    return shares_rows(&run->watch, s, (TokenRange){run->shape.first_token, run->shape.tokens});
}

static inline void attention_count_clamped(const AttentionRun *run, int64_t clamped)
{
    if (!run->clamped || clamped == 0) return;
#pragma omp atomic
    *run->clamped += clamped;
}

#endif
