/* Any grid of ranks computes the loss and the gradients of one rank. And the control: with the backward scan broken on
   purpose, the same comparison fails. time limit: 300 s, for the sanitizers on a busy machine */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/param_store_replicated.h"
#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "tests/harness/check.h"
#include "tests/harness/effort.h"
#include "tests/harness/gradient_rounding.h"
#include "tests/harness/rounding.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

enum { SEQUENCES = 12 }; /* divisible by every number of data ranks up to 4 */

typedef struct Outcome {
    double loss;
    real *grads; /* trained_count */
} Outcome;

/* A model with its tokens, and what one process alone finds. */
typedef struct Case {
    const char *name;
    Model *model;
    PassSpec pass; /* of all sequences */
    real *params;
    TokenBatch tokens; /* (sequences, T) */
    PlainGradients expected;
} Case;

static const real LOSS_SCALE = (real)0.01;

#define DOCUMENTS "train.document_mask=true"
#define REAL_SHAPE "model.layers=1 model.width=32 model.heads=1 model.context_length=700 attention.block_length=180"

/* This rank's part of tokens (sequences, T): its sequences, and its ranges of each. NULL of NULL. */
static int32_t *own_part(const int32_t *tokens, const ModelPass *pass, size_t first_sequence)
{
    const PassSpec *spec = model_pass_spec(pass);
    if (!tokens) return NULL;
    int32_t *part = checked_calloc(spec->sequences * model_pass_tokens(pass), sizeof *part), *place = part;
    for (size_t s = 0; s < spec->sequences; s++)
        for (size_t k = 0; k < spec->stretches; k++) {
            TokenRange range = model_pass_range(pass, k);
            memcpy(place, tokens + (first_sequence + s) * spec->context_length + range.first,
                   range.count * sizeof *part);
            place += range.count;
        }
    return part;
}

/* With the values of the case; sums of gradients overlapped or at the end. */
static ParamStore *store_of(const Case *c, GradientSums sums)
{
    const ParamTable *table = &c->model->table;
    ParamStore *store = param_store_replicated(table, NULL, STORE_GRADIENTS, sums);
    for (int i = 0; i < table->count; i++)
        memcpy(store->kept_values(store, i), c->params + table->params[i].offset,
               table->params[i].count * sizeof(real));
    return store;
}

static Outcome on_grid(const Case *c, Topology *topology)
{
    const Model *model = c->model;
    PassSpec spec = c->pass;
    spec.sequences /= (size_t)topology->data_ranks;
    size_t first = spec.sequences * (size_t)topology->data_rank;
    ModelPass *pass = model_pass_create(model, &spec, topology->link, PASS_TRAIN);
    ParamStore *store = store_of(c, topology->data_ranks > 1 ? SUMS_OVERLAPPED : SUMS_LAST);
    TokenBatch mine = {own_part(c->tokens.inputs, pass, first), own_part(c->tokens.targets, pass, first),
                       own_part(c->tokens.document_starts, pass, first)};
    Outcome outcome = {.grads = checked_calloc(model->table.trained_count, sizeof(real))};
    DropoutKey key = {.seed = 1, .step = 5, .first_sequence = first};
    store->open_sums(store);
    outcome.loss = model_train(pass, store, &mine, LOSS_SCALE, key);
    store->close_sums(store);
    world_sum_doubles(&outcome.loss, 1);
    for (int i = 0; i < model->table.count; i++) {
        const Param *param = &model->table.params[i];
        if (param->trained)
            memcpy(outcome.grads + param->offset, store->kept_gradient(store, i), param->count * sizeof(real));
    }
    param_store_destroy(store);
    model_pass_destroy(pass);
    token_batch_destroy(&mine);
    return outcome;
}

/* Sketches of 7 numbers unless `more` says otherwise: layer norms over 3, as other tests have them, magnify rounding tenfold. */
static Case case_create(const Variant *variant, const char *more, size_t sequences)
{
    char settings[512];
    snprintf(settings, sizeof settings, "attention.sketch_size=7 %s", more);
    Config config = variant_config(variant, settings);
    size_t tokens = sequences * (size_t)config.model.context_length;
    Case c = {.name = variant->name, .model = variant_model(&config), .pass = variant_pass(&config, sequences)};
    c.params = variant_parameters(c.model, 21);
    c.tokens.inputs = random_tokens(tokens, config.model.vocab_size, 1);
    c.tokens.targets = random_tokens(tokens, config.model.vocab_size, 2);
    c.tokens.document_starts = variant_document_starts(&c.pass);
    PassSpec whole = c.pass;
    whole.stretches = 1; /* what is expected is found in one piece */
    c.expected = plain_gradients_create(c.model, &whole, c.params, c.tokens.inputs, c.tokens.targets, LOSS_SCALE);
    return c;
}

static void case_destroy(Case *c)
{
    plain_gradients_destroy(&c->expected);
    model_destroy(c->model);
    free(c->params), token_batch_destroy(&c->tokens);
}

static bool broken_direction_is_backward;

/* The control: what came from later segments is lost. */
static void (*true_sum_begin)(SequenceLink *, const ExclusiveSum *);
static void (*true_sum_finish)(SequenceLink *);
static real *lost_incoming;
static size_t lost_count;

static void broken_sum_begin(SequenceLink *link, const ExclusiveSum *sum)
{
    true_sum_begin(link, sum);
    broken_direction_is_backward = sum->direction == SCAN_BACKWARD;
    lost_incoming = sum->incoming;
    lost_count = sum->count;
}

static void broken_sum_finish(SequenceLink *link)
{
    true_sum_finish(link);
    if (broken_direction_is_backward) memset(lost_incoming, 0, lost_count * sizeof *lost_incoming);
}

static void compare_on_grid(const Case *c, int data_ranks, ScanKind scan)
{
    Topology topology = topology_create(data_ranks, scan);
    Outcome got = on_grid(c, &topology);
    char what[160];
    snprintf(what, sizeof what, "%s on %d x %d ranks", c->name, data_ranks, topology.sequence_ranks);
    check_gradients(what, &c->expected, got.loss, got.grads);
    free(got.grads);
    topology_destroy(&topology);
}

/* On every grid of as many data ranks as there are sequences for, with at most `blocks` sequence ranks. */
static void compare_on_grids(const Case *c, int blocks, ScanKind scan)
{
    for (int data_ranks = 1; data_ranks <= world().size; data_ranks++)
        if (world().size % data_ranks == 0 && c->pass.sequences % (size_t)data_ranks == 0 &&
            world().size / data_ranks <= blocks)
            compare_on_grid(c, data_ranks, scan);
}

/* 22 tokens in blocks of 4: six blocks, the last one short, not divisible by 4 ranks. */
static void test_every_kind_on_every_grid(void)
{
    for (int v = 0; v < variant_count; v++) {
        Case c = case_create(&variants[v], "", SEQUENCES);
        compare_on_grids(&c, 6, SCAN_EXSCAN);
        case_destroy(&c);
    }
}

static void test_nonblocking_scan(void)
{
    for (int v = 0; v < variant_count; v++) {
        Case c = case_create(&variants[v], "", SEQUENCES);
        compare_on_grid(&c, 1, SCAN_IEXSCAN);
        compare_on_grid(&c, 1, SCAN_CHAIN);
        case_destroy(&c);
    }
}

static void test_dropout_and_recompute(void)
{
    for (int v = 0; v < variant_count; v++) {
        Case c = case_create(&variants[v], "model.dropout=0.3 train.recompute=layer", SEQUENCES);
        compare_on_grid(&c, 1, SCAN_EXSCAN);
        case_destroy(&c);
    }
}

/* Sizes at which panels, tiles, strips and chunks are cut: four blocks for four ranks, the last one short. Sketches of 32 and of
   20 numbers take turns, so that every family of kinds sees both. */
static void test_real_shapes(void)
{
    const char *const settings[] = {REAL_SHAPE " attention.sketch_size=32", REAL_SHAPE " attention.sketch_size=20"};
    for (int v = 0; v < variant_count; v++) {
        Case c = case_create(&variants[v], settings[v % 2], 1);
        compare_on_grid(&c, 1, SCAN_CHAIN);
        case_destroy(&c);
    }
}

/* Six blocks in two stretches of three, in three of two, in five that are not equal, in six; each stretch on up to as many
   ranks as it has blocks. */
static void compare_in_stretches(const Variant *variant)
{
    static const struct {
        const char *settings;
        int blocks;
    } cuts[] = {{"train.stretch_length=12", 3},
                {"train.stretch_length=8 model.dropout=0.3 train.recompute=layer", 2},
                {"train.stretch_length=5 train.recompute=attention", 1},
                {"train.stretch_length=4", 1}};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        Case c = case_create(variant, cuts[i].settings, SEQUENCES);
        compare_on_grids(&c, cuts[i].blocks, i % 2 ? SCAN_CHAIN : SCAN_IEXSCAN);
        case_destroy(&c);
    }
}

static void test_stretches(void)
{
    for (int v = 0; v < variant_count; v++)
        if (variant_is_linear(&variants[v])) compare_in_stretches(&variants[v]);
}

/* Windows that span several ranks and several stretches, and one that is wider than the sequence. */
static void test_wide_windows(void)
{
    static const Variant wide[] = {
        {"window-3", "kind=polysketch sketch=random local=window window_blocks=3 gate=data far_scale=0.3"},
        {"window-4", "kind=polysketch sketch=learned local=window window_blocks=4 gate=constant local_weight=exp"},
        {"window-9", "kind=polysketch sketch=projection local=window window_blocks=9 gate=data denominator_one=0"},
    };
    for (int v = 0; v < 3; v++) {
        Case c = case_create(&wide[v], "", SEQUENCES);
        compare_on_grids(&c, 6, SCAN_EXSCAN);
        case_destroy(&c);
        compare_in_stretches(&wide[v]);
    }
}

/* Layers of different kinds: prefix states of other sizes, keys and values round the ring between them; what layers take turns
   with is as large as the largest needs. */
static void test_hybrids(void)
{
    const char *const ways[] = {HYBRID_LAYERS, HYBRID_LAYERS "model.dropout=0.3 train.recompute=attention",
                                HYBRID_LAYERS "train.recompute=layer"};
    for (int v = 0; v < hybrid_count; v++) {
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            Case c = case_create(&hybrids[v], ways[i], SEQUENCES);
            compare_on_grids(&c, 6, i ? SCAN_CHAIN : SCAN_IEXSCAN);
            case_destroy(&c);
        }
        if (!variant_is_linear(&hybrids[v])) continue;
        Case c = case_create(&hybrids[v], HYBRID_LAYERS "train.stretch_length=8 train.recompute=layer", SEQUENCES);
        compare_on_grids(&c, 2, SCAN_IEXSCAN);
        case_destroy(&c);
    }
}

/* Documents that begin and end within blocks, ranks, stretches and windows. */
static void test_documents(void)
{
    static const Variant more[] = {
        {"window-3", "kind=polysketch sketch=random local=window window_blocks=3 gate=data far_scale=0.3"},
        {"window-9",
         "kind=polysketch sketch=projection local=window window_blocks=9 denominator_one=0 local_weight=exp"},
    };
    for (int v = 0; v < variant_count + 2; v += VARIANT_STEP) {
        const Variant *variant = v < variant_count ? &variants[v] : &more[v - variant_count];
        const char *const ways[] = {DOCUMENTS, DOCUMENTS " model.dropout=0.3 train.recompute=layer",
                                    DOCUMENTS " train.recompute=attention"};
        Case c = case_create(variant, ways[v % 3], SEQUENCES);
        compare_on_grids(&c, 6, (ScanKind)(v % 3));
        case_destroy(&c);
        if (!variant_is_linear(variant)) continue;
        c = case_create(variant, v % 2 ? DOCUMENTS " train.stretch_length=8" : DOCUMENTS " train.stretch_length=12",
                        SEQUENCES);
        compare_on_grids(&c, v % 2 ? 2 : 3, v % 4 < 2 ? SCAN_IEXSCAN : SCAN_CHAIN);
        case_destroy(&c);
    }
}

static Topology topology_with_broken_backward_scan(void)
{
    Topology topology = topology_create(1, SCAN_EXSCAN);
    true_sum_begin = topology.link->exclusive_sum_begin;
    true_sum_finish = topology.link->exclusive_sum_finish;
    topology.link->exclusive_sum_begin = broken_sum_begin;
    topology.link->exclusive_sum_finish = broken_sum_finish;
    return topology;
}

/* The control: this comparison can fail, and does when the backward scan is broken. The fault is to lie as far beyond the
   bound as the bound lies beyond what rounding moved. */
static void test_broken_backward_scan_is_noticed(void)
{
    if (world().size == 1) return; /* nothing is exchanged */
    for (int v = 0; v < variant_count; v++) {
        Case c = case_create(&variants[v], "", SEQUENCES);
        if (c.model->layers[0].attention.map) {
            Topology topology = topology_with_broken_backward_scan();
            Outcome got = on_grid(&c, &topology);
            double worst = gradient_excess(&c.expected, got.grads);
            check_true(worst > ROUNDING_FACTOR, "%s: the broken backward scan shows (%.3g times the tolerance)", c.name,
                       worst);
            if (world().rank == 0)
                printf("control %s: backward scan broken on purpose, gradients differ by %.2g times the tolerance\n",
                       c.name, worst);
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
    {"blocks and sketches of real sizes", test_real_shapes},
    {"stretches of a sequence", test_stretches},
    {"wide windows", test_wide_windows},
    {"layers of different kinds", test_hybrids},
    {"documents", test_documents},
    {"control: a broken backward scan is noticed", test_broken_backward_scan_is_noticed},
};
static const Suite suites[] = {SUITE("parity", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_parity", suites, 1);
    world_stop();
    return code;
}
