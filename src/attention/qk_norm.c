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

static void forward_one(const AttentionLayer *layer, ParamStore *params, const int index[2], Matrix y, ConstMatrix x)
{
    NormWeights weights = {param_values(params, index[0]), param_values(params, index[1])};
    layernorm_forward(y, x, weights, layer->heads);
}

void qk_norm_forward(const AttentionLayer *layer, ParamStore *params, Matrix query, Matrix key, const real *qkv)
{
    size_t C = layer->heads * layer->head_width;
    ConstMatrix x = const_matrix_dense(qkv, query.rows, 3 * C);
    forward_one(layer, params, layer->query_norm, query, const_matrix_columns(x, 0, C));
    forward_one(layer, params, layer->key_norm, key, const_matrix_columns(x, C, C));
}

void qk_norm_plan(const AttentionLayer *layer, Arena *scratch)
{
    size_t mark = arena_mark(scratch);
    arena_take(scratch, layernorm_scratch(layer->head_width));
    arena_release(scratch, mark);
}

static void backward_one(const AttentionLayer *layer, ParamStore *params, const int index[2], Matrix d_x,
                         ConstMatrix d_y, ConstMatrix x, real *scratch)
{
    NormGradients gradients = {param_gradient(params, index[0]), param_gradient(params, index[1])};
    layernorm_backward(d_x, gradients, d_y, x, param_values(params, index[0]), layer->heads, scratch);
}

void qk_norm_backward(const AttentionLayer *layer, ParamStore *params, Matrix d_qk, ConstMatrix d_query,
                      ConstMatrix d_key, ConstMatrix qk, Arena *scratch)
{
    size_t mark = arena_mark(scratch), C = layer->heads * layer->head_width;
    real *partial = arena_take(scratch, layernorm_scratch(layer->head_width));
    backward_one(layer, params, layer->query_norm, matrix_columns(d_qk, 0, C), d_query, const_matrix_columns(qk, 0, C),
                 partial);
    backward_one(layer, params, layer->key_norm, matrix_columns(d_qk, C, C), d_key, const_matrix_columns(qk, C, C),
                 partial);
    arena_release(scratch, mark);
}
