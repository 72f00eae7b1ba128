/* Token by token from the recurrent state gives what the block form gives, and a prompt that is read at once what its tokens give
   one by one. threads: 1 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/model/decode.h"
#include "tests/harness/check.h"
#include "tests/harness/rounding.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

static double loss_of_logits(const real *logits, size_t count, int32_t target)
{
    double largest = -INFINITY, sum = 0;
    for (size_t i = 0; i < count; i++) largest = fmax(largest, (double)logits[i]);
    for (size_t i = 0; i < count; i++) sum += exp((double)logits[i] - largest);
    return log(sum) + largest - (double)logits[target];
}

/* Losses (T) of the block form. */
static real *block_losses(const Model *model, const PassSpec *spec, real *params, const int32_t *inputs,
                          const int32_t *targets)
{
    real *losses = checked_calloc(spec->context_length, sizeof *losses);
    SequenceLink link = sequence_link_single();
    ModelPass *pass = model_pass_create(model, spec, &link, PASS_EVALUATE);
    ParamStore *store = param_store_over(&model->table, params, NULL);
    TokenBatch batch = {.inputs = (int32_t *)inputs, .targets = (int32_t *)targets}; /* only read */
    model_evaluate(pass, store, &batch, losses, NULL, NULL);
    param_store_destroy(store);
    model_pass_destroy(pass);
    return losses;
}

static double tolerance_of(const Model *model, const PassSpec *spec, real *params, const int32_t *inputs,
                           const int32_t *targets, const real *losses)
{
    double movement = 0;
    size_t T = spec->context_length;
    for (uint64_t draw = 0; draw < ROUNDING_DRAWS; draw++) {
        real *moved_params = nudged(params, model->table.total_count, draw);
        real *moved = block_losses(model, spec, moved_params, inputs, targets);
        movement = largest_movement(movement, moved, losses, T);
        free(moved_params), free(moved);
    }
    return rounding_tolerance(movement, losses, T);
}

static void compare_variant(const Variant *variant, const char *layers)
{
    char more[128];
    snprintf(more, sizeof more, "%s model.context_length=61 attention.block_length=8", layers);
    Config config = variant_config(variant, more);
    Model *model = variant_model(&config);
    PassSpec spec = variant_pass(&config, 1);
    real *params = variant_parameters(model, 4);
    size_t T = spec.context_length;
    int32_t *inputs = random_tokens(T, config.model.vocab_size, 1),
            *targets = random_tokens(T, config.model.vocab_size, 2);
    real *losses = block_losses(model, &spec, params, inputs, targets);
    double *decoded = checked_calloc(T, sizeof *decoded);
    ParamStore *store = param_store_over(&model->table, params, NULL);
    param_store_acquire_all(store);
    Decoder *decoder = decoder_create(model, store, (DecodeShape){T, spec.block_length}, 1);
    for (size_t t = 0; t < T; t++)
        decoded[t] = loss_of_logits(decoder_step(decoder, inputs[t]), model->vocab_size, targets[t]);
    check_close_double(variant->name, losses, decoded, T, tolerance_of(model, &spec, params, inputs, targets, losses));
    decoder_destroy(decoder);
    param_store_destroy(store);
    free(params), free(inputs), free(targets), free(losses), free(decoded);
    model_destroy(model);
}

static void test_every_kind(void)
{
    for (int v = 0; v < variant_count; v++) compare_variant(&variants[v], "");
    for (int v = 0; v < hybrid_count; v++) compare_variant(&hybrids[v], HYBRID_LAYERS);
    compare_variant(&variants[0], "model.logit_soft_cap=2");
    compare_variant(&variants[0], "model.rotary_share=0.5");
}

/* Linear kinds: the state is as large for a million tokens as for ten. */
static void test_state_size(void)
{
    for (int v = 0; v < variant_count; v++) {
        Config config = variant_config(&variants[v], NULL);
        Model *model = variant_model(&config);
        ParamStore *store = param_store_create(&model->table, NULL, STORE_VALUES);
        size_t block = (size_t)config.block_length;
        param_store_acquire_all(store);
        Decoder *near = decoder_create(model, store, (DecodeShape){100, block}, 1);
        Decoder *far = decoder_create(model, store, (DecodeShape){20000, block}, 1);
        bool linear = variant_is_linear(&variants[v]);
        check_true((decoder_state_bytes(near) == decoder_state_bytes(far)) == linear,
                   "%s: the recurrent state %s with the position", variants[v].name,
                   linear ? "does not grow" : "grows");
        decoder_destroy(near);
        decoder_destroy(far);
        param_store_destroy(store);
        model_destroy(model);
    }
}

/* ---- prompts ---- */

/* A model, some tokens, and what decoding them one by one gives. */
typedef struct Prompt {
    const char *name;
    Model *model;
    real *params;
    ParamStore *store;
    DecodeShape shape; /* of T tokens */
    int32_t *tokens;   /* (T) */
    real *logits;      /* (T, V) */
    double tolerance;  /* of logits */
} Prompt;

/* logits (T, V) */
static real *one_by_one(const Prompt *p, real *params)
{
    size_t V = p->model->vocab_size, T = p->shape.max_tokens;
    real *logits = checked_calloc(T * V, sizeof *logits);
    ParamStore *store = param_store_over(&p->model->table, params, NULL);
    param_store_acquire_all(store);
    Decoder *decoder = decoder_create(p->model, store, p->shape, 1);
    for (size_t t = 0; t < T; t++) memcpy(logits + t * V, decoder_step(decoder, p->tokens[t]), V * sizeof *logits);
    decoder_destroy(decoder);
    param_store_destroy(store);
    return logits;
}

static Prompt make_prompt(const Variant *variant, const char *layers, size_t T)
{
    char more[160];
    snprintf(more, sizeof more, "%s model.context_length=%zu attention.block_length=8", layers, T);
    Config config = variant_config(variant, more);
    Prompt p = {.name = variant->name, .model = variant_model(&config), .shape = {T, 8}};
    p.params = variant_parameters(p.model, 4);
    p.tokens = random_tokens(T, config.model.vocab_size, 1);
    p.logits = one_by_one(&p, p.params);
    size_t count = T * p.model->vocab_size;
    double movement = 0;
    for (uint64_t draw = 0; draw < ROUNDING_DRAWS; draw++) {
        real *moved_params = nudged(p.params, p.model->table.total_count, draw);
        real *moved = one_by_one(&p, moved_params);
        movement = largest_movement(movement, moved, p.logits, count);
        free(moved_params), free(moved);
    }
    p.tolerance = rounding_tolerance(movement, p.logits, count);
    p.store = param_store_over(&p.model->table, p.params, NULL);
    param_store_acquire_all(p.store);
    return p;
}

static void free_prompt(Prompt *p)
{
    param_store_destroy(p->store);
    free(p->params), free(p->tokens), free(p->logits);
    model_destroy(p->model);
}

/* `logits` (V) are those behind token t. */
static void check_logits(const Prompt *p, const real *logits, size_t t)
{
    size_t V = p->model->vocab_size;
    double expected[64], largest = 0;
    for (size_t i = 0; i < V; i++) expected[i] = (double)p->logits[t * V + i];
    for (size_t i = 0; i < p->shape.max_tokens * V; i++) largest = fmax(largest, fabs((double)p->logits[i]));
    double here = 0; /* tolerances are relative to the largest number that is compared */
    for (size_t i = 0; i < V; i++) here = fmax(here, fabs(expected[i]));
    char what[160];
    snprintf(what, sizeof what, "%s, token %zu", p->name, t);
    check_close_double(what, logits, expected, V, p->tolerance * largest / here);
}

/* Reads pieces of these lengths, one after the other, up to a 0, and the rest token by token. */
static void read_in_pieces(const Prompt *p, const size_t *pieces)
{
    Decoder *decoder = decoder_create(p->model, p->store, p->shape, 1);
    size_t t = 0;
    for (; *pieces > 0; t += *pieces++)
        check_logits(p, decoder_read(decoder, 0, p->tokens + t, *pieces), t + *pieces - 1);
    for (; t < p->shape.max_tokens; t++) check_logits(p, decoder_step(decoder, p->tokens[t]), t);
    decoder_destroy(decoder);
}

static const Variant *variant_called(const char *name)
{
    int v = 0;
    while (v < variant_count && strcmp(variants[v].name, name) != 0) v++;
    return check_true(v < variant_count, "there is a variant %s", name) ? &variants[v] : &variants[0];
}

static void read_in_all_ways(const Variant *variant, const char *layers)
{
    static const size_t ways[][5] = {{61, 0},         {1, 0},         {8, 0},           {20, 0},
                                     {16, 24, 20, 0}, {5, 40, 16, 0}, {37, 3, 8, 13, 0}};
    Prompt p = make_prompt(variant, layers, 61);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) read_in_pieces(&p, ways[i]);
    free_prompt(&p);
}

static void test_prompts(void)
{
    for (int v = 0; v < variant_count; v++) read_in_all_ways(&variants[v], "");
    for (int v = 0; v < hybrid_count; v++) read_in_all_ways(&hybrids[v], HYBRID_LAYERS);
    read_in_all_ways(&variants[0], "model.logit_soft_cap=2");
    read_in_all_ways(variant_called("learned-exact"), "model.rotary_share=0.5");
}

/* Longer than what is computed at a time. */
static void test_stretches(void)
{
    const char *names[] = {"window-2-gated", "performer-gated", "polynomial-gated"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        Prompt p = make_prompt(variant_called(names[i]), "", 2203);
        read_in_pieces(&p, (size_t[]){2199, 0});
        free_prompt(&p);
    }
}

/* Sequences of different lengths side by side; one that begins anew. */
static void decode_side_by_side(const Variant *variant)
{
    enum { SEQUENCES = 3 };
    const size_t first[SEQUENCES] = {30, 1, 17};
    Prompt p = make_prompt(variant, "", 61);
    Decoder *decoder = decoder_create(p.model, p.store, p.shape, SEQUENCES);
    decoder_read(decoder, 1, p.tokens, 40);
    decoder_restart(decoder, 1);
    for (size_t s = 0; s < SEQUENCES; s++) check_logits(&p, decoder_read(decoder, s, p.tokens, first[s]), first[s] - 1);
    for (size_t step = 0; step < 25; step++) {
        const size_t sequences[] = {2, 0, 1};
        size_t count = step % 2 ? 3 : 2; /* the last one rests every other time */
        int32_t tokens[SEQUENCES];
        for (size_t i = 0; i < count; i++) tokens[i] = p.tokens[decoder_position(decoder, sequences[i])];
        const real *logits = decoder_step_all(decoder, sequences, tokens, count);
        for (size_t i = 0; i < count; i++)
            check_logits(&p, logits + i * p.model->vocab_size, decoder_position(decoder, sequences[i]) - 1);
    }
    decoder_destroy(decoder);
    free_prompt(&p);
}

static void test_side_by_side(void)
{
    for (int v = 0; v < variant_count; v++) decode_side_by_side(&variants[v]);
}

static void copy_part(const StatePart *to, const StatePart *from)
{
    check_true(to->heads == from->heads && to->rows == from->rows && to->width == from->width, "%s has its size",
               to->name);
    for (size_t j = 0; j < to->heads; j++)
        memcpy(to->at + j * to->stride, from->at + j * from->stride, to->rows * to->width * sizeof(real));
}

/* The parts are all of a state: what they hold goes on in a decoder for more tokens. */
static void move_state(const Prompt *p, size_t position)
{
    DecodeShape small = {position, p->shape.block_length};
    Decoder *from = decoder_create(p->model, p->store, small, 1), *to = decoder_create(p->model, p->store, p->shape, 2);
    decoder_read(from, 0, p->tokens, position);
    decoder_seek(to, 1, position);
    for (size_t i = 0; i < p->model->layer_count; i++) {
        StatePart here[ATTENTION_STATE_PARTS], there[ATTENTION_STATE_PARTS];
        int count = decoder_state_parts(from, 0, i, here);
        check_true(decoder_state_parts(to, 1, i, there) == count, "%s has %d parts", p->name, count);
        for (int part = 0; part < count; part++) copy_part(&there[part], &here[part]);
    }
    for (size_t t = position; t < p->shape.max_tokens; t++)
        check_logits(p, decoder_step_all(to, &(size_t){1}, p->tokens + t, 1), t);
    decoder_destroy(from);
    decoder_destroy(to);
}

static void test_moved_states(void)
{
    for (int v = 0; v < variant_count; v++) {
        Prompt p = make_prompt(&variants[v], "", 61);
        move_state(&p, 5);
        move_state(&p, 43);
        free_prompt(&p);
    }
}

static const TestCase tests[] = {
    {"equals the block form", test_every_kind}, {"size of the state", test_state_size},
    {"prompts at once", test_prompts},          {"prompts in stretches", test_stretches},
    {"side by side", test_side_by_side},        {"states that move", test_moved_states},
};
static const Suite suites[] = {SUITE("decode", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_decode", suites, 1);
    world_stop();
    return code;
}
