/* Random numbers: their distribution, and that a value depends on nothing but (seed, purpose, index). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/core/param_table.h"
#include "src/base/rng.h"
#include "tests/harness/check.h"
#include "tests/harness/rounding.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

enum { COUNT = 200000 };

/* Bounds of five standard deviations of the mean of so many values with this variance. */
static void check_mean(const char *what, double sum, double expected, double variance)
{
    double bound = 5 * sqrt(variance / COUNT), mean = sum / COUNT;
    check_true(fabs(mean - expected) < bound, "%s is %.5f, expected %.5f +- %.5f", what, mean, expected, bound);
}

static void test_uniform(void)
{
    RngStream stream = rng_stream(1, "uniform", 0);
    double sums[2] = {0}, previous = rng_uniform(stream, COUNT), product = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        double value = rng_uniform(stream, i);
        if (!(value >= 0 && value < 1)) check_true(false, "value %g at %llu", value, (unsigned long long)i);
        sums[0] += value;
        sums[1] += value * value;
        product += (value - 0.5) * (previous - 0.5);
        previous = value;
    }
    check_mean("the mean", sums[0], 0.5, 1.0 / 12);
    check_mean("the mean square", sums[1], 1.0 / 3, 4.0 / 45);
    check_mean("the product of neighbours", product, 0, 1.0 / 144);
}

static void test_normal(void)
{
    double *values = checked_calloc(COUNT, sizeof *values), sums[5] = {0}, neighbours = 0;
    rng_normal(rng_stream(1, "normal", 0), 0, COUNT, values);
    for (size_t i = 0; i < COUNT; i++) {
        double power = 1;
        check_true(isfinite(values[i]) && fabs(values[i]) < 7, "value %g", values[i]);
        for (int k = 1; k <= 4; k++) sums[k] += power *= values[i];
        if (i > 0) neighbours += values[i] * values[i - 1];
    }
    check_mean("the mean", sums[1], 0, 1);
    check_mean("the mean square", sums[2], 1, 2);
    check_mean("the mean cube", sums[3], 0, 15);
    check_mean("the mean fourth power", sums[4], 3, 96);
    check_mean("the product of neighbours", neighbours, 0, 1);
    free(values);
}

/* Any piece of a stream, drawn alone, has the same bits: what a rank draws does not depend on where it starts. */
static void test_pieces(void)
{
    enum { WHOLE = 64 };
    double whole[WHOLE], piece[WHOLE];
    RngStream stream = rng_stream(5, "pieces", 2);
    uint64_t base = (UINT64_C(1) << 33) + 1; /* also beyond 32 bits */
    rng_normal(stream, base, WHOLE, whole);
    for (size_t first = 0; first < WHOLE; first++)
        for (size_t count = 0; first + count <= WHOLE; count += 1 + first % 3) {
            rng_normal(stream, base + first, count, piece);
            check_true(memcmp(piece, whole + first, count * sizeof *piece) == 0, "%zu values from %zu", count, first);
        }
}

static void test_streams_differ(void)
{
    RngStream streams[] = {rng_stream(1, "a", 0), rng_stream(2, "a", 0), rng_stream(1, "b", 0),
                           rng_stream(1, "a", 1), rng_stream(1, "", 0),  rng_stream(0, "a", 1)};
    enum { STREAMS = sizeof streams / sizeof *streams };
    for (int i = 0; i < STREAMS; i++)
        for (int j = 0; j < i; j++) {
            check_true(streams[i].key != streams[j].key, "streams %d and %d", i, j);
            check_true(rng_uniform(streams[i], 0) != rng_uniform(streams[j], 0), "first values of %d and %d", i, j);
        }
    check_true(rng_stream(1, "a", 1).key == streams[3].key, "the same stream again");
    uint32_t words[4], again[4], other[4];
    rng_words(streams[0], 7, words);
    rng_words(streams[0], 7, again);
    rng_words(streams[0], 8, other);
    check_true(memcmp(words, again, sizeof words) == 0 && memcmp(words, other, sizeof words) != 0, "words");
}

/* Philox 4x32-10 itself: the first known answer of the Random123 distribution (kat_vectors). */
static void test_known_answer(void)
{
    uint32_t words[4];
    rng_words((RngStream){0}, 0, words);
    check_true(words[0] == 0x6627e8d5 && words[1] == 0xe169c58d && words[2] == 0xbc57ac4c && words[3] == 0x9b00dbd8,
               "%08x %08x %08x %08x", words[0], words[1], words[2], words[3]);
}

static void test_permutation(void)
{
    static const uint64_t counts[] = {1, 2, 3, 4, 5, 8, 16, 17, 100, 256, 257, 1000, 65537};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        uint64_t count = counts[c], distinct = 0, in_place = 0;
        bool *seen = checked_calloc(count, sizeof *seen);
        for (uint64_t i = 0; i < count; i++) {
            uint64_t image = rng_permute(rng_stream(1, "permutation", c), count, i);
            if (!check_true(image < count, "image %llu of %llu", (unsigned long long)image, (unsigned long long)count))
                break;
            distinct += !seen[image];
            seen[image] = true;
            in_place += image == i;
        }
        check_true(distinct == count, "%llu of %llu are reached", (unsigned long long)distinct,
                   (unsigned long long)count);
        check_true(count < 100 || in_place < 12, "%llu stay in place",
                   (unsigned long long)in_place); /* about one should */
        free(seen);
    }
}

/* Each place gets each element about equally often over many permutations. */
static void test_permutations_are_even(void)
{
    enum { SIZE = 8, TRIALS = 8000 };
    int counts[SIZE][SIZE] = {{0}};
    for (uint64_t trial = 0; trial < TRIALS; trial++)
        for (uint64_t i = 0; i < SIZE; i++) counts[i][rng_permute(rng_stream(3, "even", trial), SIZE, i)]++;
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++)
            check_true(abs(counts[i][j] - TRIALS / SIZE) < 200, "%d comes to %d %d times of %d", i, j, counts[i][j],
                       TRIALS);
}

/* ---- initial values, which are drawn from these streams ---- */

static void test_initial_values(void)
{
    ParamTable table = {0};
    int normal = param_table_add_matrix(&table, "normal", 300, 200, INIT_NORMAL, 0.02);
    int features = param_table_add_matrix(&table, "features", 24, 8, INIT_ORTHOGONAL_FEATURES, 1);
    param_table_not_trained(&table, features);
    int stack = param_table_add_stack(&table, "stack", 4, 30, 20, INIT_NORMAL, 0.5);
    int bias = param_table_add_vector(&table, "bias", 33, 1.5);
    param_table_seal(&table);
    real *values = checked_calloc(table.total_count, sizeof *values),
         *again = checked_calloc(table.total_count, sizeof *again);
    param_table_initialise(&table, 1, values);

    double squares = 0;
    const real *first = values + table.params[normal].offset;
    for (size_t i = 0; i < 60000; i++) squares += (double)first[i] * (double)first[i];
    check_true(fabs(sqrt(squares / 60000) / 0.02 - 1) < 0.02, "standard deviation %g", sqrt(squares / 60000));
    const Param *stacked = &table.params[stack];
    squares = 0;
    for (size_t i = 0; i < stacked->count; i++) squares += pow((double)values[stacked->offset + i] / 0.5, 2);
    check_true(fabs(squares / (4 * 30 * 20) - 1) < 0.1, "variance of a stack %g", 0.25 * squares / (4 * 30 * 20));
    check_true(param_extent(stacked) == 4 * 30 && param_row_width(stacked) == 20 && stacked->shape.dimensions == 3,
               "rows of a stack: %zu of %zu", param_extent(stacked), param_row_width(stacked));
    for (int i = 0; i < 33; i++) check_true(values[table.params[bias].offset + (size_t)i] == (real)1.5, "bias %d", i);
    first = values + table.params[features].offset;
    for (int i = 0; i < 24; i++)
        for (int j = i / 8 * 8; j < i; j++) {
            double product = 0, i_square = 0, j_square = 0;
            for (int c = 0; c < 8; c++) {
                double x = (double)first[8 * i + c], y = (double)first[8 * j + c];
                product += x * y, i_square += x * x, j_square += y * y;
            }
            check_true(fabs(product) <= roundings(8) * sqrt(i_square * j_square),
                       "rows %d and %d of a group: product %g", i, j, product);
        }
    param_table_initialise(&table, 2, again);
    check_true(memcmp(values, again, table.total_count * sizeof *values) != 0, "another seed, other values");
    free(values);
    free(again);
    param_table_destroy(&table);
}

static real *initial_parameters(const Model *model)
{
    real *params = checked_calloc(model->table.total_count, sizeof *params);
    param_table_initialise(&model->table, 1, params);
    return params;
}

static bool ends_branch(const Param *param)
{
    return strstr(param->name, "attention.out.weight") || strstr(param->name, "feedforward.out.weight");
}

/* model.zero_init_branches: what ends a branch is 0, and nothing else is another number. */
static void test_zero_branches(void)
{
    Config config = variant_config(&variants[0], NULL), zero_config = config;
    zero_config.model.zero_init_branches = true;
    Model *model = variant_model(&config), *zero = variant_model(&zero_config);
    real *params = initial_parameters(model), *zero_params = initial_parameters(zero);
    int ending = 0;
    for (int i = 0; i < model->table.count; i++) {
        const Param *param = &model->table.params[i];
        const real *values = zero_params + param->offset;
        bool all_zero = true, same = memcmp(values, params + param->offset, param->count * sizeof *values) == 0;
        for (size_t j = 0; j < param->count; j++) all_zero = all_zero && values[j] == 0;
        check_true(ends_branch(param) ? all_zero && !same : same, "%s: %s", param->name, all_zero ? "0" : "not 0");
        ending += ends_branch(param);
    }
    check_true(ending == 4, "%d tensors end a branch of two layers", ending);
    free(params), free(zero_params);
    model_destroy(model);
    model_destroy(zero);
}

int main(int argc, char **argv)
{
    static const TestCase numbers[] = {
        {"uniform", test_uniform},
        {"normal", test_normal},
        {"pieces", test_pieces},
        {"streams", test_streams_differ},
        {"known answer", test_known_answer},
    };
    static const TestCase permutations[] = {
        {"bijection", test_permutation},
        {"even", test_permutations_are_even},
    };
    static const TestCase initial[] = {{"initial values", test_initial_values}, {"zero branches", test_zero_branches}};
    static const Suite suites[] = {SUITE("numbers", numbers), SUITE("permutation", permutations),
                                   SUITE("param_table", initial)};
    world_start(&argc, &argv);
    int code = run_suites("test_rng", suites, 3);
    world_stop();
    return code;
}
