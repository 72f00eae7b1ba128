/* Attention where floats come to their ends: sums over a million tokens, sketched sums of which only rounding is left, powers
   and exponentials beyond the largest number, rows without any weight. */
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/core/carried_link.h"
#include "src/base/memory.h"
#include "tests/harness/check.h"
#include "tests/harness/effort.h"
#include "tests/harness/naive_attention.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

static const double EPSILON = sizeof(real) == 4 ? FLT_EPSILON : DBL_EPSILON;

/* The attention of layer 0 over one sequence on one process, forward and backward. */
typedef struct Case {
    Model *model;
    PassSpec pass;
    const AttentionLayer *layer;
    size_t T, h, C;
    real *params, *grads, *qkv, *out, *d_out, *d_qkv; /* qkv (T, 3C), out (T, C) */
    real *gate, *d_gate;                              /* (H, T), NULL without a gate */
    int64_t clamped;
} Case;

/* One head of width h in a model of one layer. */
static Case case_create(const char *attention, size_t T, size_t h)
{
    char more[256];
    snprintf(more, sizeof more, "model.layers=1 model.heads=1 model.width=%zu model.context_length=%zu", h, T);
    Variant variant = {"", attention};
    Config config = variant_config(&variant, more);
    Case c = {.model = variant_model(&config), .pass = variant_pass(&config, 1), .T = T, .h = h, .C = h};
    c.layer = &c.model->layers[0].attention;
    c.params = checked_calloc(c.model->table.total_count, sizeof *c.params);
    c.grads = checked_calloc(c.model->table.trained_count, sizeof *c.grads);
    param_table_initialise(&c.model->table, 5, c.params);
    c.qkv = random_reals(T * 3 * h, 1, 6);
    c.d_out = random_reals(T * h, 1, 7);
    c.out = checked_calloc(T * h, sizeof *c.out);
    c.d_qkv = checked_calloc(T * 3 * h, sizeof *c.d_qkv);
    if (!attention_has_gate(c.layer)) return c;
    c.gate = checked_calloc(T, sizeof *c.gate);
    c.d_gate = checked_calloc(T, sizeof *c.d_gate);
    return c;
}

static void case_destroy(Case *c)
{
    free(c->params), free(c->grads), free(c->qkv), free(c->out), free(c->d_out), free(c->d_qkv);
    free(c->gate), free(c->d_gate);
    model_destroy(c->model);
}

static real *query_of(const Case *c, size_t t) { return c->qkv + t * 3 * c->C; }
static real *key_of(const Case *c, size_t t) { return c->qkv + t * 3 * c->C + c->C; }
static real *value_of(const Case *c, size_t t) { return c->qkv + t * 3 * c->C + 2 * c->C; }

static void set(real *x, const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++) x[i] = (real)values[i];
}

static void set_gains(Case *c, double gain)
{
    for (size_t i = 0; i < c->h; i++) {
        c->params[c->model->table.params[c->layer->query_norm[0]].offset + i] = (real)gain;
        c->params[c->model->table.params[c->layer->key_norm[0]].offset + i] = (real)gain;
    }
}

static void run(Case *c)
{
    SequenceLink link = sequence_link_single();
    AttentionShape shape = pass_shape(&c->pass, 0, 1);
    ParamStore *store = param_store_over(&c->model->table, c->params, c->grads);
    param_store_acquire_all(store);
    Arena measure = arena_measure();
    c->layer->kind->plan(c->layer, &shape, &measure);
    Arena scratch = arena_create(measure.peak, "scratch");
    real *saved = checked_calloc(c->layer->kind->saved_count(c->layer, &shape), sizeof *saved);
    AttentionRun pass = {.layer = c->layer,
                         .shape = shape,
                         .link = &link,
                         .params = store,
                         .qkv = c->qkv,
                         .gate = c->gate,
                         .d_gate = c->d_gate,
                         .out = c->out,
                         .saved = saved,
                         .d_out = c->d_out,
                         .d_qkv = c->d_qkv,
                         .clamped = &c->clamped,
                         .scratch = &scratch};
    c->clamped = 0;
    c->layer->kind->forward(&pass);
    c->layer->kind->backward(&pass);
    param_store_destroy(store);
    free(saved);
    arena_destroy(&scratch);
}

static void decode(Case *c)
{
    DecodeShape shape = {c->T, c->pass.block_length};
    ParamStore *store = param_store_over(&c->model->table, c->params, NULL);
    param_store_acquire_all(store);
    int threads = omp_get_max_threads();
    omp_set_num_threads(1); /* one token at a time is no work for several */
    Arena measure = arena_measure();
    c->layer->kind->plan_decode(c->layer, &shape, &measure);
    Arena scratch = arena_create(measure.peak, "scratch");
    real *state = checked_calloc(c->layer->kind->decode_state_count(c->layer, &shape), sizeof *state);
    real *gate = c->gate ? checked_calloc(c->layer->heads, sizeof *gate) : NULL;
    DecodeRun one = {
        .layer = c->layer, .shape = shape, .params = store, .state = state, .gate = gate, .scratch = &scratch};
    for (size_t t = 0; t < c->T; t++) {
        one.position = t;
        one.qkv = c->qkv + t * 3 * c->C;
        one.out = c->out + t * c->C;
        for (size_t j = 0; gate && j < c->layer->heads; j++) gate[j] = c->gate[j * c->T + t];
        c->layer->kind->decode(&one);
    }
    free(gate);
    omp_set_num_threads(threads);
    param_store_destroy(store);
    free(state);
    arena_destroy(&scratch);
}

static bool all_finite(const real *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* ---- long sums ------------------------------------------------------------------------------------------------------ */

enum { BLOCKS = (1 << 16) / FEWER_REPETITIONS };

/* A case of equal tokens has sums that are known: token i has i + 1 keys of weight w. */
static Case equal_tokens(size_t block, double *weight)
{
    char attention[128];
    snprintf(attention, sizeof attention, "kind=polysketch sketch=random degree=2 local=sketch block_length=%zu",
             block);
    Case c = case_create(attention, BLOCKS * block, 4);
    const double query[] = {0.3, -1.1, 0.4, 0.9}, key[] = {0.7, 0.2, -0.5, 0.1}, value[] = {0.37, -0.91, 0.53, 1.7},
                 d_out[] = {0.3, 1.3, -0.7, 0.41};
    for (size_t t = 0; t < c.T; t++) {
        set(query_of(&c, t), query, 4);
        set(key_of(&c, t), key, 4);
        set(value_of(&c, t), value, 4);
        set(c.d_out + t * c.C, d_out, 4);
    }
    double *out = checked_calloc(4, sizeof *out); /* of one token alone: v w / (1 + w) */
    naive_attention(c.layer, &c.model->table, c.params, &(NaiveInput){c.qkv, c.gate, NULL, 1, block, {0}}, out);
    double share = out[3] / (double)value_of(&c, 0)[3];
    *weight = share / (1 - share);
    free(out);
    return c;
}

static void check_outputs(const Case *c, const char *what, double weight)
{
    double worst = 0;
    for (size_t t = 0; t < c->T; t++)
        for (size_t i = 0; i < c->C; i++) {
            double sum = (double)(t + 1) * weight, expected = (double)value_of(c, t)[i] * sum / (1 + sum);
            double error = fabs((double)c->out[t * c->C + i] - expected) / fabs(expected);
            worst = error <= worst ? worst : error;
        }
    check_true(worst < 1e-3, "%s: outputs of %zu equal tokens are off by up to %.3g", what, c->T, worst);
}

/* d_v_j = sum over later i of w / s_i times d_out */
static void check_gradients(const Case *c, double weight)
{
    double worst = 0, sum = 0;
    for (size_t t = c->T; t-- > 0;) {
        sum += weight / (1 + (double)(t + 1) * weight);
        for (size_t i = 0; i < c->C; i++) {
            double expected = sum * (double)c->d_out[i];
            double error = fabs((double)c->d_qkv[t * 3 * c->C + 2 * c->C + i] - expected) / fabs(expected);
            worst = error <= worst ? worst : error;
        }
    }
    check_true(worst < 1e-3, "gradients of %zu equal values are off by up to %.3g", c->T, worst);
}

static void test_million_tokens(void)
{
    double weight;
    Case c = equal_tokens(16, &weight);
    run(&c);
    check_outputs(&c, "block form", weight);
    check_gradients(&c, weight);
    check_true(c.clamped == 0, "no normaliser was clamped, but %lld", (long long)c.clamped);
    case_destroy(&c);
}

/* As many blocks, of one token each: decoding adds block by block. */
static void test_many_decoded_blocks(void)
{
    double weight;
    Case c = equal_tokens(1, &weight);
    decode(&c);
    check_outputs(&c, "decoding", weight);
    case_destroy(&c);
}

/* Stretch after stretch, in both directions, the sums of the earlier ones arrive. */
static void test_many_stretches(void)
{
    enum { STRETCHES = (1 << 16) / FEWER_REPETITIONS, COUNT = 3 };
    const real local[COUNT] = {(real)0.1, (real)-0.7, (real)1.3};
    real incoming[COUNT];
    const CarriedCounts count = {COUNT, 0};
    SequenceLink inner = sequence_link_single();
    CarriedLink carried;
    Arena measure = arena_measure();
    carried_link_take(&carried, &inner, STRETCHES, 1, &count, true, &measure);
    Arena arena = arena_create(measure.peak, "sums");
    carried_link_take(&carried, &inner, STRETCHES, 1, &count, true, &arena);
    for (int direction = SCAN_FORWARD; direction <= SCAN_BACKWARD; direction++) {
        carried_link_start(&carried, (ScanDirection)direction);
        carried.recording = true;
        double worst = 0;
        for (size_t k = 0; k < STRETCHES; k++) {
            carried.stretch = direction == SCAN_FORWARD ? k : STRETCHES - 1 - k;
            const ExclusiveSum sum = {
                .direction = (ScanDirection)direction, .local = local, .incoming = incoming, .count = COUNT};
            carried.link.exclusive_sum_begin(&carried.link, &sum);
            carried.link.exclusive_sum_finish(&carried.link);
            for (size_t i = 0; i < COUNT; i++)
                worst = fmax(worst, fabs((double)incoming[i] / (double)local[i] - (double)k) / (double)(k + 1));
        }
        check_true(worst < 2 * EPSILON + STRETCHES * DBL_EPSILON,
                   "direction %d: sums of %d stretches are off by up to %.3g", direction, STRETCHES, worst);
    }
    arena_destroy(&arena);
}

/* ---- sums of which only rounding is left ----------------------------------------------------------------------------- */

/* All queries are orthogonal to the keys of all blocks but the last: in exact arithmetic the last block sees itself alone,
   with the outputs and gradients of a sequence of its own. Sums of two equal terms are exact, and so few roundings remain that
   all rows are noise on any processor. In the double build running sums have no more digits than the rest: fewer keys. */
static void test_cancelled_sums(void)
{
    enum { B = 2, EARLIER = sizeof(real) == 4 ? (1 << 16) / FEWER_REPETITIONS : 1 << 4, T = EARLIER + B, H = 4 };
    const char *attention = "kind=polysketch sketch=random degree=2 local=exact block_length=2";
    const double query[] = {1, 1, -1, -1}, key[] = {1, -1, 1, -1};
    Case whole = case_create(attention, T, H), alone = case_create(attention, B, H);
    for (size_t t = 0; t < T; t++) {
        set(query_of(&whole, t), query, H);
        if (t < EARLIER) set(key_of(&whole, t), key, H);
    }
    memcpy(alone.qkv, query_of(&whole, EARLIER), B * 3 * H * sizeof(real));
    memcpy(alone.d_out, whole.d_out + EARLIER * H, B * H * sizeof(real));
    run(&whole);
    run(&alone);
    double tolerance = 100 * EPSILON;
    check_close_real("outputs of the last block", whole.out + EARLIER * H, alone.out, B * H, tolerance);
    check_close_real("gradients of the last block", whole.d_qkv + EARLIER * 3 * H, alone.d_qkv, B * 3 * H, tolerance);
    check_true(whole.clamped == T - B && alone.clamped == 0, "%lld of %d rows were clamped", (long long)whole.clamped,
               T - B);
    decode(&whole);
    check_close_real("decoded outputs of the last block", whole.out + EARLIER * H, alone.out, B * H, tolerance);
    case_destroy(&whole);
    case_destroy(&alone);
}

/* x without its mean and its share of `other`: what the norm of a head then keeps orthogonal. */
static void make_orthogonal(double *x, const double *other, size_t count)
{
    double mean = 0, product = 0, square = 0;
    for (size_t i = 0; i < count; i++) mean += x[i] / (double)count;
    for (size_t i = 0; i < count; i++) x[i] -= mean, product += x[i] * other[i], square += other[i] * other[i];
    for (size_t i = 0; i < count && square > 0; i++) x[i] -= product / square * other[i];
}

/* Keys within a thousandth of one another, queries orthogonal to them all, features as large as a saturated learned sketch has
   them: outputs are means of values, so they are not larger than values by much, nor are gradients those of noise. */
static void test_collapsed_keys(void)
{
    enum { T = (1 << 15) / FEWER_REPETITIONS, H = 32 };
    const double nothing[H] = {0};
    Case c = case_create("kind=polysketch sketch=random degree=2 local=exact block_length=128 scale=32", T, H);
    double query[H], key[H], largest = 0, largest_value = 0;
    for (size_t i = 0; i < H; i++) key[i] = (double)key_of(&c, 0)[i];
    make_orthogonal(key, nothing, H);
    for (size_t t = 0; t < T; t++) {
        for (size_t i = 0; i < H; i++) query[i] = (double)query_of(&c, t)[i];
        make_orthogonal(query, key, H);
        set(query_of(&c, t), query, H);
        for (size_t i = 0; i < H; i++) key_of(&c, t)[i] = (real)(key[i] + 1e-3 * (double)key_of(&c, t)[i]);
    }
    run(&c);
    for (size_t i = 0; i < T * H; i++) {
        largest = fmax(largest, fabs((double)c.out[i]));
        largest_value = fmax(largest_value, fabs((double)value_of(&c, i / H)[i % H]));
    }
    check_true(largest < 2 * largest_value, "values up to %g, outputs up to %g", largest_value, largest);
    check_true(all_finite(c.d_qkv, T * 3 * H), "gradients are finite");
    check_true((c.clamped > 0) == (sizeof(real) == 4), "%lld rows were clamped", (long long)c.clamped);
    case_destroy(&c);
}

/* ---- beyond the largest number --------------------------------------------------------------------------------------- */

/* The slope of <d_out, out> by definition along the gradient that the backward pass found, against that gradient's length. */
static void check_slope(const char *what, const Case *c, size_t block)
{
    size_t count = c->T * 3 * c->C;
    double length = 0, change = 0, moved = 0, step = 0;
    real *kept = checked_calloc(count, sizeof *kept);
    double *out = checked_calloc(c->T * c->C, sizeof *out);
    for (size_t i = 0; i < count; i++) length += (double)c->d_qkv[i] * (double)c->d_qkv[i];
    step = 1e-3 / sqrt(length);
    memcpy(kept, c->qkv, count * sizeof *kept);
    for (int sign = -1; sign <= 1; sign += 2) {
        for (size_t i = 0; i < count; i++) {
            c->qkv[i] = kept[i] + (real)(sign * step * (double)c->d_qkv[i]);
            moved += sign * ((double)c->qkv[i] - (double)kept[i]) * (double)c->d_qkv[i];
        }
        naive_attention(c->layer, &c->model->table, c->params, &(NaiveInput){c->qkv, c->gate, NULL, c->T, block, {0}},
                        out);
        for (size_t i = 0; i < c->T * c->C; i++) change += sign * out[i] * (double)c->d_out[i];
    }
    memcpy(c->qkv, kept, count * sizeof *kept);
    check_true(isfinite(length) && fabs(change - moved) < 0.01 * moved, "%s: change %.6g, by the gradient %.6g", what,
               change, moved);
    free(kept), free(out);
}

/* Rounding of a score is multiplied by the degree. */
static void compare_with_definition(const char *what, Case *c, int degree)
{
    size_t block = c->pass.block_length, count = c->T * c->C;
    double *expected = checked_calloc(count, sizeof *expected);
    naive_attention(c->layer, &c->model->table, c->params, &(NaiveInput){c->qkv, c->gate, NULL, c->T, block, {0}},
                    expected);
    run(c);
    check_close_double(what, c->out, expected, count, degree * (double)c->h * EPSILON);
    check_slope(what, c, block);
    decode(c);
    check_close_double(what, c->out, expected, count, degree * (double)c->h * EPSILON);
    free(expected);
}

/* Keys equal queries, so that a token's own score is gain^2 h: 288 for a gain of 1.5, its 16th power above 3.4e38. Odd tokens
   have keys orthogonal to their own queries and, where blocks hold a single token, see nothing but sketches. */
static void set_equal_and_orthogonal(Case *c)
{
    for (size_t t = 0; t < c->T; t++) {
        real *q = query_of(c, t), *k = key_of(c, t);
        for (size_t i = 0; i < c->h / 2; i++) q[c->h / 2 + i] = -q[i]; /* no mean: the norm keeps angles */
        for (size_t i = 0; i < c->h; i++) k[i] = t % 2 == 0 ? q[i] : i % 2 ? -q[i - 1] : q[i + 1];
    }
}

static void test_large_powers(void)
{
    const struct {
        const char *attention;
        int degree;
        double gain;
    } cases[] = {{"kind=polynomial degree=16 scale=1", 16, 1.5},
                 {"kind=polysketch sketch=learned degree=16 scale=1 local=exact", 16, 1.5},
                 {"kind=polysketch sketch=learned degree=16 scale=1 local=exact block_length=1", 16, 1.5},
                 {"kind=polysketch sketch=projection degree=16 scale=1 local=exact", 16, 1.5},
                 {"kind=polysketch sketch=random degree=8 scale=1 local=exact sketch_size=8", 8, 20},
                 {"kind=polysketch sketch=random degree=8 scale=1 local=sketch sketch_size=8", 8, 20},
                 {"kind=polysketch sketch=random degree=2 scale=1e6 local=exact", 2, 1000}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Case c = case_create(cases[i].attention, 22, 128);
        set_equal_and_orthogonal(&c);
        set_gains(&c, cases[i].gain);
        compare_with_definition(cases[i].attention, &c, cases[i].degree);
        case_destroy(&c);
    }
}

/* x = h^(1/4) length w, of row `feature` of the projection, so that the feature's exponent is |w|^2 (length - length^2 / 2). */
static void align(const Case *c, real *x, size_t feature, double exponent)
{
    const real *w = c->params + c->model->table.params[c->layer->map_tensors[0]].offset + feature * c->h;
    double square = 0;
    for (size_t i = 0; i < c->h; i++) square += (double)w[i] * (double)w[i];
    double length = 1 - sqrt(fmax(0, 1 - 2 * exponent / square));
    for (size_t i = 0; i < c->h; i++) x[i] = (real)(pow((double)c->h, 0.25) * length * (double)w[i]);
}

/* Queries and keys with features up to e^55 each: products are beyond the largest float. */
static void test_large_exponentials(void)
{
    Case c = case_create("kind=performer features=12", 22, 128);
    for (size_t t = 1; t < c.T; t += 2) {
        align(&c, query_of(&c, t), t % 12, 35 + (double)t);
        if (t % 3 == 0) align(&c, key_of(&c, t), t % 12, 35 + (double)t);
    }
    compare_with_definition("performer", &c, 16);
    case_destroy(&c);
}

/* Near weights beyond the largest float, and gains at which only the largest weight of a row is left. */
static void test_exponential_near_weights(void)
{
    const char *kinds[] = {"kind=polysketch sketch=learned local=exact local_weight=exp gate=constant",
                           "kind=polysketch sketch=random degree=4 local=window local_weight=exp far_scale=0.1",
                           "kind=polysketch sketch=learned local=window local_weight=exp denominator_one=0"};
    for (int i = 0; i < 3; i++) {
        Case c = case_create(kinds[i], 30, 32);
        set_equal_and_orthogonal(&c);
        set_gains(&c, 6); /* scores up to 200, which rounding moves by 200 units of their own */
        compare_with_definition(kinds[i], &c, 200);
        set_gains(&c, 1e12);
        run(&c);
        check_true(all_finite(c.out, c.T * c.C) && all_finite(c.d_qkv, c.T * 3 * c.C), "%s: finite with gains of 1e12",
                   kinds[i]);
        decode(&c);
        check_true(all_finite(c.out, c.T * c.C), "%s: decoded too", kinds[i]);
        case_destroy(&c);
    }
}

/* ---- gates that close ------------------------------------------------------------------------------------------------- */

/* Most gates are nearly open; some leave e^-69 = 1e-30, among them all of two blocks and more, and one leaves nothing. */
static void set_closing_gates(Case *c)
{
    for (size_t t = 0; t < c->T; t++) c->gate[t] = t % 7 == 3 || (t >= 30 && t < 42) ? -69 : (real)-0.02;
    c->gate[50] = -500;
}

/* The gradient of one gate by differences, in double. */
static void check_gate_slope(const char *what, Case *c, size_t t)
{
    const double step = 1e-3;
    double change = 0, *out = checked_calloc(c->T * c->C, sizeof *out), scale = 1e-6;
    real kept = c->gate[t];
    for (int sign = -1; sign <= 1; sign += 2) {
        c->gate[t] = kept + (real)(sign * step);
        naive_attention(c->layer, &c->model->table, c->params,
                        &(NaiveInput){c->qkv, c->gate, NULL, c->T, c->pass.block_length, {0}}, out);
        for (size_t i = 0; i < c->T * c->C; i++) change += sign * out[i] * (double)c->d_out[i];
    }
    c->gate[t] = kept;
    for (size_t i = 0; i < c->T; i++) scale = fmax(scale, fabs((double)c->d_gate[i]));
    check_true(fabs(change / (2 * step) - (double)c->d_gate[t]) < 0.005 * scale,
               "%s: gate %zu has slope %.6g, not %.6g", what, t, change / (2 * step), (double)c->d_gate[t]);
    free(out);
}

static void test_closing_gates(void)
{
    const char *kinds[] = {"kind=softmax gate=data",
                           "kind=polynomial degree=4 gate=data",
                           "kind=performer features=12 gate=constant",
                           "kind=polysketch sketch=learned local=sketch gate=data",
                           "kind=polysketch sketch=random degree=4 local=exact gate=data",
                           "kind=polysketch sketch=learned local=window window_blocks=2 gate=data",
                           "kind=polysketch sketch=learned local=window local_weight=exp gate=data"};
    for (int i = 0; i < 7; i++) {
        Case c = case_create(kinds[i], 66, 8);
        set_closing_gates(&c);
        compare_with_definition(kinds[i], &c,
                                sizeof(real) == 4 ? 16 : 1024); /* sums of gates are double in both builds */
        for (size_t t = 5; t < c.T; t += 9) check_gate_slope(kinds[i], &c, t);
        check_gate_slope(kinds[i], &c, 50);
        case_destroy(&c);
    }
}

/* ---- rows without weight ---------------------------------------------------------------------------------------------- */

static void test_no_one_in_the_normaliser(void)
{
    const char *kinds[] = {"kind=polynomial degree=16 denominator_one=0",
                           "kind=polysketch sketch=learned degree=16 local=exact denominator_one=0",
                           "kind=polysketch sketch=random degree=8 local=sketch denominator_one=0",
                           "kind=performer features=12 denominator_one=0"};
    const double query[] = {1, 1, -1, -1}, key[] = {1, -1, 1, -1}, far[] = {900, 900, -900, -900};
    for (int i = 0; i < 4; i++) {
        Case c = case_create(kinds[i], 22, 4);
        set(query_of(&c, 0), i == 3 ? far : query, 4);
        set(key_of(&c, 0), i == 3 ? far : key, 4);
        if (i == 2) memset(c.params + c.model->table.params[c.layer->key_norm[0]].offset, 0, 4 * sizeof(real));
        run(&c);
        check_true(all_finite(c.out, c.T * c.C) && all_finite(c.d_qkv, c.T * 3 * c.C), "%s: all is finite", kinds[i]);
        check_true(c.clamped > 0 && (i == 2 || c.clamped < 22), "%s: %lld rows were clamped", kinds[i],
                   (long long)c.clamped);
        decode(&c);
        check_true(all_finite(c.out, c.T * c.C), "%s: so it is in decoding", kinds[i]);
        case_destroy(&c);
    }
}

/* A normaliser that was clamped is a constant, forward and backward: the gradient is that of the numerators alone. */
static void test_gradient_of_a_clamped_row(void)
{
    Case c = case_create("kind=polynomial degree=2 scale=1 denominator_one=0", 1, 4);
    const double query[] = {1, 1, -1, -1}, key[] = {1, 0.2, -0.9, -0.3};
    double length = 0, difference = 0, step = 0;
    set(query_of(&c, 0), query, 4);
    set(key_of(&c, 0), key, 4);
    set_gains(&c, 0x1p-26);
    run(&c);
    check_true(c.clamped == 1, "the row was clamped");
    real *gradient = checked_calloc(12, sizeof *gradient), *kept = checked_calloc(12, sizeof *kept);
    memcpy(gradient, c.d_qkv, 12 * sizeof *gradient);
    memcpy(kept, c.qkv, 12 * sizeof *kept);
    for (int i = 0; i < 12; i++) length += (double)gradient[i] * (double)gradient[i];
    step = 0.01 / sqrt(length);
    for (int sign = -1; sign <= 1; sign += 2) {
        for (int i = 0; i < 12; i++) c.qkv[i] = kept[i] + (real)(sign * step * (double)gradient[i]);
        run(&c);
        for (int i = 0; i < 4; i++) difference += sign * (double)c.out[i] * (double)c.d_out[i];
    }
    check_true(fabs(difference - 2 * step * length) < 0.01 * difference, "change %.6g, by the gradient %.6g",
               difference, 2 * step * length);
    free(gradient), free(kept);
    case_destroy(&c);
}

static const TestCase tests[] = {
    {"a million equal tokens", test_million_tokens},
    {"decoding many blocks of equal tokens", test_many_decoded_blocks},
    {"sums over many stretches", test_many_stretches},
    {"sums of which only rounding is left", test_cancelled_sums},
    {"collapsed keys", test_collapsed_keys},
    {"powers beyond the largest number", test_large_powers},
    {"exponentials beyond the largest number", test_large_exponentials},
    {"exponential near weights", test_exponential_near_weights},
    {"gates that close", test_closing_gates},
    {"rows without weight", test_no_one_in_the_normaliser},
    {"gradient of a clamped row", test_gradient_of_a_clamped_row},
};
static const Suite suites[] = {SUITE("extremes", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_extremes", suites, 1);
    world_stop();
    return code;
}
