/* Sizes and memory of a pass of the linear engine. */
#include <omp.h>

#include "src/attention/gate.h"
#include "src/attention/linear_parts.h"
#include "src/attention/qk_norm.h"

/* A panel of features is formed in cache, multiplied and dropped: at most about this many numbers. */
enum { PANEL_NUMBERS = 72 * 1024 };

bool linear_exact_local(const AttentionLayer *layer)
{
    return layer->map->self_tensored && layer->spec.local != LOCAL_SKETCH;
}

bool linear_uses_qk_norm(const AttentionLayer *layer)
{
    return layer->map->normalised_input || linear_exact_local(layer);
}

Sizes linear_sizes(const AttentionLayer *layer, const AttentionShape *shape)
{
    Sizes z = {.B = shape->sequences, .N = shape->tokens, .H = layer->heads, .h = layer->head_width};
    z.C = z.H * z.h;
    z.b = shape->block_length;
    z.r = layer->map->width(layer);
    z.m = layer->map->self_tensored ? packed_feature_count(z.r) : z.r;
    z.state = z.m * (z.h + 1);
    z.decays = attention_has_gate(layer) || shape->documents;
    z.group = z.state + z.decays;
    z.blocks = (z.N + z.b - 1) / z.b;
    z.first_block = shape->first_token / z.b;
    z.first_token = shape->first_token;
    z.all_blocks = (shape->context_length + z.b - 1) / z.b;
    if (layer->map->self_tensored && layer->spec.local == LOCAL_WINDOW) /* no wider than a sequence */
        z.window = smaller((size_t)layer->spec.window_blocks, z.all_blocks);
    z.before = z.window * z.b;
    z.row = 2 * z.h + z.r + attention_has_gate(layer);
    size_t panels = (z.b * z.m + PANEL_NUMBERS - 1) / PANEL_NUMBERS; /* equal parts of a block */
    z.panel_rows = panels < z.b ? (z.b + panels - 1) / panels : 1;
    return z;
}

bool linear_is_exponential(const AttentionLayer *layer)
{
    return linear_exact_local(layer) && layer->spec.local_weight == LOCAL_EXP;
}

Saved linear_saved_parts(const AttentionLayer *layer, const Sizes *z, real *saved)
{
    size_t u = z->B * z->N * z->H * z->r, rows = z->B * z->H * z->N;
    Saved parts = {.u_query = saved};
    parts.u_key = parts.u_query + u;
    parts.normaliser = parts.u_key + u;
    parts.prefix_factor = parts.normaliser + rows;
    parts.states = parts.prefix_factor + rows;
    parts.window = parts.states + z->B * z->H * z->blocks * z->state;
    real *rest = parts.window + z->B * z->H * z->before * z->row;
    parts.maxima = linear_is_exponential(layer) ? rest : NULL;
    parts.constant = attention_has_gate(layer) ? rest + (parts.maxima ? rows : 0) : NULL;
    return parts;
}

size_t linear_saved_count(const AttentionLayer *layer, const AttentionShape *shape)
{
    Sizes z = linear_sizes(layer, shape);
    size_t rows = z.B * z.H * z.N, row_arrays = 2 + linear_is_exponential(layer) + attention_has_gate(layer);
    return 2 * z.B * z.N * z.H * z.r + row_arrays * rows + z.B * z.H * (z.blocks * z.state + z.before * z.row);
}

static void take_gradients(Buffers *buffers, const AttentionLayer *layer, const Sizes *z, Arena *scratch)
{
    size_t tokens = z->B * z->N, heads = z->B * z->H;
    if (linear_uses_qk_norm(layer)) {
        buffers->d_query = arena_take(scratch, tokens * z->C);
        buffers->d_key = arena_take(scratch, tokens * z->C);
    }
    buffers->d_u_query = arena_take(scratch, tokens * z->H * z->r);
    buffers->d_u_key = arena_take(scratch, tokens * z->H * z->r);
    buffers->delta = arena_take(scratch, tokens * z->H);
    buffers->adjoint = arena_take(scratch, heads * z->blocks * z->state);
    buffers->d_window = arena_take(scratch, heads * z->before * z->row);
    if (attention_has_gate(layer) && linear_exact_local(layer))
        buffers->key_sums = arena_take(scratch, heads * (z->before + z->N));
    if (linear_is_exponential(layer)) buffers->log_normaliser = arena_take(scratch, tokens * z->H);
}

Buffers linear_take_buffers(const AttentionLayer *layer, const Sizes *z, PassDirection pass, Arena *scratch)
{
    Buffers buffers = {0};
    size_t tokens = z->B * z->N, heads = z->B * z->H, threads = (size_t)omp_get_max_threads();
    size_t width = linear_local_width(layer, z);
    size_t local = pass == FORWARD ? exact_forward_scratch(width, z->h) : exact_backward_scratch(width, z->h);
    if (linear_uses_qk_norm(layer)) {
        buffers.query = arena_take(scratch, tokens * z->C);
        buffers.key = arena_take(scratch, tokens * z->C);
    }
    buffers.total = arena_take(scratch, heads * z->group);
    buffers.incoming = arena_take(scratch, heads * z->group);
    buffers.per_thread = larger(local, panel_count(z));
    buffers.threads = arena_take(scratch, threads * buffers.per_thread);
    buffers.tail = arena_take(scratch, heads * z->before * z->row);
    if (attention_has_gate(layer))
        buffers.gates = arena_take_bytes(scratch, heads * (z->before + z->N) * sizeof *buffers.gates);
    if (pass == BACKWARD) {
        take_gradients(&buffers, layer, z, scratch);
        return buffers;
    }
    buffers.shares = arena_take_bytes(scratch, heads * z->blocks * sizeof *buffers.shares);
    if (layer->map->scales_queries) buffers.query_factors = arena_take(scratch, tokens * z->H);
    return buffers;
}

void linear_plan(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch)
{
    Sizes z = linear_sizes(layer, shape);
    for (PassDirection pass = FORWARD; pass <= BACKWARD; pass++) {
        size_t mark = arena_mark(scratch);
        linear_take_buffers(layer, &z, pass, scratch);
        layer->map->plan(layer, z.B * z.N, scratch);
        if (linear_uses_qk_norm(layer)) qk_norm_plan(layer, scratch);
        if (attention_has_gate(layer)) gate_plan(layer, shape, scratch);
        arena_release(scratch, mark);
    }
}
