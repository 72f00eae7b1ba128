/* Attention kinds: block forms against the definition, causality, independence of blocks, known special cases; what heads attend
   with. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/attention/distance.h"
#include "src/base/memory.h"
#include "tests/harness/check.h"
#include "tests/harness/effort.h"
#include "tests/harness/naive_attention.h"
#include "tests/harness/rounding.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

/* What attention is given: (B, T, 3C) and, with a gate, (B, H, T). */
typedef struct Input {
    real *qkv, *gate;
} Input;

static Input random_input(const Model *model, size_t sequences, size_t T, uint64_t seed)
{
    size_t rows = sequences * T;
    Input input = {.qkv = random_reals(rows * 3 * model->width, 1, seed)};
    if (!attention_has_gate(&model->layers[0].attention)) return input;
    input.gate = random_reals(rows * model->heads, 0.2, seed + 1);
    for (size_t i = 0; i < rows * model->heads; i++) input.gate[i] = input.gate[i] > 0 ? -input.gate[i] : input.gate[i];
    return input;
}

static void free_input(Input *input) { free(input->qkv), free(input->gate); }

/* What goes into a backward pass, (B, T, C), and what comes out: as an Input. */
typedef struct Gradients {
    const real *d_out;
    Input d;
} Gradients;

/* Runs layer 0's attention over whole sequences, which this process holds; backward too unless `gradients` is NULL. */
static void run_passes(const Model *model, const PassSpec *spec, real *params, const Input *input, real *out,
                       ShareWatch watch, Gradients *gradients)
{
    const AttentionLayer *layer = &model->layers[0].attention;
    SequenceLink link = sequence_link_single();
    AttentionShape shape = pass_shape(spec, 0, 1);
    int32_t *starts = variant_document_starts(spec);
    real *unused = checked_calloc(model->table.trained_count, sizeof *unused);
    ParamStore *store = param_store_over(&model->table, params, unused);
    param_store_acquire_all(store);
    Arena measure = arena_measure();
    if (watch.distances)
        distance_plan(layer, &shape, &measure);
    else
        layer->kind->plan(layer, &shape, &measure);
    Arena scratch = arena_create(measure.peak, "scratch");
    real *saved = checked_calloc(layer->kind->saved_count(layer, &shape), sizeof *saved);
    AttentionRun run = {.layer = layer,
                        .shape = shape,
                        .link = &link,
                        .params = store,
                        .qkv = input->qkv,
                        .gate = input->gate,
                        .document_starts = starts,
                        .out = out,
                        .saved = saved,
                        .watch = watch,
                        .scratch = &scratch};
    if (watch.distances)
        distance_measure(&run, input->qkv, NULL, 0);
    else
        layer->kind->forward(&run);
    if (gradients) {
        run.d_out = gradients->d_out;
        run.d_qkv = gradients->d.qkv;
        run.d_gate = gradients->d.gate;
        layer->kind->backward(&run);
    }
    param_store_destroy(store);
    free(saved), free(starts), free(unused);
    arena_destroy(&scratch);
}

static void run_watched(const Model *model, const PassSpec *spec, real *params, const Input *input, real *out,
                        ShareWatch watch)
{
    run_passes(model, spec, params, input, out, watch, NULL);
}

/* Numbers that come from layer 0: its output (B, T, C), ... */
typedef void Measure(const Model *model, const PassSpec *spec, real *params, const Input *input, real *numbers);

static void run_attention(const Model *model, const PassSpec *spec, real *params, const Input *input, real *out)
{
    run_watched(model, spec, params, input, out, (ShareWatch){0});
}

/* ... or what heads attend with, (B, H, 3) as share_numbers() has them. All rows but some at either end count. */
enum { SHARE_NUMBERS = 3, FIRST_ROW = 5, ROWS = 140 };

static void share_numbers(const HeadShares *shares, size_t count, double *numbers)
{
    for (size_t i = 0; i < count; i++, numbers += SHARE_NUMBERS) {
        check_true(shares[i].rows == ROWS, "%g rows of %d are counted", shares[i].rows, ROWS);
        numbers[0] = shares[i].exact / ROWS;
        numbers[1] = shares[i].sketched / ROWS;
        numbers[2] = shares[i].gates / ROWS;
    }
}

/* ... or how far they look back, (B, H, DISTANCE_NUMBERS). */
enum { DISTANCE_NUMBERS = 1 + DISTANCE_MAX_BUCKETS };
static const size_t queries[] = {FIRST_ROW,     40, 78, FIRST_ROW + ROWS - 1, /* of two sequences */
                                 FIRST_ROW + 1, 64, 65, SIZE_MAX};

static void distance_numbers(const HeadDistances *heads, size_t count, double *numbers)
{
    for (size_t i = 0; i < count; i++, numbers += DISTANCE_NUMBERS) {
        double expected = i < count / 2 ? 4 : 3;
        check_true(heads[i].tokens == ROWS, "%g rows of %d are counted", heads[i].tokens, ROWS);
        check_true(heads[i].queries == expected, "%g queries of %g", heads[i].queries, expected);
        numbers[0] = heads[i].distance / heads[i].uniform;
        for (int b = 0; b < DISTANCE_MAX_BUCKETS; b++) numbers[1 + b] = heads[i].buckets[b];
    }
}

static void run_distances(const Model *model, const PassSpec *spec, real *params, const Input *input, real *numbers)
{
    size_t B = spec->sequences, count = B * model->heads, inputs = B * spec->context_length * 3 * model->width;
    real *out = checked_calloc(B * spec->context_length * model->width, sizeof *out);
    real *before = checked_calloc(inputs, sizeof *before);
    TokenRange rows[] = {{FIRST_ROW, ROWS}, {FIRST_ROW, ROWS}};
    HeadDistances *heads = checked_calloc(count, sizeof *heads);
    double *found = checked_calloc(count * DISTANCE_NUMBERS, sizeof *found);
    memcpy(before, input->qkv, inputs * sizeof *before);
    run_watched(model, spec, params, input, out, (ShareWatch){.rows = rows, .distances = heads, .queries = queries});
    check_true(memcmp(before, input->qkv, inputs * sizeof *before) == 0, "the values are there again");
    distance_numbers(heads, count, found);
    for (size_t i = 0; i < count * DISTANCE_NUMBERS; i++) numbers[i] = (real)found[i];
    free(out), free(before), free(heads), free(found);
}

static void run_shares(const Model *model, const PassSpec *spec, real *params, const Input *input, real *numbers)
{
    size_t B = spec->sequences, count = B * model->heads;
    real *out = checked_calloc(B * spec->context_length * model->width, sizeof *out);
    TokenRange *rows = checked_calloc(B, sizeof *rows);
    HeadShares *shares = checked_calloc(count, sizeof *shares);
    double *found = checked_calloc(count * SHARE_NUMBERS, sizeof *found);
    for (size_t s = 0; s < B; s++) rows[s] = (TokenRange){FIRST_ROW, ROWS};
    run_watched(model, spec, params, input, out, (ShareWatch){.rows = rows, .heads = shares});
    share_numbers(shares, count, found);
    for (size_t i = 0; i < count * SHARE_NUMBERS; i++) numbers[i] = (real)found[i];
    free(out), free(rows), free(shares), free(found);
}

/* What rounding explains of a difference from `numbers` (count), which `measure` gave. */
static double tolerance_of(Measure *measure, const Model *model, const PassSpec *spec, real *params, const Input *input,
                           const real *numbers, size_t count)
{
    size_t inputs = spec->sequences * spec->context_length * model->width;
    real *moved = checked_calloc(count, sizeof *moved);
    double movement = 0;
    for (uint64_t draw = 0; draw < ROUNDING_DRAWS; draw++) {
        real *moved_params = nudged(params, model->table.total_count, draw);
        Input nearby = {nudged(input->qkv, 3 * inputs, draw), NULL};
        if (input->gate) nearby.gate = nudged(input->gate, inputs / model->head_width, draw);
        measure(model, spec, moved_params, &nearby, moved);
        movement = largest_movement(movement, moved, numbers, count);
        free_input(&nearby);
        free(moved_params);
    }
    free(moved);
    return rounding_tolerance(movement, numbers, count);
}

/* Sequence s, whose documents are among `starts` (B, T) or NULL. */
static NaiveInput naive_input(const Model *model, const PassSpec *spec, const Input *input, const int32_t *starts,
                              size_t s)
{
    size_t T = spec->context_length;
    return (NaiveInput){.starts = starts ? starts + s * T : NULL,
                        .qkv = input->qkv + s * T * 3 * model->width,
                        .gate = input->gate ? input->gate + s * T * model->heads : NULL,
                        .tokens = T,
                        .block = spec->block_length};
}

static void compare_with_definition(const Variant *variant, const char *more)
{
    Config config = variant_config(variant, more);
    Model *model = variant_model(&config);
    PassSpec spec = variant_pass(&config, 2);
    real *params = variant_parameters(model, 3);
    size_t T = spec.context_length, C = model->width, B = spec.sequences;
    Input input = random_input(model, B, T, 5);
    real *out = checked_calloc(B * T * C, sizeof *out);
    double *expected = checked_calloc(B * T * C, sizeof *expected);
    run_attention(model, &spec, params, &input, out);
    int32_t *starts = variant_document_starts(&spec);
    for (size_t s = 0; s < B; s++) {
        NaiveInput one = naive_input(model, &spec, &input, starts, s);
        naive_attention(&model->layers[0].attention, &model->table, params, &one, expected + s * T * C);
    }
    char what[256];
    snprintf(what, sizeof what, "%s, %s", variant->name, more);
    check_close_double(what, out, expected, B * T * C,
                       tolerance_of(run_attention, model, &spec, params, &input, out, B * T * C));
    free_input(&input);
    free(params), free(out), free(expected), free(starts);
    model_destroy(model);
}

/* What heads attend with, by the definition: shares, or distances, (2, H); the other is NULL. */
static void naive_watch(const Model *model, const PassSpec *spec, const real *params, const Input *input,
                        HeadShares *shares, HeadDistances *distances)
{
    size_t H = model->heads;
    double *out = checked_calloc(spec->context_length * model->width, sizeof *out);
    int32_t *starts = variant_document_starts(spec);
    TokenRange rows = {FIRST_ROW, ROWS};
    for (size_t s = 0; s < 2; s++) {
        NaiveInput one = naive_input(model, spec, input, starts, s);
        one.watch = (ShareWatch){.rows = &rows};
        if (shares) one.watch.heads = shares + s * H;
        if (distances) one.watch.distances = distances + s * H, one.watch.queries = queries + s * DISTANCE_QUERIES;
        naive_attention(&model->layers[0].attention, &model->table, params, &one, out);
    }
    free(out), free(starts);
}

static void compare_shares(const Variant *variant, const char *more)
{
    Config config = variant_config(variant, more);
    Model *model = variant_model(&config);
    PassSpec spec = variant_pass(&config, 2);
    real *params = variant_parameters(model, 3);
    size_t H = model->heads, count = 2 * H * SHARE_NUMBERS;
    Input input = random_input(model, 2, spec.context_length, 5);
    real *numbers = checked_calloc(count, sizeof *numbers);
    double *expected = checked_calloc(count, sizeof *expected);
    HeadShares *shares = checked_calloc(2 * H, sizeof *shares);
    run_shares(model, &spec, params, &input, numbers);
    naive_watch(model, &spec, params, &input, shares, NULL);
    share_numbers(shares, 2 * H, expected);
    char what[256];
    snprintf(what, sizeof what, "shares of %s, %s", variant->name, more);
    check_close_double(what, numbers, expected, count,
                       tolerance_of(run_shares, model, &spec, params, &input, numbers, count));
    free_input(&input);
    free(params), free(numbers), free(expected), free(shares);
    model_destroy(model);
}

static void compare_distances(const Variant *variant, const char *more)
{
    Config config = variant_config(variant, more);
    Model *model = variant_model(&config);
    PassSpec spec = variant_pass(&config, 2);
    real *params = variant_parameters(model, 3);
    size_t H = model->heads, count = 2 * H * DISTANCE_NUMBERS;
    Input input = random_input(model, 2, spec.context_length, 5);
    real *numbers = checked_calloc(count, sizeof *numbers);
    double *expected = checked_calloc(count, sizeof *expected);
    HeadDistances *heads = checked_calloc(2 * H, sizeof *heads);
    run_distances(model, &spec, params, &input, numbers);
    naive_watch(model, &spec, params, &input, NULL, heads);
    distance_numbers(heads, 2 * H, expected);
    char what[256];
    snprintf(what, sizeof what, "distances of %s, %s", variant->name, more);
    check_close_double(what, numbers, expected, count,
                       tolerance_of(run_distances, model, &spec, params, &input, numbers, count));
    free_input(&input);
    free(params), free(numbers), free(expected), free(heads);
    model_destroy(model);
}

static void test_distances(void)
{
    for (int v = 0; v < variant_count; v += VARIANT_STEP)
        compare_distances(&variants[v], v / VARIANT_STEP % 2 ? "model.context_length=150 attention.block_length=7"
                                                             : "model.context_length=150 attention.block_length=16 "
                                                               "train.document_mask=true");
}

static void test_shares(void)
{
    for (int v = 0; v < variant_count; v++) {
        compare_shares(&variants[v], "model.context_length=150 attention.sketch_size=5 attention.block_length=7");
        compare_shares(&variants[v], "model.context_length=150 attention.sketch_size=5 attention.block_length=64 "
                                     "attention.denominator_one=0.5");
        compare_shares(&variants[v], "model.context_length=150 attention.sketch_size=5 attention.block_length=7 "
                                     "train.document_mask=true");
    }
}

static void test_definition(void)
{
    const char *lengths[] = {"attention.block_length=1", "attention.block_length=7", "attention.block_length=64",
                             "attention.block_length=150"};
    const char *masks[] = {"false", "true"};
    char more[256];
    for (int v = 0; v < variant_count; v++)
        for (int i = 0; i < 8; i++) {
            snprintf(more, sizeof more, "model.context_length=150 attention.sketch_size=5 %s train.document_mask=%s",
                     lengths[i / 2], masks[i % 2]);
            compare_with_definition(&variants[v], more);
        }
}

/* Sizes at which tiles and panels are cut: more than one tile of queries and of keys, several panels of features. */
#define TILES                                                                                                          \
    "model.context_length=700 attention.block_length=320 attention.sketch_size=20 attention.denominator_one=0.5"

static void test_definition_over_tiles(void)
{
    for (int v = 0; v < variant_count; v += VARIANT_STEP) {
        compare_with_definition(&variants[v], TILES);
        compare_with_definition(&variants[v], TILES " train.document_mask=true");
    }
}

static void change_token(const Model *model, Input *input, size_t T, size_t t, real by)
{
    size_t C = model->width;
    for (size_t c = 0; c < 3 * C; c++) input->qkv[t * 3 * C + c] += by;
    for (size_t j = 0; input->gate && j < model->heads; j++) input->gate[j * T + t] *= by > 0 ? 2 : (real)0.5;
}

/* A later token must not change an earlier output by a single bit. */
static void test_causality(void)
{
    for (int v = 0; v < variant_count; v++) {
        Config config = variant_config(&variants[v], "model.context_length=90 attention.block_length=16");
        Model *model = variant_model(&config);
        PassSpec spec = variant_pass(&config, 1);
        real *params = variant_parameters(model, 3);
        size_t T = 90, C = model->width;
        Input input = random_input(model, 1, T, 6);
        real *before = checked_calloc(T * C, sizeof *before), *after = checked_calloc(T * C, sizeof *after);
        run_attention(model, &spec, params, &input, before);
        for (size_t t = 5; t < T; t += 28) {
            change_token(model, &input, T, t, 3);
            run_attention(model, &spec, params, &input, after);
            check_true(memcmp(before, after, t * C * sizeof *before) == 0,
                       "%s: outputs before token %zu are the same bits when it changes", variants[v].name, t);
            check_true(memcmp(before + t * C, after + t * C, C * sizeof *before) != 0,
                       "%s: the output of token %zu changes", variants[v].name, t);
            change_token(model, &input, T, t, -3);
            run_attention(model, &spec, params, &input, before);
        }
        free_input(&input);
        free(params), free(before), free(after);
        model_destroy(model);
    }
}

/* A variant on one sequence of several documents. */
typedef struct Documented {
    size_t T;
    Model *model;
    PassSpec spec;
    real *params;
    int32_t *starts; /* (T) */
    Input input;
} Documented;

static Documented documented_create(const Variant *variant)
{
    Config config = variant_config(variant, "model.context_length=90 attention.block_length=16 "
                                            "train.document_mask=true attention.denominator_one=0.01");
    Documented d = {.T = 90, .model = variant_model(&config), .spec = variant_pass(&config, 1)};
    d.params = variant_parameters(d.model, 3);
    d.starts = variant_document_starts(&d.spec);
    d.input = random_input(d.model, 1, d.T, 6);
    return d;
}

static void documented_destroy(Documented *d)
{
    free_input(&d->input);
    free(d->params), free(d->starts);
    model_destroy(d->model);
}

/* Documents do not see each other: a token changes outputs of its own document, from itself on, and not a bit elsewhere. */
static void test_isolation(void)
{
    for (int v = 0; v < variant_count; v++) {
        Documented d = documented_create(&variants[v]);
        size_t T = d.T, C = d.model->width, bytes = C * sizeof(real);
        real *before = checked_calloc(T * C, sizeof *before), *after = checked_calloc(T * C, sizeof *after);
        run_attention(d.model, &d.spec, d.params, &d.input, before);
        for (size_t t = 1; t < T; t += 11) {
            Input changed = random_input(d.model, 1, T, 6);
            change_token(d.model, &changed, T, t, 3);
            run_attention(d.model, &d.spec, d.params, &changed, after);
            for (size_t i = 0; i < T; i++) {
                bool same = memcmp(before + i * C, after + i * C, bytes) == 0,
                     sees = i >= t && d.starts[i] == d.starts[t];
                check_true(same || sees, "%s: token %zu changes the output of token %zu", variants[v].name, t, i);
                check_true(!same || i != t, "%s: the output of token %zu changes", variants[v].name, t);
            }
            free_input(&changed);
        }
        free(before), free(after);
        documented_destroy(&d);
    }
}

/* Of one sequence, whose output at token t has another gradient when `changed`. */
static Gradients gradients_of(const Model *model, const PassSpec *spec, real *params, const Input *input, size_t t,
                              bool changed)
{
    size_t C = model->width, T = spec->context_length;
    real *d_out = random_reals(T * C, 1, 8), *out = checked_calloc(T * C, sizeof *out);
    Gradients gradients = {.d_out = d_out, .d = random_input(model, 1, T, 9)}; /* overwritten */
    for (size_t c = 0; c < C && changed; c++) d_out[t * C + c] += 1;
    run_passes(model, spec, params, input, out, (ShareWatch){0}, &gradients);
    free(d_out), free(out);
    return gradients;
}

static bool same_gradients(const Model *model, const Gradients *a, const Gradients *b, size_t T, size_t t)
{
    size_t width = 3 * model->width;
    bool same = memcmp(a->d.qkv + t * width, b->d.qkv + t * width, width * sizeof(real)) == 0;
    for (size_t j = 0; a->d.gate && j < model->heads; j++) same = same && a->d.gate[j * T + t] == b->d.gate[j * T + t];
    return same;
}

/* Nor do their gradients: that of an output flows to its own document, up to it, and not a bit elsewhere. */
static void test_isolated_gradients(void)
{
    for (int v = 0; v < variant_count; v++) {
        Documented d = documented_create(&variants[v]);
        Gradients before = gradients_of(d.model, &d.spec, d.params, &d.input, 0, false);
        for (size_t t = 1; t < d.T; t += 11) {
            Gradients after = gradients_of(d.model, &d.spec, d.params, &d.input, t, true);
            for (size_t i = 0; i < d.T; i++) {
                bool same = same_gradients(d.model, &before, &after, d.T, i),
                     seen = i <= t && d.starts[i] == d.starts[t];
                check_true(same || seen, "%s: output %zu changes the gradient of token %zu", variants[v].name, t, i);
                check_true(!same || i != t, "%s: the gradient of token %zu changes", variants[v].name, t);
            }
            free_input(&after.d);
        }
        free_input(&before.d);
        documented_destroy(&d);
    }
}

/* What a pass forward and back gives on `threads` threads: the output (T, C), then the gradients of its inputs. */
static real *bits_of(const Model *model, const PassSpec *spec, real *params, const Input *input, int threads,
                     size_t *count)
{
    size_t T = spec->context_length, C = model->width, H = input->gate ? model->heads : 0;
    real *d_out = random_reals(T * C, 1, 8), *bits = checked_calloc(T * (4 * C + H), sizeof *bits);
    Gradients gradients = {.d_out = d_out, .d = {bits + T * C, H > 0 ? bits + T * 4 * C : NULL}};
    int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    run_passes(model, spec, params, input, bits, (ShareWatch){0}, &gradients);
    omp_set_num_threads(before);
    free(d_out);
    *count = T * (4 * C + H);
    return bits;
}

/* A single head of a single sequence has work for many threads, and who computes what changes not a bit. */
static void compare_threads(const Variant *variant, const char *more)
{
    Config config = variant_config(variant, more);
    Model *model = variant_model(&config);
    PassSpec spec = variant_pass(&config, 1);
    real *params = variant_parameters(model, 3);
    Input input = random_input(model, 1, spec.context_length, 5);
    size_t count;
    real *alone = bits_of(model, &spec, params, &input, 1, &count);
    for (int threads = 2; threads <= 8; threads += threads < 3 ? 1 : 5) {
        real *shared = bits_of(model, &spec, params, &input, threads, &count);
        check_true(memcmp(alone, shared, count * sizeof *alone) == 0, "%s, %s: 1 and %d threads give the same bits",
                   variant->name, more, threads);
        free(shared);
    }
    free_input(&input);
    free(params), free(alone);
    model_destroy(model);
}

static void test_threads(void)
{
    for (int v = 0; v < variant_count; v++) {
        compare_threads(&variants[v], "model.heads=1 model.context_length=1100 attention.block_length=48");
        compare_threads(&variants[v], "model.context_length=700 attention.block_length=320 train.document_mask=true");
    }
}

/* With `tolerance`, unless it is NULL, to compare them. */
static real *outputs_of(const char *settings, const char *more, size_t T, double *tolerance)
{
    Variant variant = {"", settings};
    Config config = variant_config(&variant, more);
    Model *model = variant_model(&config);
    PassSpec spec = variant_pass(&config, 1);
    real *params = checked_calloc(model->table.total_count, sizeof *params); /* by name: the same in every variant */
    param_table_initialise(&model->table, 9, params);
    Input input = random_input(model, 1, T, 8);
    real *out = checked_calloc(T * model->width, sizeof *out);
    run_attention(model, &spec, params, &input, out);
    if (tolerance) *tolerance = tolerance_of(run_attention, model, &spec, params, &input, out, T * model->width);
    free_input(&input);
    free(params);
    model_destroy(model);
    return out;
}

static void compare_settings(const char *what, const char *a, const char *more_a, const char *b, const char *more_b)
{
    double tolerance;
    real *left = outputs_of(a, more_a, 100, NULL), *right = outputs_of(b, more_b, 100, &tolerance);
    check_close_real(what, left, right, 100 * 16, tolerance);
    free(left), free(right);
}

static double cost_of(const char *settings, const char *more)
{
    Variant variant = {"", settings};
    Config config = variant_config(&variant, more);
    Model *model = variant_model(&config);
    const AttentionLayer *layer = &model->layers[0].attention;
    size_t T = (size_t)config.model.context_length;
    AttentionShape shape = {
        .sequences = 1, .tokens = T, .context_length = T, .block_length = (size_t)config.block_length, .segments = 1};
    double flops = layer->kind->cost(layer, &shape).forward_flops;
    model_destroy(model);
    return flops;
}

static void check_same_cost(const char *what, const char *a, const char *b, const char *more)
{
    double left = cost_of(a, more), right = cost_of(b, more);
    check_true(left == right, "%s: %g and %g operations", what, left, right);
}

static void test_special_cases(void)
{
    const char *short_blocks = "model.context_length=100 attention.block_length=9";
    const char *other_blocks = "model.context_length=100 attention.block_length=40";
    const char *one_block = "model.context_length=100 attention.block_length=128";
    for (int v = 0; v < variant_count; v++) /* with local = sketch, blocks are only a way to compute */
        if (variant_is_linear(&variants[v]) && !variant_blocks_matter(&variants[v]))
            compare_settings(variants[v].name, variants[v].settings, short_blocks, variants[v].settings, other_blocks);
    compare_settings("one block is exact polynomial attention", "kind=polysketch sketch=random degree=4 local=exact",
                     one_block, "kind=polynomial degree=4", one_block);
    compare_settings("likewise with learned sketches", "kind=polysketch sketch=learned degree=4 local=exact", one_block,
                     "kind=polynomial degree=4", one_block);
    check_same_cost("which needs no sketch", "kind=polysketch sketch=learned degree=4 local=exact",
                    "kind=polynomial degree=4", one_block);
    compare_settings("degree 2 needs no sketch", "kind=polysketch sketch=random degree=2 local=sketch", short_blocks,
                     "kind=polynomial degree=2", short_blocks);
}

/* The table of kinds is indexed by the choices of attention.kind. */
static void test_table_of_kinds(void)
{
    const char *names[] = {"softmax", "polynomial", "polysketch", "performer"};
    for (int i = 0; i < 4; i++) {
        char settings[64];
        snprintf(settings, sizeof settings, "kind=%s", names[i]);
        Variant variant = {names[i], settings};
        Config config = variant_config(&variant, NULL);
        Model *model = variant_model(&config);
        check_true(strcmp(model->layers[0].attention.kind->name, names[i]) == 0, "attention.kind = %s gives that kind",
                   names[i]);
        model_destroy(model);
    }
}

static const TestCase tests[] = {
    {"table of kinds", test_table_of_kinds},
    {"block forms equal the definition, b = 1, 7, 64, T", test_definition},
    {"the same over several tiles and panels", test_definition_over_tiles},
    {"shares of exact and sketched weight", test_shares},
    {"how far heads look back", test_distances},
    {"causality, bit by bit", test_causality},
    {"documents do not see each other, bit by bit", test_isolation},
    {"nor do their gradients", test_isolated_gradients},
    {"the same bits on 1, 2, 3 and 8 threads", test_threads},
    {"special cases", test_special_cases},
};
static const Suite suites[] = {SUITE("attention", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_attention", suites, 1);
    world_stop();
    return code;
}
