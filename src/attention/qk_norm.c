#include "src/attention/qk_norm.h"

#include <stdio.h>

#include "src/tensor/layernorm.h"

static void declare_one(int index[2], AttentionLayer *layer, ParamTable *table, const char *prefix, const char *which)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s.weight", prefix, which);
    index[0] = param_table_add_vector(table, name, layer->head_width, 1);
    snprintf(name, sizeof name, "%s.%s.bias", prefix, which);
    index[1] = param_table_add_vector(table, name, layer->head_width, 0);
}

void qk_norm_declare(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    declare_one(layer->query_norm, layer, table, prefix, "query_norm");
    declare_one(layer->key_norm, layer, table, prefix, "key_norm");
}

void qk_norm_forward(const AttentionLayer *layer, ParamStore *params, real *query, size_t query_stride, real *key,
                     size_t key_stride, const real *qkv, size_t tokens)
{
    size_t width = layer->heads * layer->head_width;
    layernorm_forward(query, query_stride, qkv, 3 * width, param_values(params, layer->query_norm[0]),
                      param_values(params, layer->query_norm[1]), tokens, layer->heads, layer->head_width);
    layernorm_forward(key, key_stride, qkv + width, 3 * width, param_values(params, layer->key_norm[0]),
                      param_values(params, layer->key_norm[1]), tokens, layer->heads, layer->head_width);
}

void qk_norm_plan(const AttentionLayer *layer, Arena *scratch)
{
    size_t mark = arena_mark(scratch);
    arena_take(scratch, layernorm_scratch(layer->head_width));
    arena_release(scratch, mark);
}

static void backward_one(const AttentionLayer *layer, ParamStore *params, const int index[2], real *d_x,
                         const real *d_y, size_t d_y_stride, const real *x, size_t tokens, real *scratch)
{
    size_t stride = 3 * layer->heads * layer->head_width;
    layernorm_backward(d_x, stride, param_gradient(params, index[0]), param_gradient(params, index[1]), d_y, d_y_stride,
                       x, stride, param_values(params, index[0]), tokens, layer->heads, layer->head_width, scratch);
}

void qk_norm_backward(const AttentionLayer *layer, ParamStore *params, real *d_qkv, const real *d_query,
                      size_t d_query_stride, const real *d_key, size_t d_key_stride, const real *qkv, size_t tokens,
                      Arena *scratch)
{
    size_t mark = arena_mark(scratch), width = layer->heads * layer->head_width;
    real *partial = arena_take(scratch, layernorm_scratch(layer->head_width));
    backward_one(layer, params, layer->query_norm, d_qkv, d_query, d_query_stride, qkv, tokens, partial);
    backward_one(layer, params, layer->key_norm, d_qkv + width, d_key, d_key_stride, qkv + width, tokens, partial);
    arena_release(scratch, mark);
}
