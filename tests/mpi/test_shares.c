/* What heads attend with, and how far back, is the same for ranks that share sequences and ranks that do not, and in
   stretches. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/train/evaluate.h"
#include "tests/harness/check.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

/* Sums in another order over some thousand operations, magnified by the layers before. */
static const double TOLERANCE = sizeof(real) == 4 ? 1e-3 : 1e-11;

enum { WINDOWS = 6 }; /* micro-batches of 4: the last one is short, on 4 ranks all are */

/* (layers, H), of an untrained source's sequences. */
typedef struct Heads {
    HeadShares *shares;
    HeadDistances *distances;
} Heads;

static void heads_free(Heads *heads) { free(heads->shares), free(heads->distances); }

static Heads heads_on(Config *config, const Model *model, real *params, int data_ranks, int evaluations)
{
    Message problem = {""};
    Topology topology = topology_create(data_ranks, SCAN_IEXSCAN);
    PassSpec spec = variant_pass(config, 4);
    spec.distances = true;
    ModelPass *pass = model_pass_create(model, &spec, topology.link, PASS_EVALUATE);
    ParamStore *store = param_store_over(&model->table, params, NULL);
    DataSource source = config_data_source(config, NULL);
    EvaluateConfig evaluate = {.sequences = WINDOWS};
    Evaluator *evaluator = evaluator_create(&topology, &source, pass, &evaluate, &problem);
    check_true(evaluator != NULL, "evaluator: %s", problem.text);
    size_t count = model->layer_count * model->heads;
    Heads heads = {checked_calloc(count, sizeof *heads.shares), checked_calloc(count, sizeof *heads.distances)};
    for (int i = 0; i < evaluations; i++) { /* the second time does not add to the first */
        Evaluation e = evaluator_run(evaluator, store, NULL, NULL);
        memcpy(heads.shares, e.shares, count * sizeof *heads.shares);
        memcpy(heads.distances, e.distances, count * sizeof *heads.distances);
    }
    evaluator_destroy(evaluator);
    param_store_destroy(store);
    model_pass_destroy(pass);
    topology_destroy(&topology);
    return heads;
}

static void check_same_distances(const char *name, size_t head, const HeadDistances *a, const HeadDistances *b)
{
    double difference = fabs(a->distance - b->distance) / b->uniform, weight = 0;
    for (int i = 0; i < DISTANCE_MAX_BUCKETS; i++) {
        difference = fmax(difference, fabs(a->buckets[i] - b->buckets[i]) / b->queries);
        weight += a->buckets[i] / a->queries;
    }
    check_true(a->tokens == WINDOWS * 22 && b->tokens == a->tokens && a->uniform == b->uniform,
               "%s, head %zu: %g and %g rows", name, head, a->tokens, b->tokens);
    check_true(a->queries == WINDOWS * DISTANCE_QUERIES && b->queries == a->queries, "%s, head %zu: %g queries", name,
               head, a->queries);
    check_true(difference <= TOLERANCE && b->distance > 0, "%s, head %zu: %g tokens back; alone %g, %g", name, head,
               a->distance / a->tokens, b->distance / b->tokens, difference);
    check_true(fabs(weight - 1) <= TOLERANCE, "%s, head %zu: %g of all weights", name, head, weight);
}

static void check_same(const char *name, const Model *model, const Heads *got, const Heads *expected)
{
    for (size_t i = 0; i < model->layer_count * model->heads; i++) {
        const HeadShares *a = &got->shares[i], *b = &expected->shares[i];
        check_same_distances(name, i, &got->distances[i], &expected->distances[i]);
        double rows = b->rows, difference = fmax(fabs(a->exact - b->exact), fabs(a->sketched - b->sketched)) / rows;
        check_true(a->rows == rows && rows == WINDOWS * 22, "%s, head %zu: %g rows", name, i, a->rows);
        check_true(difference <= TOLERANCE && fabs(a->gates - b->gates) <= TOLERANCE * rows,
                   "%s, head %zu: exact %g, sketched %g, gate %g; alone %g, %g, %g", name, i, a->exact / rows,
                   a->sketched / rows, a->gates / rows, b->exact / rows, b->sketched / rows, b->gates / rows);
        check_true(b->exact + b->sketched <= rows * (1 + TOLERANCE) && b->exact + b->sketched > 0,
                   "%s, head %zu: no more than all", name, i);
    }
}

static void compare(const Variant *variant, const char *layers)
{
    char settings[128];
    snprintf(settings, sizeof settings, "%sdata.source=copying data.items=3 data.source_vocab=5", layers);
    Config config = variant_config(variant, settings);
    Model *model = variant_model(&config);
    real *params = variant_parameters(model, 3);
    Heads apart = heads_on(&config, model, params, world().size, 2);
    Heads together = heads_on(&config, model, params, 1, 1);
    check_same(variant->name, model, &together, &apart);
    heads_free(&together);
    if (variant_is_linear(variant) && world().size <= 3) { /* a stretch has three blocks */
        config.train.stretch_length = 11;
        Heads stretches = heads_on(&config, model, params, 1, 1);
        check_same("in stretches", model, &stretches, &apart);
        heads_free(&stretches);
    }
    heads_free(&apart), free(params);
    model_destroy(model);
}

static void test_grids(void)
{
    for (int v = 0; v < variant_count; v++) compare(&variants[v], "");
    for (int v = 0; v < hybrid_count; v++) compare(&hybrids[v], HYBRID_LAYERS);
}

static const TestCase tests[] = {{"grids of ranks, stretches", test_grids}};
static const Suite suites[] = {SUITE("shares", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_shares", suites, 1);
    world_stop();
    return code;
}
