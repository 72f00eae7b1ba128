/* Steps of training with shares of states, gradients and values on the ranks (parallel.shard), and with values once on each
   node (parallel.node_shared), are those with a copy on every rank, on every grid; gradients that are not finite are seen by
   all; checkpoints hold the same tensors whichever shares wrote or read them, and a damaged one, or a copy that differs, is
   noticed. time limit: 300 s, for a busy machine */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint.h"
#include "mpi/node.h"
#include "mpi/param_store_replicated.h"
#include "mpi/shard_exchange.h"
#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/digest.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/train/step.h"
#include "tests/harness/check.h"
#include "tests/harness/scratch.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

/* Of some steps, whose sums over ranks are taken in another order; relative to the largest number of a tensor. The options below
   keep AdamW from magnifying what is rounding alone. */
static const double TOLERANCE = sizeof(real) == 4 ? 2e-4 : 1e-12;

/* With larger steps this model magnifies rounding tenfold at each of them. */
#define LEARNING_RATE 1e-3

enum { STEPS = 8, OTHER_STEPS = 3, SEQUENCES = 12 /* divisible by every number of data ranks up to 4 */ };

/* Ways to keep what training needs. Nodes are made on this machine: of at most so many ranks, so that with three and four ranks
   some are smaller than others. */
typedef struct Way {
    const char *name;
    ShardStage stage;
    bool node_shared;
    int node_ranks; /* 0 = all */
    int same_as;    /* an earlier way, which gives the same bits; -1: to rounding */
} Way;

static const Way ways[] = {
    {"none", SHARD_NONE, false, 0, -1},
    {"optimizer", SHARD_OPTIMIZER, false, 0, 0},
    {"gradients", SHARD_GRADIENTS, false, 0, -1},
    {"parameters", SHARD_PARAMETERS, false, 0, -1},
    {"none, node", SHARD_NONE, true, 0, 0},
    {"none, nodes of 2", SHARD_NONE, true, 2, 0},
    {"optimizer, nodes of 3", SHARD_OPTIMIZER, true, 3, 0},
    {"gradients, nodes of 2", SHARD_GRADIENTS, true, 2, 2},
};
enum { WAYS = sizeof ways / sizeof *ways, OF_RANKS = 4 /* the first ones; in the others values are of nodes */ };

/* The two orders of summing differ in bits, and with `auto` nodes decide. */
static void choose_way(Config *config, const Way *way)
{
    node_limit(way->node_ranks);
    config->parallel.shard = way->stage;
    config->parallel.node_shared = way->node_shared;
    if (config->parallel.gradient_sums == SUMS_AUTO) config->parallel.gradient_sums = SUMS_LAST;
}

/* The first is run on every grid for all steps, the others on one. */
static const struct {
    const char *name, *settings;
    int steps;
    bool apart;         /* every rank has sequences of its own, or as few as can be */
    bool micro_batches; /* two or three of a step */
} cases[] = {
    {"Muon, random sketches, micro-batches", "attention.sketch=random train.optimizer=muon train.clip_norm=0.05", STEPS,
     true, true},
    {"AdamW", "attention.sketch=learned", OTHER_STEPS, true, false},
    {"stretches, recomputed layers", "model.layers=5 train.stretch_length=11 train.recompute=layer", OTHER_STEPS, false,
     false},
    {"documents, overlapped sums",
     "model.layers=4 train.document_mask=true parallel.gradient_sums=overlapped model.dropout=0.1", OTHER_STEPS, false,
     false},
};
enum { CASES = sizeof cases / sizeof *cases };

/* What is left of a run. */
typedef struct Outcome {
    double losses[STEPS], norms[STEPS];
    real *values;      /* (total_count), in the plain layout */
    uint64_t *digests; /* of the states */
} Outcome;

/* Tokens that depend on their place in the data alone, in documents of five. */
static void make_tokens(void *context, uint64_t in_batch, const TokenBatch *part)
{
    const TrainStep *step = context;
    const PassSpec *spec = model_pass_spec(step->pass);
    RngStream stream = rng_stream(3, "tokens", 0);
    size_t i = 0;
    for (size_t s = 0; s < spec->sequences; s++)
        for (size_t k = 0; k < spec->stretches; k++) {
            TokenRange range = model_pass_range(step->pass, k);
            for (size_t t = range.first; t < range.first + range.count; t++, i++) {
                uint64_t place = (in_batch + s) * (spec->context_length + 1) + t;
                part->inputs[i] = (int32_t)(11 * rng_uniform(stream, place));
                part->targets[i] = (int32_t)(11 * rng_uniform(stream, place + 1));
                if (part->document_starts) part->document_starts[i] = (int32_t)(t / 5 * 5);
            }
        }
}

/* What is gathered of norms in shares counts as communication. */
static double norm_of_step(ParamStore *store, bool of_shares)
{
    double before = store->seconds, norm = store->gradient_norm(store);
    if (of_shares) check_true(store->seconds > before, "the norm took %g s of communication", store->seconds - before);
    return norm;
}

static void make_steps(TrainStep *step, int steps, Outcome *outcome)
{
    ParamStore *store = step->store;
    bool of_shares = store->ranks > 1 && step->config->parallel.shard >= SHARD_GRADIENTS;
    for (int i = 0; i < steps; i++) {
        outcome->losses[i] = train_step_gradients(step, make_tokens, step, (uint64_t)i);
        outcome->norms[i] = norm_of_step(store, of_shares);
        train_step_update(step, LEARNING_RATE, outcome->norms[i], i + 1);
    }
    world_sum_doubles(outcome->losses, STEPS);
}

static void read_store(ParamStore *store, Outcome *outcome)
{
    const ParamTable *table = store->params;
    outcome->values = checked_calloc(table->total_count, sizeof(real));
    outcome->digests = checked_calloc((size_t)store->states->count, sizeof *outcome->digests);
    param_store_acquire_all(store);
    for (int i = 0; i < table->count; i++)
        memcpy(outcome->values + table->params[i].offset, store->values(store, i),
               table->params[i].count * sizeof(real));
    param_store_release_all(store);
    for (int i = 0; i < store->states->count; i++) outcome->digests[i] = store->digest_state(store, i);
}

static Outcome run(Config *config, const Model *model, int steps, const Way *way)
{
    Outcome outcome = {.values = NULL};
    choose_way(config, way);
    Topology topology = topology_create((int)config->parallel.data_ranks, SCAN_IEXSCAN);
    TrainStep *step = train_step_create(config, model, &topology);
    param_store_initialise(step->store, 4);
    make_steps(step, steps, &outcome);
    read_store(step->store, &outcome);
    train_step_destroy(step);
    topology_destroy(&topology);
    return outcome;
}

static void outcome_destroy(Outcome *outcome)
{
    free(outcome->values);
    free(outcome->digests);
}

/* The largest relative difference, and where. */
typedef struct Worst {
    const char *name;
    double difference;
} Worst;

static void compare(Worst *worst, const char *name, double difference, double scale)
{
    double relative = isfinite(difference) ? fabs(difference) / scale : INFINITY;
    if (relative > worst->difference) *worst = (Worst){name, relative};
}

static void check_outcome(const char *what, const Model *model, const Outcome *got, const Outcome *expected)
{
    Worst loss = {0}, norm = {0}, values = {0};
    for (int i = 0; i < STEPS; i++) {
        compare(&loss, "", got->losses[i] - expected->losses[i], expected->losses[i]);
        compare(&norm, "", got->norms[i] - expected->norms[i], expected->norms[i]);
    }
    for (int p = 0; p < model->table.count; p++) {
        const Param *param = &model->table.params[p];
        const real *a = got->values + param->offset, *b = expected->values + param->offset;
        double largest = 0, difference = 0;
        for (size_t i = 0; i < param->count; i++) {
            largest = fmax(largest, fabs((double)b[i]));
            difference = fmax(difference, isfinite(a[i]) ? fabs((double)a[i] - (double)b[i]) : INFINITY);
        }
        compare(&values, param->name, difference, largest);
    }
    check_true(fmax(loss.difference, norm.difference) <= TOLERANCE, "%s: losses differ by %.2g, norms by %.2g", what,
               loss.difference, norm.difference);
    check_true(values.difference <= TOLERANCE, "%s: %s differs by %.2g", what, values.name, values.difference);
}

/* Where gradients are summed as for copies nothing differs by a bit, nor in a run that is repeated. */
static void check_bits(const char *what, const Model *model, int states, const Outcome *got, const Outcome *expected)
{
    check_true(memcmp(got->values, expected->values, model->table.total_count * sizeof(real)) == 0,
               "%s: bits of values", what);
    check_true(memcmp(got->digests, expected->digests, (size_t)states * sizeof *got->digests) == 0,
               "%s: bits of states", what);
}

static Config case_config(int number, int data_ranks)
{
    static const Variant variant = {"polysketch", "kind=polysketch"};
    char settings[512];
    Message problem = {""};
    snprintf(settings, sizeof settings,
             "train.batch_sequences=%d train.epsilon=1e-3 train.learning_rate=1e-3 train.muon_learning_rate=1e-3 "
             "attention.sketch_size=5 %s",
             SEQUENCES, cases[number].settings);
    Config config = variant_config(&variant, settings);
    config.parallel.data_ranks = data_ranks;
    int share = SEQUENCES / data_ranks;
    config.train.micro_batch_sequences = !cases[number].micro_batches ? 0 : share % 2 ? share / 3 : share / 2;
    check_true(config_finish(&config, world().size, &problem), "configuration: %s", problem.text);
    return config;
}

static int state_count(const Config *config, const ParamTable *params)
{
    Optimizer *optimizer = optimizer_plan(&config->train.optimizer, params);
    int count = optimizer->states.count;
    optimizer_destroy(optimizer);
    return count;
}

/* Ways [first, end) of `outcomes` (end) beside the first of all, or beside those whose bits they have, which come before. */
static void check_ways(int number, Config *config, const Model *model, int first, int end, const Outcome *outcomes)
{
    int states = state_count(config, &model->table);
    for (int i = first; i < end; i++) {
        char what[128];
        snprintf(what, sizeof what, "%s, %d x %d, %s", cases[number].name, (int)config->parallel.data_ranks,
                 config_sequence_ranks(config, world().size), ways[i].name);
        check_outcome(what, model, &outcomes[i], &outcomes[0]);
        if (ways[i].same_as >= 0) check_bits(what, model, states, &outcomes[i], &outcomes[ways[i].same_as]);
    }
}

static void check_again(int number, Config *config, const Model *model, const Outcome *outcomes)
{
    for (int i = 1; i < OF_RANKS; i++) {
        Outcome again = run(config, model, cases[number].steps, &ways[i]);
        check_bits(ways[i].name, model, state_count(config, &model->table), &again, &outcomes[i]);
        outcome_destroy(&again);
    }
}

static void on_grid(int number, int data_ranks)
{
    Config config = case_config(number, data_ranks);
    Model *model = variant_model(&config);
    Outcome outcomes[OF_RANKS];
    int steps = cases[number].steps;
    for (int i = 0; i < OF_RANKS; i++) outcomes[i] = run(&config, model, steps, &ways[i]);
    const double *losses = outcomes[0].losses;
    check_true(losses[steps - 1] < losses[0], "%s: it learns: %g to %g", cases[number].name, losses[0],
               losses[steps - 1]);
    check_ways(number, &config, model, 1, OF_RANKS, outcomes);
    if (number == 0 && data_ranks == 1) check_again(number, &config, model, outcomes);
    for (int i = 0; i < OF_RANKS; i++) outcome_destroy(&outcomes[i]);
    model_destroy(model);
}

static void test_every_grid(void)
{
    for (int data_ranks = 1; data_ranks <= world().size; data_ranks++)
        if (world().size % data_ranks == 0) on_grid(0, data_ranks);
}

/* The one grid of a case; a stretch has three blocks. */
static int data_ranks_of(int number) { return cases[number].apart ? world().size : world().size > 3 ? 2 : 1; }

static void test_other_cases(void)
{
    for (int number = 1; number < CASES; number++) on_grid(number, data_ranks_of(number));
}

/* Bit by bit, so that few steps tell. */
static void test_nodes(void)
{
    enum { FEW = 2 };
    for (int number = 0; number < CASES; number++) {
        Config config = case_config(number, data_ranks_of(number));
        Model *model = variant_model(&config);
        Outcome outcomes[WAYS] = {{.values = NULL}};
        for (int i = 0; i < WAYS; i++)
            if (i >= OF_RANKS || i == SHARD_NONE || i == SHARD_GRADIENTS)
                outcomes[i] = run(&config, model, FEW, &ways[i]);
        check_ways(number, &config, model, OF_RANKS, WAYS, outcomes);
        for (int i = 0; i < WAYS; i++) outcome_destroy(&outcomes[i]);
        model_destroy(model);
    }
}

/* On one rank: all see it, in the norm by which a step is skipped. */
static void test_not_finite(void)
{
    for (int i = 0; i < WAYS; i++) {
        Config config = case_config(1, world().size);
        choose_way(&config, &ways[i]);
        Model *model = variant_model(&config);
        Topology topology = topology_create(world().size, SCAN_IEXSCAN);
        TrainStep *step = train_step_create(&config, model, &topology);
        ParamStore *store = step->store;
        store->clear_gradients(store);
        store->open_sums(store);
        if (world().rank == world().size - 1) store->gradient(store, model->layers[1].qkv)[5] = (real)NAN;
        store->close_sums(store);
        check_true(!isfinite(store->gradient_norm(store)), "%s: seen on rank %d", ways[i].name, world().rank);
        store->clear_gradients(store);
        store->open_sums(store);
        store->close_sums(store);
        check_true(store->gradient_norm(store) == 0, "%s: gone on rank %d", ways[i].name, world().rank);
        train_step_destroy(step);
        topology_destroy(&topology);
        model_destroy(model);
    }
}

/* ---- checkpoints ---- */

/* A step to be, its store, and a checkpoint of it. */
typedef struct Run {
    Config config;
    Model *model;
    Topology topology;
    TrainStep *step;
    Checkpoint checkpoint;
} Run;

static void run_create(Run *run, const Way *way)
{
    run->config = case_config(0, 1);
    choose_way(&run->config, way);
    run->model = variant_model(&run->config);
    run->topology = topology_create(1, SCAN_IEXSCAN);
    run->step = train_step_create(&run->config, run->model, &run->topology);
    run->checkpoint = (Checkpoint){.options = config_options(&run->config), .store = run->step->store};
}

static void run_destroy(Run *run)
{
    train_step_destroy(run->step);
    topology_destroy(&run->topology);
    model_destroy(run->model);
}

/* Of all values and states as files have them. */
static uint64_t digest_of(ParamStore *store)
{
    int params = store->params->count, states = store->states->count;
    uint64_t *digests = checked_calloc((size_t)(params + states), sizeof *digests);
    for (int i = 0; i < params; i++) digests[i] = store->digest(store, i);
    for (int i = 0; i < states; i++) digests[params + i] = store->digest_state(store, i);
    uint64_t digest = digest_bytes(digests, (size_t)(params + states) * sizeof *digests);
    free(digests);
    return digest;
}

/* Of values on nodes some suffice: each reads what one other wrote, and what it wrote itself, which another reads too; of all
   ways where there are four ranks, which take long. */
static bool worth_reading(int writer, int reader)
{
    if (world().size > 3) return reader == writer || reader == (writer + 1) % WAYS;
    if (writer < OF_RANKS && reader < OF_RANKS) return true;
    return writer == reader || (writer == SHARD_OPTIMIZER && reader >= OF_RANKS) || reader == SHARD_NONE;
}

static void check_readers(const char *path, const Way *writer, uint64_t written)
{
    for (int b = 0; b < WAYS; b++) {
        if (!worth_reading((int)(writer - ways), b)) continue;
        Run reader;
        Message problem = {""};
        run_create(&reader, &ways[b]);
        check_true(checkpoint_load(path, &reader.checkpoint, true, &problem), "%s read by %s: %s", writer->name,
                   ways[b].name, problem.text);
        uint64_t read = digest_of(reader.step->store);
        check_true(read == written, "tensors of %s as %s reads them", writer->name, ways[b].name);
        check_true(world_same(read), "all ranks find the same");
        check_true(checkpoint_same_on_all_ranks(&reader.checkpoint, &problem), "copies: %s", problem.text);
        run_destroy(&reader);
    }
}

static void test_checkpoints(void)
{
    for (int a = 0; a < WAYS; a++) {
        Run writer;
        Outcome unused = {.values = NULL};
        Message problem = {""};
        const char *path = scratch_path("stage.h5");
        run_create(&writer, &ways[a]);
        param_store_initialise(writer.step->store, 4);
        make_steps(writer.step, 1, &unused);
        uint64_t written = digest_of(writer.step->store);
        check_true(checkpoint_write(&writer.checkpoint, path, &problem), "written by %s: %s", ways[a].name,
                   problem.text);
        run_destroy(&writer);
        check_readers(path, &ways[a], written);
    }
}

/* On rank 0 alone is known what is damaged: all are told. */
static void test_damage(void)
{
    Run run;
    Message problem = {""};
    const char *path = scratch_path("damaged.h5");
    run_create(&run, &ways[0]);
    param_store_initialise(run.step->store, 4);
    check_true(checkpoint_write(&run.checkpoint, path, &problem), "written: %s", problem.text);
    float value = (float)run.step->store->kept_values(run.step->store, run.model->layers[1].qkv)[0];
    run_destroy(&run);
    world_barrier();
    if (world().rank == 0) scratch_flip_value(path, value);
    world_barrier();
    for (int i = 0; i < WAYS; i++) {
        run_create(&run, &ways[i]);
        check_true(!checkpoint_load(path, &run.checkpoint, true, &problem) &&
                       strstr(problem.text, "layers.1.attention.qkv"),
                   "%s: '%s'", ways[i].name, problem.text);
        run_destroy(&run);
    }
}

/* Whether some rank has other memory for values than the last one. */
static bool has_copies(const Way *way)
{
    int node_ranks = way->node_ranks ? way->node_ranks : world().size;
    if (way->stage == SHARD_PARAMETERS) return false;
    return way->node_shared ? world().size > node_ranks : world().size > 1;
}

/* Where values are whole on all ranks, or nodes, one that differs is noticed. */
static void test_copies(void)
{
    for (int i = 0; i < WAYS; i++) {
        Run run;
        Message problem = {""};
        run_create(&run, &ways[i]);
        ParamStore *store = run.step->store;
        param_store_initialise(store, 4);
        check_true(checkpoint_same_on_all_ranks(&run.checkpoint, &problem), "the same: %s", problem.text);
        param_store_acquire_all(store);
        if (world().rank == world().size - 1) *(real *)store->values(store, run.model->layers[0].out) += 1;
        param_store_release_all(store);
        world_barrier();
        check_true(checkpoint_same_on_all_ranks(&run.checkpoint, &problem) == !has_copies(&ways[i]), "%s: '%s'",
                   ways[i].name, problem.text);
        run_destroy(&run);
    }
}

/* A tensor of more numbers than a message has, whose second piece begins within a row, reaches the keepers of its rows. */
static void test_large_tensor(void)
{
    enum { ROWS = 1201, COLUMNS = 4099, PERIOD = 1000003 };
    ParamTable table = {.params = NULL};
    param_table_begin_group(&table);
    int index = param_table_add_matrix(&table, "large", ROWS, COLUMNS, INIT_CONSTANT, 0);
    param_table_seal(&table);
    const Param *param = &table.params[index];
    ParamShards *shards = param_shards_create(&table, false, world().size);
    RowRange rows = param_shards_rows(shards, param, world().rank);
    size_t first = rows.first * COLUMNS, count = (rows.end - rows.first) * COLUMNS, wrong = 0;
    real *whole = world().rank == 0 ? checked_calloc(param->count, sizeof *whole) : NULL;
    real *kept = checked_calloc(count, sizeof *kept);
    for (size_t i = 0; whole && i < param->count; i++) whole[i] = (real)(i % PERIOD);
    check_true(param->count > GRADIENT_PIECE && GRADIENT_PIECE % COLUMNS > 0, "%zu numbers", param->count);
    shard_scatter(MPI_COMM_WORLD, shards, param, kept, whole);
    for (size_t i = 0; i < count; i++) wrong += kept[i] != (real)((first + i) % PERIOD);
    check_true(count > 0 && wrong == 0, "%zu of %zu numbers are not those of rank 0", wrong, count);
    free(whole), free(kept);
    param_shards_destroy(shards);
    param_table_destroy(&table);
}

static const TestCase tests[] = {{"steps on every grid", test_every_grid},
                                 {"other steps", test_other_cases},
                                 {"values once on each node", test_nodes},
                                 {"gradients that are not finite", test_not_finite},
                                 {"checkpoints of every way, read in every way", test_checkpoints},
                                 {"a damaged checkpoint", test_damage},
                                 {"copies that differ", test_copies},
                                 {"a tensor larger than a message", test_large_tensor}};
static const Suite suites[] = {SUITE("shares of the ranks", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    scratch_make();
    int code = run_suites("test_shards", suites, 1);
    scratch_remove();
    world_stop();
    return code;
}
