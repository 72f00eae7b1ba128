/* Token by token from the recurrent state gives what the block form gives. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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
    Decoder *decoder = decoder_create(model, store, (DecodeShape){T, spec.block_length});
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
        Decoder *near = decoder_create(model, store, (DecodeShape){100, block});
        Decoder *far = decoder_create(model, store, (DecodeShape){20000, block});
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

static const TestCase tests[] = {{"equals the block form", test_every_kind}, {"size of the state", test_state_size}};
static const Suite suites[] = {{"decode", tests, 2}};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_decode", suites, 1);
    world_stop();
    return code;
}
