#include "src/model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/memory.h"
#include "src/tensor/rotary.h"

static void add_norm(ParamTable *table, int norm[2], const char *prefix, const char *which, size_t width)
{
    char name[128];
    snprintf(name, sizeof name, "%s%s.weight", prefix, which);
    norm[0] = param_table_add_vector(table, name, width, 1);
    snprintf(name, sizeof name, "%s%s.bias", prefix, which);
    norm[1] = param_table_add_vector(table, name, width, 0);
}

/* deviation 0: all are 0 */
static int add_dense(ParamTable *table, const char *prefix, const char *which, size_t out, size_t in, double deviation)
{
    char name[128];
    snprintf(name, sizeof name, "%s%s.weight", prefix, which);
    return param_table_add_matrix(table, name, out, in, deviation > 0 ? INIT_NORMAL : INIT_CONSTANT, deviation);
}

static void declare_layer(Model *model, const ModelSpec *spec, size_t index)
{
    /* The projections that end a residual branch start smaller: the sum over layers keeps its size. Or at 0: each layer then
       starts as the identity. */
    const double deviation = 0.02;
    const double ending = spec->zero_init_branches ? 0 : 0.02 / sqrt(2.0 * (double)model->layer_count);
    Layer *layer = &model->layers[index];
    ParamTable *table = &model->table;
    size_t C = model->width;
    char prefix[64], attention_prefix[80];
    snprintf(prefix, sizeof prefix, "layers.%zu.", index);
    layer->group = param_table_begin_group(table);
    snprintf(attention_prefix, sizeof attention_prefix, "%sattention", prefix);
    add_norm(table, layer->attention_norm, prefix, "attention_norm", C);
    layer->qkv = add_dense(table, prefix, "attention.qkv", 3 * C, C, deviation);
    param_table_hidden(table, layer->qkv, 3);
    layer->attention =
        attention_declare(&spec->attention[index], model->heads, model->head_width, table, attention_prefix);
    layer->out = add_dense(table, prefix, "attention.out", C, C, ending);
    param_table_hidden(table, layer->out, 1);
    add_norm(table, layer->feedforward_norm, prefix, "feedforward_norm", C);
    layer->feedforward_in = add_dense(table, prefix, "feedforward.in", model->feedforward_in_width, C, deviation);
    layer->feedforward_out = add_dense(table, prefix, "feedforward.out", C, model->feedforward_width, ending);
    param_table_hidden(table, layer->feedforward_in, model->feedforward == FEEDFORWARD_GLU ? 2 : 1);
    param_table_hidden(table, layer->feedforward_out, 1);
}

Model *model_create(const ModelSpec *spec)
{
    Model *model = checked_calloc(1, sizeof *model);
    model->layer_count = spec->layers;
    model->width = spec->width;
    model->heads = spec->heads;
    model->head_width = spec->width / spec->heads;
    model->feedforward = spec->feedforward;
    model->feedforward_width = spec->feedforward_width;
    model->feedforward_in_width = spec->feedforward_width * (spec->feedforward == FEEDFORWARD_GLU ? 2 : 1);
    model->vocab_size = spec->vocab_size;
    model->logit_soft_cap = spec->logit_soft_cap;
    size_t turned_pairs = (size_t)lround(spec->rotary_share * (double)(model->head_width / 2));
    model->rotary_turns = checked_calloc(model->head_width / 2, sizeof *model->rotary_turns);
    rotary_fill_turns(model->rotary_turns, model->head_width, turned_pairs);
    model->layers = checked_calloc(model->layer_count, sizeof *model->layers);
    model->embedding_group = param_table_begin_group(&model->table);
    model->embedding = param_table_add_matrix(&model->table, "token_embedding.weight", model->vocab_size, model->width,
                                              INIT_NORMAL, 0.02);
    param_table_no_decay(&model->table, model->embedding);
    for (size_t i = 0; i < model->layer_count; i++) declare_layer(model, spec, i);
    model->output_group = param_table_begin_group(&model->table);
    add_norm(&model->table, model->final_norm, "", "final_norm", model->width);
    model->logit_bias = param_table_add_vector(&model->table, "logit_bias", model->vocab_size, 0);
    param_table_seal(&model->table);
    return model;
}

void model_destroy(Model *model)
{
    if (!model) return;
    param_table_destroy(&model->table);
    free(model->layers);
    free(model->rotary_turns);
    free(model);
}

/* Of a layer, a whole sequence. */
static AttentionCost attention_cost(const AttentionLayer *layer, size_t context_length, size_t block_length)
{
    AttentionShape shape = {.sequences = 1,
                            .tokens = context_length,
                            .context_length = context_length,
                            .block_length = block_length,
                            .segments = 1};
    return layer->kind->cost(layer, &shape);
}

double model_train_flops(const Model *model, size_t context_length, size_t block_length)
{
    double C = (double)model->width, F = (double)model->feedforward_width, T = (double)context_length;
    double dense = 2 * T * C * (4 * C + (double)model->feedforward_in_width + F), forward = 0;
    for (size_t i = 0; i < model->layer_count; i++)
        forward += dense + attention_cost(&model->layers[i].attention, context_length, block_length).forward_flops;
    forward += 2 * T * C * (double)model->vocab_size;
    return 3 * forward;
}

double model_feature_flops(const Model *model, size_t context_length, size_t block_length)
{
    double forward = 0;
    for (size_t i = 0; i < model->layer_count; i++)
        forward += attention_cost(&model->layers[i].attention, context_length, block_length).feature_flops;
    return 3 * forward;
}
