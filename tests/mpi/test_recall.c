/* Made sources on ranks: training and evaluation with the ranks side by side on each sequence, in stretches or not, find the
   loss, the gradient and the accuracy that they find with a sequence to each. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/train/evaluate.h"
#include "src/train/pass_loader.h"
#include "src/train/step_tokens.h"
#include "tests/harness/check.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

/* Sums in another order over some thousand operations, magnified by two layers. */
static const double TOLERANCE = sizeof(real) == 4 ? 1e-4 : 1e-11;

enum { SEQUENCES = 12 }; /* for 1 to 4 ranks */

static const char *const sources[] = {
    "data.source=copying data.items=3 data.source_vocab=5",
    "data.source=induction data.source_vocab=5",
    "data.source=recall data.items=4 data.source_vocab=10",
};
static const Variant variant = {"learned", "kind=polysketch"};

typedef struct Found {
    Evaluation evaluation;
    double loss, norm; /* of a training step */
} Found;

/* Tokens of the first batch, which come out the same whether they were read ahead or another batch was. */
static StepTokens *first_tokens(const TrainStep *step)
{
    enum { ANOTHER = 40 };
    Message problem;
    size_t count;
    DataSource source = config_data_source(step->config, NULL);
    BatchLoader *loader = pass_loader_training(step->pass, &source, NULL, &problem);
    check_true(loader != NULL, "a loader");
    StepTokens *tokens = step_tokens_create(loader, step);
    step_tokens_read_ahead(tokens, ANOTHER);
    check_true(step_tokens_take(tokens, 0, &problem), "the first batch");
    const TokenBatch *batch = step_tokens_batch(tokens, &count);
    size_t bytes = count * sizeof *batch->inputs;
    int32_t *inputs = checked_calloc(count, sizeof *inputs), *targets = checked_calloc(count, sizeof *targets);
    memcpy(inputs, batch->inputs, bytes);
    memcpy(targets, batch->targets, bytes);
    check_true(step_tokens_take(tokens, ANOTHER, &problem), "another batch");
    batch = step_tokens_batch(tokens, &count);
    check_true(memcmp(inputs, batch->inputs, bytes) != 0, "it has other tokens");
    step_tokens_read_ahead(tokens, 0);
    step_tokens_wait(tokens);
    check_true(step_tokens_take(tokens, 0, &problem), "the first batch, read ahead");
    batch = step_tokens_batch(tokens, &count);
    check_true(memcmp(inputs, batch->inputs, bytes) == 0 && memcmp(targets, batch->targets, bytes) == 0,
               "it has the same tokens");
    free(inputs), free(targets);
    return tokens;
}

static Found find(Config *config, int64_t data_ranks)
{
    Found found;
    Message problem = {""};
    config->parallel.data_ranks = data_ranks;
    config->train.micro_batch_sequences = 0;
    check_true(config_finish(config, world().size, &problem), "configuration: %s", problem.text);
    Model *model = variant_model(config);
    Topology topology = topology_create((int)data_ranks, SCAN_IEXSCAN);
    TrainStep *step = train_step_create(config, model, &topology);
    DataSource source = config_data_source(config, NULL);
    param_store_initialise(step->store, 4);
    Evaluator *evaluator = evaluator_create(&topology, &source, step->pass, &config->evaluate, &problem);
    check_true(evaluator != NULL, "evaluator: %s", problem.text);
    found.evaluation = evaluator_run(evaluator, step->store, NULL, NULL);
    StepTokens *tokens = first_tokens(step);
    found.loss = train_step_gradients(step, step_tokens_part, tokens, 1);
    step_tokens_destroy(tokens);
    world_sum_doubles(&found.loss, 1);
    found.norm = step->store->gradient_norm(step->store);
    evaluator_destroy(evaluator);
    train_step_destroy(step);
    topology_destroy(&topology);
    model_destroy(model);
    return found;
}

static void check_same(const char *what, const Found *got, const Found *expected)
{
    const Evaluation *e = &got->evaluation, *plain = &expected->evaluation;
    check_true(e->tokens == plain->tokens && e->windows == 40, "%s: %lld targets", what, (long long)e->tokens);
    check_true(fabs(e->loss - plain->loss) <= TOLERANCE * plain->loss, "%s: loss %.12g, not %.12g", what, e->loss,
               plain->loss);
    check_true(e->accuracy == plain->accuracy && e->sequences_right == plain->sequences_right,
               "%s: accuracy %g and %g, not %g and %g", what, e->accuracy, e->sequences_right, plain->accuracy,
               plain->sequences_right);
    check_true(e->accuracy == e->accuracy_by_stratum[0], "%s: one stratum is all", what);
    check_true(fabs(got->loss - expected->loss) <= TOLERANCE * expected->loss, "%s: training loss %.12g, not %.12g",
               what, got->loss, expected->loss);
    check_true(fabs(got->norm - expected->norm) <= TOLERANCE * expected->norm, "%s: gradient norm %.12g, not %.12g",
               what, got->norm, expected->norm);
}

static void test_grids(void)
{
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        char settings[512] = "evaluate.sequences=40 train.batch_sequences=12 train.learning_rate=0.01 ";
        Config config = variant_config(&variant, strcat(settings, sources[i]));
        Found apart = find(&config, world().size), together = find(&config, 1);
        check_true(fabs(apart.loss / config_counted_targets(&config) - log(11)) < 0.3, "untrained: %g", apart.loss);
        check_same(sources[i], &together, &apart);
        if (world().size > 3) continue; /* a stretch has three blocks */
        config.train.stretch_length = 11;
        Found stretches = find(&config, 1);
        check_same("in stretches", &stretches, &apart);
    }
}

static const TestCase tests[] = {{"grids of ranks", test_grids}};
static const Suite suites[] = {SUITE("made sources", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_recall", suites, 1);
    world_stop();
    return code;
}
