/* The optimizer against its formula in double, the learning rate at its corners, the sampler's choices and frequencies. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/model/sampler.h"
#include "src/train/adamw.h"
#include "src/train/schedule.h"
#include "tests/harness/check.h"
#include "tests/harness/rounding.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

/* Of one number in one step of AdamW: moments, root, quotient, decay. */
enum { STEP_ROUNDINGS = 14 };

/* ---- AdamW --------------------------------------------------------------------------------------------------------- */

/* Tensors of every kind; the first is large enough for several threads, and all but the last leave padding. */
static ParamTable table_create(void)
{
    ParamTable table = {0};
    param_table_add_matrix(&table, "large", 691, 197, INIT_NORMAL, 1);
    param_table_no_decay(&table, param_table_add_matrix(&table, "embedding", 5, 7, INIT_NORMAL, 1));
    param_table_not_trained(&table, param_table_add_matrix(&table, "sketch", 4, 3, INIT_NORMAL, 1));
    param_table_add_matrix(&table, "small", 3, 3, INIT_NORMAL, 1);
    param_table_add_vector(&table, "norm", 9, 1);
    param_table_seal(&table);
    return table;
}

typedef struct State {
    real *values, *m, *v; /* all values; moments of the trained ones */
    double *expected[3];  /* the same by the formula */
    ParamTable table;
} State;

static double *widened(const real *x, size_t count)
{
    double *wide = checked_calloc(count, sizeof *wide);
    for (size_t i = 0; i < count; i++) wide[i] = (double)x[i];
    return wide;
}

/* Other numbers from the same draw: x turned round. */
static real *shifted(const real *x, size_t count, int times)
{
    real *values = checked_calloc(count, sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = x[(i + 1009 * (size_t)times) % count];
    return values;
}

/* The padding and what is not trained hold random numbers too, which must stay. */
static State state_create(void)
{
    State state = {.table = table_create()};
    size_t total = state.table.total_count, trained = state.table.trained_count;
    state.values = random_reals(total, 1, 1);
    state.m = shifted(state.values, trained, 1);
    state.v = shifted(state.values, trained, 2);
    for (size_t i = 0; i < trained; i++) state.m[i] *= (real)0.1, state.v[i] *= (real)0.01 * state.v[i];
    state.expected[0] = widened(state.values, total);
    state.expected[1] = widened(state.m, trained);
    state.expected[2] = widened(state.v, trained);
    return state;
}

static void state_destroy(State *state)
{
    free(state->values), free(state->m), free(state->v);
    for (int i = 0; i < 3; i++) free(state->expected[i]);
    param_table_destroy(&state->table);
}

static bool decays(const Param *param)
{
    return strcmp(param->name, "large") == 0 || strcmp(param->name, "small") == 0;
}

static void naive_update(State *state, const TrainConfig *train, const real *grads, double rate, double factor,
                         int step)
{
    for (int p = 0; p < state->table.count; p++) {
        const Param *param = &state->table.params[p];
        if (strcmp(param->name, "sketch") == 0) continue;
        for (size_t i = param->offset; i < param->offset + param->count; i++) {
            double *x = &state->expected[0][i], *m = &state->expected[1][i], *v = &state->expected[2][i],
                   g = factor * (double)grads[i];
            *m = train->beta1 * *m + (1 - train->beta1) * g;
            *v = train->beta2 * *v + (1 - train->beta2) * g * g;
            double m_hat = *m / (1 - pow(train->beta1, step)), v_hat = *v / (1 - pow(train->beta2, step));
            *x -= rate * (m_hat / (sqrt(v_hat) + train->epsilon) + (decays(param) ? train->weight_decay * *x : 0));
        }
    }
}

static const TrainConfig optimizers[] = {
    {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1},
    {.beta1 = 0.8, .beta2 = 0.999, .epsilon = 0.3, .weight_decay = 0},
    {.beta1 = 0, .beta2 = 0.5, .epsilon = 1e-3, .weight_decay = 3},
};
enum { OPTIMIZERS = 3, STEPS = 5 };

/* Several steps from step `first`, with rates and factors of their own. */
static void run_steps(State *state, const TrainConfig *train, int first, bool naively)
{
    real *random = random_reals(state->table.trained_count, 0.5, 2);
    for (int i = 0; i < STEPS; i++) {
        real *grads = shifted(random, state->table.trained_count, i);
        double rate = 0.01 * (i + 1), factor = i % 2 ? 0.37 : 1;
        adamw_update(&state->table, train, state->values, state->m, state->v, grads, rate, factor, first + i);
        if (naively) naive_update(state, train, grads, rate, factor, first + i);
        free(grads);
    }
    free(random);
}

static void check_adamw(const TrainConfig *train, int first)
{
    State state = state_create();
    run_steps(&state, train, first, true);
    size_t total = state.table.total_count, trained = state.table.trained_count;
    const double tolerance = roundings(STEPS * STEP_ROUNDINGS);
    for (int p = 0; p < state.table.count; p++) {
        const Param *param = &state.table.params[p];
        check_close_double(param->name, state.values + param->offset, state.expected[0] + param->offset, param->count,
                           tolerance);
    }
    check_close_double("all values and padding", state.values, state.expected[0], total, tolerance);
    check_close_double("m", state.m, state.expected[1], trained, tolerance);
    check_close_double("v", state.v, state.expected[2], trained, tolerance);
    state_destroy(&state);
}

static void test_adamw(void)
{
    for (int i = 0; i < OPTIMIZERS; i++) check_adamw(&optimizers[i], 1);
    check_adamw(&optimizers[0], 100000); /* the corrections of the moments are gone */
}

/* What the update must not write keeps its bits. */
static void test_adamw_padding(void)
{
    State state = state_create(), before = state_create();
    run_steps(&state, &optimizers[0], 1, false);
    size_t total = state.table.total_count, kept = 0;
    bool *owned = checked_calloc(total, sizeof *owned), same = true;
    for (int p = 0; p < state.table.count; p++) {
        const Param *param = &state.table.params[p];
        for (size_t i = 0; param->trained && i < param->count; i++) owned[param->offset + i] = true;
    }
    for (size_t i = 0; i < total; i++) {
        if (owned[i]) continue;
        kept++;
        same = same && state.values[i] == before.values[i];
        if (i < state.table.trained_count) same = same && state.m[i] == before.m[i] && state.v[i] == before.v[i];
    }
    check_true(kept > 12 && same, "%zu numbers of padding and of tensors that are not trained stay", kept);
    free(owned);
    state_destroy(&state), state_destroy(&before);
}

static void test_adamw_threads(void)
{
    int before = omp_get_max_threads();
    State one = state_create(), two = state_create();
    omp_set_num_threads(1);
    run_steps(&one, &optimizers[0], 1, false);
    omp_set_num_threads(2);
    run_steps(&two, &optimizers[0], 1, false);
    omp_set_num_threads(before);
    check_true(memcmp(one.values, two.values, one.table.total_count * sizeof(real)) == 0,
               "1 and 2 threads give the same bits");
    state_destroy(&one), state_destroy(&two);
}

/* Zero padding, as the trainer keeps it. */
static void test_gradient_norm(void)
{
    ParamTable table = table_create();
    real *random = random_reals(table.trained_count, 0.5, 4),
         *grads = checked_calloc(table.trained_count, sizeof *grads);
    double square = 0, norms[4];
    for (int p = 0; p < table.count; p++)
        for (size_t i = table.params[p].offset;
             table.params[p].trained && i < table.params[p].offset + table.params[p].count; i++) {
            grads[i] = random[i];
            square += (double)grads[i] * (double)grads[i];
        }
    int before = omp_get_max_threads();
    for (int threads = 1; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        norms[threads - 1] = adamw_gradient_norm(&table, grads);
        check_true(memcmp(&norms[0], &norms[threads - 1], sizeof norms[0]) == 0, "%d threads: %.17g, 1 thread: %.17g",
                   threads, norms[threads - 1], norms[0]);
    }
    omp_set_num_threads(before);
    check_true(fabs(norms[0] - sqrt(square)) <= 1e-12 * norms[0], "the norm is %.15g, expected %.15g", norms[0],
               sqrt(square));
    free(random), free(grads);
    param_table_destroy(&table);
}

static void test_clip_factor(void)
{
    const double cases[][3] = {{4, 1, 0.25}, {0.5, 1, 1}, {1, 1, 1}, {4, 0, 1}, {0, 1, 1}, {0, 0, 1}, {3, 2, 2.0 / 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_true(fabs(adamw_clip_factor(cases[i][0], cases[i][1]) - cases[i][2]) < 1e-15,
                   "norm %g, clip_norm %g: factor %g, expected %g", cases[i][0], cases[i][1],
                   adamw_clip_factor(cases[i][0], cases[i][1]), cases[i][2]);
}

/* ---- learning rate ------------------------------------------------------------------------------------------------- */

/* Peak 1, least 0.1, 110 steps. */
static const struct {
    ScheduleKind kind;
    int warmup, step;
    double rate;
} rates[] = {
    {SCHEDULE_COSINE, 10, 1, 0.1},   {SCHEDULE_COSINE, 10, 5, 0.5},     {SCHEDULE_COSINE, 10, 10, 1},
    {SCHEDULE_COSINE, 10, 60, 0.55}, {SCHEDULE_COSINE, 10, 110, 0.1},   {SCHEDULE_LINEAR, 10, 1, 0.1},
    {SCHEDULE_LINEAR, 10, 10, 1},    {SCHEDULE_LINEAR, 10, 35, 0.775},  {SCHEDULE_LINEAR, 10, 60, 0.55},
    {SCHEDULE_LINEAR, 10, 110, 0.1}, {SCHEDULE_CONSTANT, 10, 1, 0.1},   {SCHEDULE_CONSTANT, 10, 10, 1},
    {SCHEDULE_CONSTANT, 10, 60, 1},  {SCHEDULE_CONSTANT, 10, 110, 1},   {SCHEDULE_COSINE, 0, 55, 0.55},
    {SCHEDULE_COSINE, 0, 110, 0.1},  {SCHEDULE_LINEAR, 0, 55, 0.55},    {SCHEDULE_LINEAR, 0, 110, 0.1},
    {SCHEDULE_CONSTANT, 0, 1, 1},    {SCHEDULE_CONSTANT, 0, 110, 1},    {SCHEDULE_COSINE, 110, 110, 1},
    {SCHEDULE_LINEAR, 110, 55, 0.5}, {SCHEDULE_COSINE, 200, 110, 0.55},
};

static TrainConfig schedule_of(ScheduleKind kind, int warmup)
{
    return (TrainConfig){
        .steps = 110, .learning_rate = 1, .min_learning_rate = 0.1, .warmup_steps = warmup, .schedule = (int)kind};
}

static void test_rates(void)
{
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        TrainConfig train = schedule_of(rates[i].kind, rates[i].warmup);
        double rate = schedule_learning_rate(&train, rates[i].step);
        check_true(fabs(rate - rates[i].rate) < 1e-12, "kind %d, warm-up %d, step %d: %.15g, expected %g",
                   (int)rates[i].kind, rates[i].warmup, rates[i].step, rate, rates[i].rate);
    }
}

/* A quarter of the way down, the cosine is at cos(pi/4), above the straight line. And all kinds only rise, then only fall. */
static void test_shape(void)
{
    TrainConfig cosine = schedule_of(SCHEDULE_COSINE, 10);
    double quarter = 0.1 + 0.9 * (1 + sqrt(0.5)) / 2;
    check_true(fabs(schedule_learning_rate(&cosine, 35) - quarter) < 1e-12, "cosine, a quarter down: %g",
               schedule_learning_rate(&cosine, 35));
    for (int warmup = 0; warmup <= 20; warmup += 10)
        for (int kind = SCHEDULE_COSINE; kind <= SCHEDULE_CONSTANT; kind++) {
            TrainConfig train = schedule_of((ScheduleKind)kind, warmup);
            for (int step = 1; step < 110; step++) {
                double here = schedule_learning_rate(&train, step), next = schedule_learning_rate(&train, step + 1);
                bool right = step < warmup ? next > here : kind == SCHEDULE_CONSTANT ? next == here : next < here;
                check_true(isfinite(here) && right, "kind %d, warm-up %d: step %d has %g, the next %g", kind, warmup,
                           step, here, next);
            }
        }
}

/* ---- sampler ------------------------------------------------------------------------------------------------------- */

enum { V = 6 };

/* Probabilities 0.3, 0.05, 0.2, 0.3, 0.1, 0.05 at temperature 1, away from zero mean. */
static const double probabilities[V] = {0.3, 0.05, 0.2, 0.3, 0.1, 0.05};

static void fill_logits(real *logits)
{
    for (int i = 0; i < V; i++) logits[i] = (real)(5 + log(probabilities[i]));
}

static int32_t draw(SamplerSettings settings, const real *logits, double uniform)
{
    Sampler *sampler = sampler_create(settings, V);
    int32_t token = sampler_draw(sampler, logits, uniform);
    sampler_destroy(sampler);
    return token;
}

static void test_greedy(void)
{
    const real ties[V] = {1, 7, 3, 7, 7, -2}, negative[V] = {-5, -4, -3, -9, -3.5, -8};
    SamplerSettings greedy = {.temperature = 0, .top_p = 1}, first = {.temperature = 1, .top_k = 1, .top_p = 1};
    for (double u = 0; u < 1; u += 0.249) {
        check_true(draw(greedy, ties, u) == 1 && draw(greedy, negative, u) == 2,
                   "temperature 0 takes the first largest");
        check_true(draw(first, ties, u) == 1 && draw(first, negative, u) == 2, "top_k = 1 takes the first largest");
    }
}

/* Which tokens come up as `uniform` runs through [0, 1), and how often, as parts of 1. */
static void shares_of(SamplerSettings settings, double shares[V])
{
    enum { PARTS = 10000 };
    real logits[V];
    fill_logits(logits);
    Sampler *sampler = sampler_create(settings, V);
    memset(shares, 0, V * sizeof *shares);
    for (int i = 0; i < PARTS; i++) shares[sampler_draw(sampler, logits, (i + 0.5) / PARTS)] += 1.0 / PARTS;
    sampler_destroy(sampler);
}

/* Ties are ordered by token: of 0 and 3 the first remains, of 1 and 5 too. */
static const struct {
    const char *name;
    SamplerSettings settings;
    double shares[V];
} choices[] = {
    {"all", {1, 0, 1}, {0.3, 0.05, 0.2, 0.3, 0.1, 0.05}},
    {"top_k = 1", {1, 1, 1}, {1}},
    {"top_k = 2", {1, 2, 1}, {0.5, 0, 0, 0.5}},
    {"top_k = 3", {1, 3, 1}, {0.375, 0, 0.25, 0.375}},
    {"top_k = 5", {1, 5, 1}, {0.3 / 0.95, 0.05 / 0.95, 0.2 / 0.95, 0.3 / 0.95, 0.1 / 0.95, 0}},
    {"top_k beyond the vocabulary", {1, 99, 1}, {0.3, 0.05, 0.2, 0.3, 0.1, 0.05}},
    {"top_p = 0.2", {1, 0, 0.2}, {1}},
    {"top_p = 0.55", {1, 0, 0.55}, {0.5, 0, 0, 0.5}},
    {"top_p = 0.65", {1, 0, 0.65}, {0.375, 0, 0.25, 0.375}},
    {"top_p = 0.93", {1, 0, 0.93}, {0.3 / 0.95, 0.05 / 0.95, 0.2 / 0.95, 0.3 / 0.95, 0.1 / 0.95, 0}},
    {"top_k = 2, top_p = 0.2", {1, 2, 0.2}, {1}},
    {"top_k = 3, top_p = 0.99", {1, 3, 0.99}, {0.375, 0, 0.25, 0.375}},
    {"temperature 1/2, top_k = 3", {0.5, 3, 1}, {9.0 / 22, 0, 4.0 / 22, 9.0 / 22}},
    {"temperature near 0", {1e-3, 0, 1}, {0.5, 0, 0, 0.5}},
    {"temperature 1e6", {1e6, 0, 1}, {1.0 / 6, 1.0 / 6, 1.0 / 6, 1.0 / 6, 1.0 / 6, 1.0 / 6}},
};

static void test_choices(void)
{
    for (size_t c = 0; c < sizeof choices / sizeof *choices; c++) {
        double shares[V];
        shares_of(choices[c].settings, shares);
        for (int i = 0; i < V; i++) /* the grid of `uniform` has steps of 1e-4 */
            check_true(fabs(shares[i] - choices[c].shares[i]) < 2e-4 && (choices[c].shares[i] > 0 || shares[i] == 0),
                       "%s: token %d comes up %.4f times, expected %.4f", choices[c].name, i, shares[i],
                       choices[c].shares[i]);
    }
}

/* Chi-square with 5 degrees of freedom: above 20.5 once in a thousand seeds. */
static void test_frequencies(void)
{
    enum { DRAWS = 20000 };
    RngStream stream = rng_stream(1, "sampling", 0);
    double counts[V] = {0}, chi_square = 0;
    real logits[V];
    fill_logits(logits);
    Sampler *sampler = sampler_create((SamplerSettings){.temperature = 1, .top_p = 1}, V);
    for (uint64_t i = 0; i < DRAWS; i++) counts[sampler_draw(sampler, logits, rng_uniform(stream, i))]++;
    for (int i = 0; i < V; i++) chi_square += pow(counts[i] - DRAWS * probabilities[i], 2) / (DRAWS * probabilities[i]);
    check_true(chi_square < 20.5, "chi-square is %.2f", chi_square);
    sampler_destroy(sampler);
}

/* Ends of [0, 1), and logits whose exp would overflow or vanish. */
static void test_extremes(void)
{
    const double last = 1 - 0x1p-53;
    const real large[V] = {-1e30, 3e4, 2e4, -3e4, 0, 1}, equal[V] = {0};
    SamplerSettings all = {.temperature = 1, .top_p = 1}, cold = {.temperature = 1e-6, .top_p = 1};
    check_true(draw(all, large, 0) == 1 && draw(all, large, last) == 1, "one logit above all others is certain");
    check_true(draw(cold, large, last) == 1, "and so when it is cold");
    check_true(draw(all, equal, 0) == 0 && draw(all, equal, last) == V - 1,
               "equal logits: the first and the last token");
}

static const TestCase adamw_tests[] = {{"several steps", test_adamw},
                                       {"padding", test_adamw_padding},
                                       {"threads", test_adamw_threads},
                                       {"norm of the gradient", test_gradient_norm},
                                       {"clipping", test_clip_factor}};
static const TestCase schedule_tests[] = {{"corners", test_rates}, {"shape", test_shape}};
static const TestCase sampler_tests[] = {{"most likely", test_greedy},
                                         {"choices", test_choices},
                                         {"frequencies", test_frequencies},
                                         {"extremes", test_extremes}};
static const Suite suites[] = {
    {"adamw", adamw_tests, 5}, {"learning rate", schedule_tests, 2}, {"sampler", sampler_tests, 4}};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_train", suites, 3);
    world_stop();
    return code;
}
