/* Where blocks are not part of a model, passes with another block length than it was made with compute the same losses: on
   any number of ranks, and in stretches. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "tests/harness/check.h"
#include "tests/harness/single_rank.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

enum { SEQUENCES = 3 };

/* Sums over blocks of other lengths round differently, nothing else. */
static const double TOLERANCE = sizeof(real) == 4 ? 1e-5 : 1e-12;

/* This rank's ranges of tokens (sequences, T). */
static int32_t *own_part(const int32_t *tokens, const ModelPass *pass)
{
    const PassSpec *spec = model_pass_spec(pass);
    int32_t *part = checked_calloc(SEQUENCES * model_pass_tokens(pass), sizeof *part), *place = part;
    for (size_t s = 0; s < SEQUENCES; s++)
        for (size_t k = 0; k < spec->stretches; k++) {
            TokenRange range = model_pass_range(pass, k);
            memcpy(place, tokens + s * spec->context_length + range.first, range.count * sizeof *part);
            place += range.count;
        }
    return part;
}

/* Over all ranks, which share each sequence. */
static double loss_on_ranks(const Model *model, const PassSpec *spec, real *params, const int32_t *inputs,
                            const int32_t *targets)
{
    Topology topology = topology_create(1, SCAN_IEXSCAN);
    ModelPass *pass = model_pass_create(model, spec, topology.link, PASS_EVALUATE);
    ParamStore *store = param_store_over(&model->table, params, NULL);
    TokenBatch mine = {.inputs = own_part(inputs, pass), .targets = own_part(targets, pass)};
    double loss = model_evaluate(pass, store, &mine, NULL, NULL, NULL);
    world_sum_doubles(&loss, 1);
    token_batch_destroy(&mine);
    param_store_destroy(store);
    model_pass_destroy(pass);
    topology_destroy(&topology);
    return loss;
}

/* The model keeps what it was made with; only its passes get another block length, as in polysketch eval. */
static void compare(const Variant *variant, int64_t block, int64_t stretch)
{
    Config config = variant_config(variant, NULL);
    Model *model = variant_model(&config);
    PassSpec pass = variant_pass(&config, SEQUENCES);
    int64_t T = config.model.context_length;
    real *params = variant_parameters(model, 21);
    int32_t *inputs = random_tokens((size_t)(SEQUENCES * T), config.model.vocab_size, 1);
    int32_t *targets = random_tokens((size_t)(SEQUENCES * T), config.model.vocab_size, 2);
    double expected = single_rank_loss(model, &pass, params, NULL, inputs, targets, 0);
    config.block_length = block;
    config.train.stretch_length = stretch;
    PassSpec other = variant_pass(&config, SEQUENCES);
    double got = loss_on_ranks(model, &other, params, inputs, targets);
    check_true(fabs(got - expected) <= TOLERANCE * expected,
               "%s, b = %lld, stretches of %lld, %d ranks: loss %.12g, with b = %lld %.12g", variant->name,
               (long long)block, (long long)stretch, world().size, got, (long long)pass.block_length, expected);
    free(params), free(inputs), free(targets);
    model_destroy(model);
}

/* Also stretches shorter than the block length of the model. */
static void test_other_block_lengths(void)
{
    const int64_t lengths[] = {1, 2, 3, 5, 8, 64}, cuts[] = {1, 2, 3, 8};
    for (int v = 0; v < variant_count; v++) {
        Config config = variant_config(&variants[v], NULL);
        int64_t T = config.model.context_length;
        if (variant_blocks_matter(&variants[v])) continue;
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            for (size_t j = 0; j < (variant_is_linear(&variants[v]) ? sizeof cuts / sizeof *cuts : 1); j++) {
                int64_t blocks = (T + lengths[i] - 1) / lengths[i];
                if (blocks / cuts[j] >= world().size)
                    compare(&variants[v], lengths[i], cuts[j] > 1 ? (T + cuts[j] - 1) / cuts[j] : 0);
            }
    }
}

static const TestCase tests[] = {{"other block lengths", test_other_block_lengths}};
static const Suite suites[] = {SUITE("block length", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_block_length", suites, 1);
    world_stop();
    return code;
}
