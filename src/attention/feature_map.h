/* What a linear attention kind supplies: a map u of queries and keys; linear.c does the rest.

   A self-tensored map (the polynomial sketches) has features u (x) u, so that weights <u(q), u(k)>^2 are never
   negative; linear.c forms them in the packed symmetric form of r(r+1)/2 numbers. Otherwise u itself is the feature. */
#ifndef POLYSKETCH_ATTENTION_FEATURE_MAP_H
#define POLYSKETCH_ATTENTION_FEATURE_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "src/attention/attention.h"
#include "src/tensor/matrix.h"

/* Tokens [first, end) of each of `sequences` sequences, of which this rank has N tokens each: (B, N). */
typedef struct TokenSpan {
    size_t sequences, tokens; /* B, N */
    size_t first, end;
} TokenSpan;

/* Tokens of one sequence that a thread maps at once, in cache; `first` counts all B N tokens. */
typedef struct TokenChunk {
    size_t first, count;
} TokenChunk;

/* A token's heads are rows of their own: about `target_rows` of them make a chunk, of one token at least. */
static inline size_t chunk_tokens(const AttentionLayer *layer, size_t target_rows)
{
    return larger(target_rows / layer->heads, 1);
}

static inline size_t chunk_rows(const AttentionLayer *layer, size_t target_rows)
{
    return chunk_tokens(layer, target_rows) * layer->heads;
}

static inline size_t chunks_per_sequence(const TokenSpan *span, size_t longest)
{
    return (span->end - span->first + longest - 1) / longest;
}

static inline size_t chunk_count(const TokenSpan *span, size_t longest)
{
    return span->sequences * chunks_per_sequence(span, longest);
}

static inline TokenChunk chunk_at(const TokenSpan *span, size_t longest, size_t index)
{
    size_t of_sequence = chunks_per_sequence(span, longest);
    size_t first = span->first + index % of_sequence * longest, rest = span->end - first;
    return (TokenChunk){index / of_sequence * span->tokens + first, rest < longest ? rest : longest};
}

/* One call of a map: of queries or of keys. */
typedef struct MapRun {
    const AttentionLayer *layer;
    ParamStore *params;
    TokenSpan span;
    bool keys;
    ConstMatrix x; /* (B N, H h); q' and k' without gaps between rows, and so their gradients */
    Arena *scratch;
} MapRun;

/* Gradients of a map's trained tensors, one behind the other, which each thread of a team sums up for itself. */
typedef struct MapGradients {
    size_t count; /* numbers of a thread */
    real *threads;
    int team; /* threads that have some */
} MapGradients;

/* For as many threads as there may be. */
MapGradients map_gradients_take(size_t count, Arena *scratch);
/* The calling thread's, zeroed; by all threads of a team. */
real *map_gradients_own(MapGradients *gradients);
/* Adds them to those of `tensors` (tensor_count), in the order of the threads: the sum is reproducible. */
void map_gradients_add(const MapGradients *gradients, ParamStore *params, const int *tensors, int tensor_count);

struct FeatureMap {
    const char *name;                                       /* of a sketch: attention.sketch */
    bool (*check)(const AttentionSpec *, Message *problem); /* what option rows cannot; or NULL */
    void (*resolve)(AttentionSpec *, size_t head_width);    /* values by rule; or NULL */
    bool normalised_input; /* x is q' = LN(q) and k' = LN(k), rather than q and k after the rotary embedding */
    bool self_tensored;
    bool scales_queries;                     /* forward() may shrink a query's features, and says by how much */
    size_t (*width)(const AttentionLayer *); /* r: numbers in u */
    void (*declare)(AttentionLayer *, ParamTable *, const char *prefix);
    /* Takes and releases the scratch of both passes. */
    void (*plan)(const AttentionLayer *, size_t tokens, Arena *scratch);
    /* u (B, N, H, r) of x where the span says; elsewhere u stays as it was. `factors` (B, N, H): of queries when the map
       scales them, what each one's features were multiplied by; else NULL. */
    void (*forward)(const MapRun *, real *u, real *factors);
    /* d_x (B N, H h) += ... from d_u and u (B, N, H, r); adds to the gradients of the map's trained tensors. */
    void (*backward)(const MapRun *, Matrix d_x, const real *d_u, const real *u);
    /* Multiply-adds count 2; of one token and head, forward, one of q and k. */
    double (*flops)(const AttentionLayer *);
};

#endif
