/* Any grid of ranks computes the loss and the gradients of one rank. And the control: with the backward scan broken on
   purpose, the same comparison fails. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/gradient_reduce.h"
#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "tests/harness/check.h"
#include "tests/harness/single_rank.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

enum { SEQUENCES = 12 }; /* divisible by every number of data ranks up to 4 */

/* Powers multiply relative errors by the degree, and their gradients once more: in float the eighth power on this badly
   conditioned little model costs one more digit. The others differ by up to 2e-5, since ranks add in other orders. In double
   all kinds keep to 1e-12. */
static double tolerance_of(const Model *model)
{
    if (sizeof(real) == 8) return 1e-12;
    return model->config.attention.degree == 8 ? 5e-4 : 5e-5;
}

/* This rank's part of tokens (sequences, T): its sequences, and its ranges of each. */
static int32_t *own_part(const int32_t *tokens, const ModelPass *pass, size_t first_sequence)
{
    AttentionShape shape = model_pass_shape(pass);
    int32_t *part = checked_calloc(shape.sequences * model_pass_tokens(pass), sizeof *part), *place = part;
    for (size_t s = 0; s < shape.sequences; s++)
        for (size_t k = 0; k < model_pass_stretches(pass); k++) {
            TokenRange range = model_pass_range(pass, k);
            memcpy(place, tokens + (first_sequence + s) * shape.context_length + range.first,
                   range.count * sizeof *part);
            place += range.count;
        }
    return part;
}

typedef struct Outcome {
    double loss;
    real *grads; /* trained_count */
} Outcome;

static Outcome on_grid(const Model *model, const real *params, const int32_t *inputs, const int32_t *targets,
                       Topology *topology)
{
    size_t B = SEQUENCES / (size_t)topology->data_ranks, first = B * (size_t)topology->data_rank;
    SequenceLink *link = topology->link;
    AttentionShape shape =
        model_shape(&model->config, B, (size_t)model->config.model.context_length, link->position, link->segments);
    ModelPass *pass = model_pass_create(model, shape, link, PASS_TRAIN);
    int32_t *my_inputs = own_part(inputs, pass, first), *my_targets = own_part(targets, pass, first);
    Outcome outcome = {.grads = checked_calloc(model->table.trained_count, sizeof(real))};
    DropoutKey key = {.seed = 1, .step = 5, .first_sequence = first};
    outcome.loss = model_train(pass, params, outcome.grads, my_inputs, my_targets, (real)0.01, key);
    world_sum_doubles(&outcome.loss, 1);
    gradient_reduce(outcome.grads, model->table.trained_count);
    model_pass_destroy(pass);
    free(my_inputs), free(my_targets);
    return outcome;
}

/* Largest difference of a gradient relative to its tensor's largest value; and reports each tensor unless `quiet`. */
static double compare(const char *what, const Model *model, const Outcome *got, const Outcome *expected, bool quiet)
{
    double worst = 0;
    char name[256];
    for (int i = 0; i < model->table.count; i++) {
        const Param *param = &model->table.params[i];
        if (!param->trained) continue;
        const real *a = got->grads + param->offset, *b = expected->grads + param->offset;
        double largest = 0, difference = 0;
        for (size_t j = 0; j < param->count; j++) {
            largest = fmax(largest, fabs((double)b[j]));
            difference = fmax(difference, fabs((double)a[j] - (double)b[j]));
        }
        worst = fmax(worst, difference / largest);
        snprintf(name, sizeof name, "%s: gradient of %s", what, param->name);
        if (!quiet) check_close_real(name, a, b, param->count, tolerance_of(model));
    }
    return worst;
}

static bool broken_direction_is_backward;

/* The control: what came from later segments is lost. */
static void (*true_sum_begin)(SequenceLink *, ScanDirection, const real *, real *, size_t);
static void (*true_sum_finish)(SequenceLink *);
static real *lost_incoming;
static size_t lost_count;

static void broken_sum_begin(SequenceLink *link, ScanDirection direction, const real *local, real *incoming,
                             size_t count)
{
    true_sum_begin(link, direction, local, incoming, count);
    broken_direction_is_backward = direction == SCAN_BACKWARD;
    lost_incoming = incoming;
    lost_count = count;
}

static void broken_sum_finish(SequenceLink *link)
{
    true_sum_finish(link);
    if (broken_direction_is_backward) memset(lost_incoming, 0, lost_count * sizeof *lost_incoming);
}

typedef struct Case {
    Model *model;
    real *params;
    int32_t *inputs, *targets;
    Outcome expected;
} Case;

static Case case_create(const Variant *variant, const char *more)
{
    Config config = variant_config(variant, more);
    size_t tokens = SEQUENCES * (size_t)config.model.context_length;
    Case c = {.model = model_create(&config)};
    c.params = variant_parameters(c.model, 21);
    c.inputs = random_tokens(tokens, config.model.vocab_size, 1);
    c.targets = random_tokens(tokens, config.model.vocab_size, 2);
    c.expected.grads = checked_calloc(c.model->table.trained_count, sizeof(real));
    c.model->config.train.stretch_length = 0; /* what is expected is found in one piece */
    c.expected.loss = single_rank_loss(c.model, c.params, c.expected.grads, c.inputs, c.targets, SEQUENCES, (real)0.01);
    c.model->config.train.stretch_length = config.train.stretch_length;
    return c;
}

static void case_destroy(Case *c)
{
    model_destroy(c->model);
    free(c->params), free(c->inputs), free(c->targets), free(c->expected.grads);
}

static void compare_on_grid(const Variant *variant, const char *more, int data_ranks, ScanKind scan)
{
    Case c = case_create(variant, more);
    Topology topology = topology_create(data_ranks, scan);
    Outcome got = on_grid(c.model, c.params, c.inputs, c.targets, &topology);
    char what[160];
    snprintf(what, sizeof what, "%s on %d x %d ranks", variant->name, data_ranks, topology.sequence_ranks);
    check_true(fabs(got.loss - c.expected.loss) <= 1e-6 * c.expected.loss, "%s: loss %.12g, on one rank %.12g", what,
               got.loss, c.expected.loss);
    compare(what, c.model, &got, &c.expected, false);
    free(got.grads);
    topology_destroy(&topology);
    case_destroy(&c);
}

/* 22 tokens in blocks of 4: six blocks, the last one short, not divisible by 4 ranks. */
static void test_every_kind_on_every_grid(void)
{
    for (int v = 0; v < variant_count; v++)
        for (int data_ranks = 1; data_ranks <= world().size; data_ranks++)
            if (world().size % data_ranks == 0) compare_on_grid(&variants[v], NULL, data_ranks, SCAN_EXSCAN);
}

static void test_nonblocking_scan(void)
{
    for (int v = 0; v < variant_count; v++) {
        compare_on_grid(&variants[v], NULL, 1, SCAN_IEXSCAN);
        compare_on_grid(&variants[v], NULL, 1, SCAN_CHAIN);
    }
}

static void test_dropout_and_recompute(void)
{
    for (int v = 0; v < variant_count; v++)
        compare_on_grid(&variants[v], "model.dropout=0.3 train.recompute=layer", 1, SCAN_EXSCAN);
}

/* Six blocks in two stretches of three, in three of two, in five that are not equal, in six; each stretch on up to as many
   ranks as it has blocks. */
static void test_stretches(void)
{
    static const struct {
        const char *settings;
        int blocks;
    } cuts[] = {{"train.stretch_length=12", 3},
                {"train.stretch_length=8 model.dropout=0.3 train.recompute=layer", 2},
                {"train.stretch_length=5 train.recompute=attention", 1},
                {"train.stretch_length=4", 1}};
    for (int v = 0; v < variant_count; v++) {
        Config config = variant_config(&variants[v], NULL);
        bool linear = config.attention.kind == ATTENTION_POLYSKETCH || config.attention.kind == ATTENTION_PERFORMER;
        for (size_t i = 0; linear && i < sizeof cuts / sizeof *cuts; i++)
            for (int data_ranks = 1; data_ranks <= world().size; data_ranks++)
                if (world().size % data_ranks == 0 && SEQUENCES % data_ranks == 0 &&
                    world().size / data_ranks <= cuts[i].blocks)
                    compare_on_grid(&variants[v], cuts[i].settings, data_ranks, i % 2 ? SCAN_CHAIN : SCAN_IEXSCAN);
    }
}

/* The control: this comparison can fail, and does when the backward scan is broken. */
static void test_broken_backward_scan_is_noticed(void)
{
    if (world().size == 1) return; /* nothing is exchanged */
    for (int v = 0; v < variant_count; v++) {
        Case c = case_create(&variants[v], NULL);
        bool scans = c.model->layers[0].attention.map != NULL;
        if (scans) {
            Topology topology = topology_create(1, SCAN_EXSCAN);
            true_sum_begin = topology.link->exclusive_sum_begin;
            true_sum_finish = topology.link->exclusive_sum_finish;
            topology.link->exclusive_sum_begin = broken_sum_begin;
            topology.link->exclusive_sum_finish = broken_sum_finish;
            Outcome got = on_grid(c.model, c.params, c.inputs, c.targets, &topology);
            double worst = compare(variants[v].name, c.model, &got, &c.expected, true);
            check_true(worst > 100 * tolerance_of(c.model),
                       "%s: the broken backward scan shows (largest difference %.3g)", variants[v].name, worst);
            if (world().rank == 0)
                printf("control %s: backward scan broken on purpose, gradients differ by %.2g (tolerance %.0e)\n",
                       variants[v].name, worst, tolerance_of(c.model));
            free(got.grads);
            topology_destroy(&topology);
        }
        case_destroy(&c);
    }
}

static const TestCase tests[] = {
    {"every kind on every grid", test_every_kind_on_every_grid},
    {"non-blocking scans", test_nonblocking_scan},
    {"dropout and recomputation", test_dropout_and_recompute},
    {"stretches of a sequence", test_stretches},
    {"control: a broken backward scan is noticed", test_broken_backward_scan_is_noticed},
};
static const Suite suites[] = {{"parity", tests, 5}};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_parity", suites, 1);
    world_stop();
    return code;
}
