/* Feature maps of queries and keys: closed forms of their means, variances and errors (Kacham, Mirrokni, Zhong 2024;
   Choromanski et al. 2021), over many independent draws. Bounds are five standard errors of the sample itself. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/attention/feature_map.h"
#include "src/base/memory.h"
#include "tests/harness/check.h"
#include "tests/harness/naive_attention.h"
#include "tests/harness/rounding.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

/* ---- one feature map and its memory -------------------------------------------------------------------------------- */

typedef struct Map {
    ParamTable table; /* of this layer's attention alone, so that drawing it many times is cheap */
    AttentionLayer layer;
    real *params; /* in the plain layout */
    Arena scratch;
    size_t tokens, r; /* rows of a call; numbers in u */
    bool keys;
    real *u; /* (tokens, H, r) */
} Map;

static AttentionLayer declare_layer(const Config *config, ParamTable *table, const char *prefix)
{
    ModelSpec spec = config_model_spec(config);
    param_table_begin_group(table);
    return attention_declare(&spec.attention[0], spec.heads, spec.width / spec.heads, table, prefix);
}

static Map *map_create(const char *settings, const char *more, size_t tokens)
{
    Variant variant = {"", settings};
    Config config = variant_config(&variant, more);
    Map *map = checked_calloc(1, sizeof *map);
    map->layer = declare_layer(&config, &map->table, "layers.0.attention");
    param_table_seal(&map->table);
    map->tokens = tokens;
    map->r = map->layer.map->width(&map->layer);
    map->params = checked_calloc(map->table.total_count, sizeof *map->params);
    map->u = checked_calloc(tokens * map->layer.heads * map->r, sizeof *map->u);
    Arena measure = arena_measure();
    map->layer.map->plan(&map->layer, tokens, &measure);
    map->scratch = arena_create(measure.peak, "scratch");
    return map;
}

static void map_destroy(Map *map)
{
    arena_destroy(&map->scratch);
    param_table_destroy(&map->table);
    free(map->params), free(map->u);
    free(map);
}

/* The map of `seed`. */
static void map_draw(Map *map, uint64_t seed) { param_table_initialise(&map->table, seed, map->params); }

/* Moves what is trained away from its initial value. */
static void map_disturb(Map *map, uint64_t seed)
{
    real *noise = random_reals(map->table.trained_count, 0.2, seed);
    for (size_t i = 0; i < map->table.trained_count; i++) map->params[i] += noise[i];
    free(noise);
}

/* u of x (tokens, H, h), whose tokens are `stride` apart. */
static void map_run(Map *map, const real *x, size_t stride)
{
    ParamStore *store = param_store_over(&map->table, map->params, NULL);
    param_store_acquire_all(store);
    MapRun run = {
        .layer = &map->layer,
        .params = store,
        .span = {.sequences = 1, .tokens = map->tokens, .first = 0, .end = map->tokens},
        .keys = map->keys,
        .x = {x, map->tokens, map->layer.heads * map->layer.head_width, stride},
        .scratch = &map->scratch,
    };
    map->layer.map->forward(&run, map->u, NULL);
    param_store_release_all(store);
    param_store_destroy(store);
}

/* What rounding explains of a difference from map->u, which map_run() gave. */
static double map_tolerance(Map *map, const real *x, size_t stride)
{
    size_t count = map->tokens * map->layer.heads * map->r;
    real *params = map->params, *u = map->u;
    double movement = 0;
    map->u = checked_calloc(count, sizeof *map->u);
    for (uint64_t draw = 0; draw < ROUNDING_DRAWS; draw++) {
        real *moved_x = nudged(x, map->tokens * stride, draw);
        map->params = nudged(params, map->table.total_count, draw);
        map_run(map, moved_x, stride);
        movement = largest_movement(movement, map->u, u, count);
        free(map->params), free(moved_x);
    }
    free(map->u);
    map->params = params, map->u = u;
    return rounding_tolerance(movement, u, count);
}

static double inner(const real *a, const real *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* ---- statistics ---------------------------------------------------------------------------------------------------- */

static double mean_of(const double *x, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += x[i];
    return sum / (double)count;
}

/* The mean of x is `expected`, within five of its standard errors. */
static void check_mean(const char *what, const double *x, size_t count, double expected)
{
    double mean = mean_of(x, count), variance = 0;
    for (size_t i = 0; i < count; i++) variance += (x[i] - mean) * (x[i] - mean) / (double)(count - 1);
    double bound = 5 * sqrt(variance / (double)count) + roundings(count);
    check_true(fabs(mean - expected) <= bound, "%s is %.5f, expected %.5f +- %.5f", what, mean, expected, bound);
}

/* The variance of x, whose mean is known, likewise. */
static void check_variance(const char *what, const double *x, size_t count, double mean, double expected)
{
    double *squares = checked_calloc(count, sizeof *squares);
    for (size_t i = 0; i < count; i++) squares[i] = (x[i] - mean) * (x[i] - mean);
    check_mean(what, squares, count, expected);
    free(squares);
}

/* ---- random sketches of two unit vectors --------------------------------------------------------------------------- */

#define SKETCH_16 "kind=polysketch sketch=random scale=1 local=sketch sketch_size=16 "
#define SKETCH_32 "kind=polysketch sketch=random scale=1 local=sketch sketch_size=32 "
enum { DRAWS = 4000, HEAD = 8, HEADS = 2, PAIR = HEADS * HEAD }; /* the head width of variant_config() */

static const double cosines[] = {0, 0.5, 1, -0.7};
enum { COSINES = 4 };

/* COSINES tokens, each of whose two heads are unit vectors of that cosine, in general position. */
static void unit_pairs(real x[COSINES * PAIR])
{
    real *random = random_reals(2 * HEAD, 1, 1), *a = random, *b = random + HEAD;
    double norm = sqrt(inner(a, a, HEAD)), product = inner(a, b, HEAD) / (norm * norm), rest = 0;
    for (size_t i = 0; i < HEAD; i++) rest += pow((double)b[i] - product * (double)a[i], 2);
    for (size_t i = 0; i < HEAD; i++)
        for (size_t pair = 0; pair < COSINES; pair++) {
            double unit = (double)a[i] / norm, other = ((double)b[i] - product * (double)a[i]) / sqrt(rest);
            x[pair * PAIR + i] = (real)unit;
            x[pair * PAIR + HEAD + i] = (real)(cosines[pair] * unit + sqrt(1 - cosines[pair] * cosines[pair]) * other);
        }
    free(random);
}

/* <u(a), u(b)> of DRAWS independent maps, as (COSINES, DRAWS), freed by the caller; and the least number of any u. */
static double *products_of_draws(const char *settings, const real x[COSINES * PAIR], double *least)
{
    int threads = omp_get_max_threads();
    omp_set_num_threads(1); /* there is less work in a call than in waking a second thread */
    Map *map = map_create(settings, NULL, COSINES);
    double *products = checked_calloc(COSINES * DRAWS, sizeof *products);
    *least = INFINITY;
    for (size_t draw = 0; draw < DRAWS; draw++) {
        map_draw(map, draw);
        map_run(map, x, PAIR);
        for (size_t pair = 0; pair < COSINES; pair++) {
            const real *u = map->u + pair * HEADS * map->r;
            products[pair * DRAWS + draw] = inner(u, u + map->r, map->r);
        }
        for (size_t i = 0; i < COSINES * HEADS * map->r; i++) *least = fmin(*least, (double)map->u[i]);
    }
    map_destroy(map);
    omp_set_num_threads(threads);
    return products;
}

/* One column of the sketch is (a G1)(a G2)(b G1)(b G2): its mean is c^2, its mean square (1 + 2 c^2)^2. */
static double variance_of_degree_2(double c, double r) { return (pow(1 + 2 * c * c, 2) - pow(c, 4)) / r; }

static void test_degree_2(void)
{
    char what[64];
    real x[COSINES * PAIR];
    unit_pairs(x);
    double least, *all = products_of_draws(SKETCH_32 "degree=4", x, &least);
    for (int i = 0; i < COSINES; i++) {
        double c = cosines[i], *products = all + i * DRAWS, variance = variance_of_degree_2(c, 32);
        snprintf(what, sizeof what, "degree 2, c = %g: the mean", c);
        check_mean(what, products, DRAWS, c * c);
        snprintf(what, sizeof what, "degree 2, c = %g: the variance", c);
        check_variance(what, products, DRAWS, c * c, variance);
        for (size_t d = 0; d < DRAWS; d++) products[d] *= products[d];
        snprintf(what, sizeof what, "degree 4, self-tensored, c = %g: the mean", c);
        check_mean(what, products, DRAWS, pow(c, 4) + variance);
    }
    free(all);
}

static void test_degree_4(void)
{
    char what[64];
    real x[COSINES * PAIR];
    unit_pairs(x);
    double least, *products = products_of_draws(SKETCH_16 "degree=8", x, &least);
    for (int i = 0; i < COSINES; i++) {
        snprintf(what, sizeof what, "degree 4, c = %g: the mean", cosines[i]);
        check_mean(what, products + i * DRAWS, DRAWS, pow(cosines[i], 4));
    }
    free(products);
}

/* p = 2 draws nothing. */
static void test_degree_1(void)
{
    real x[COSINES * PAIR];
    Map *map = map_create(SKETCH_32 "degree=2", NULL, COSINES);
    unit_pairs(x);
    map_run(map, x, PAIR);
    check_true(map->r == HEAD, "u of degree 1 has %d numbers: %zu", HEAD, map->r);
    check_close_real("u of degree 1 is x", map->u, x, COSINES * PAIR, map_tolerance(map, x, PAIR));
    map_destroy(map);
}

/* <u(a), u(b)>^2 approximates (scale <a, b>)^p: u grows with the p/4-th power of the scale. */
static void test_scale(void)
{
    const char *plain[] = {SKETCH_32 "degree=2", SKETCH_32 "degree=4", SKETCH_32 "degree=8"};
    const char *scaled[] = {SKETCH_32 "scale=0.3 degree=2", SKETCH_32 "scale=0.3 degree=4",
                            SKETCH_32 "scale=0.3 degree=8"};
    const double powers[] = {0.5, 1, 2};
    real x[COSINES * PAIR];
    unit_pairs(x);
    for (int i = 0; i < 3; i++) {
        Map *one = map_create(plain[i], NULL, COSINES), *other = map_create(scaled[i], NULL, COSINES);
        map_draw(one, 4), map_draw(other, 4);
        map_run(one, x, PAIR), map_run(other, x, PAIR);
        for (size_t f = 0; f < COSINES * HEADS * one->r; f++) one->u[f] *= (real)pow(0.3, powers[i]);
        check_close_real(scaled[i], other->u, one->u, COSINES * HEADS * one->r, map_tolerance(other, x, PAIR));
        map_destroy(one), map_destroy(other);
    }
}

/* ---- the error of a sketch over many vectors ----------------------------------------------------------------------- */

enum { WIDE = 64, VECTORS = 48, SKETCHES = 20 };

/* Random rows after a layer norm. */
static real *normed_rows(void)
{
    real *x = random_reals(VECTORS * WIDE, 1, 7);
    for (size_t t = 0; t < VECTORS; t++) {
        double mean = 0, square = 0;
        for (size_t c = 0; c < WIDE; c++) mean += (double)x[t * WIDE + c] / WIDE;
        for (size_t c = 0; c < WIDE; c++) square += pow((double)x[t * WIDE + c] - mean, 2) / WIDE;
        for (size_t c = 0; c < WIDE; c++) x[t * WIDE + c] = (real)(((double)x[t * WIDE + c] - mean) / sqrt(square));
    }
    return x;
}

/* Squared Frobenius norm of (sketched - exact), over all q of the first half and k of the second, relative to that of
   |q|^d |k|^d. Self-tensored: <u,u>^2 for <q,k>^d, d = degree. Otherwise <u,u> for <q,k>^d, d = degree / 2. */
static double relative_square_error(const Map *map, const real *x, bool self_tensored)
{
    double error = 0, scale = 0, d = (double)map->layer.spec.degree / (self_tensored ? 1 : 2);
    for (size_t i = 0; i < VECTORS / 2; i++)
        for (size_t j = VECTORS / 2; j < VECTORS; j++) {
            const real *q = x + i * WIDE, *k = x + j * WIDE;
            double product = inner(map->u + i * map->r, map->u + j * map->r, map->r);
            error += pow((self_tensored ? product * product : product) - pow(inner(q, k, WIDE), d), 2);
            scale += pow(inner(q, q, WIDE) * inner(k, k, WIDE), d);
        }
    return error / scale;
}

/* Root of the mean over several sketches. */
static double sketch_error(int degree, int r, bool self_tensored)
{
    char settings[160];
    snprintf(settings, sizeof settings, "kind=polysketch sketch=random scale=1 degree=%d sketch_size=%d", degree, r);
    Map *map = map_create(settings, "model.width=64 model.heads=1", VECTORS);
    real *x = normed_rows();
    double sum = 0;
    for (uint64_t draw = 0; draw < SKETCHES; draw++) {
        map_draw(map, draw);
        map_run(map, x, WIDE);
        sum += relative_square_error(map, x, self_tensored);
    }
    free(x);
    map_destroy(map);
    return sqrt(sum / SKETCHES);
}

/* Measured apart from this program, with a few sketches each. Nearly all pairs have a cosine near 0, where the error is
   sqrt(1/r) of a sketch with negativity and sqrt(3/r^2 + 78/r^3) of a self-tensored one of degree 4. */
static const struct {
    int degree, r;
    bool self_tensored;
    double error, tolerance;
} sketch_errors[] = {
    {4, 16, false, 0.253, 0.2}, {4, 32, false, 0.187, 0.2}, {4, 64, false, 0.125, 0.2},
    {4, 16, true, 0.201, 0.4},  {4, 32, true, 0.087, 0.4},  {4, 64, true, 0.034, 0.4},
    {8, 16, false, 0.258, 0.3}, {8, 32, false, 0.183, 0.3}, {8, 64, false, 0.129, 0.3},
};

static void test_errors(void)
{
    double last = 0;
    for (size_t i = 0; i < sizeof sketch_errors / sizeof *sketch_errors; i++) {
        int degree = sketch_errors[i].degree, r = sketch_errors[i].r;
        double error = sketch_error(degree, r, sketch_errors[i].self_tensored), expected = sketch_errors[i].error;
        check_true(fabs(error - expected) <= sketch_errors[i].tolerance * expected,
                   "p = %d, r = %d: the error is %.4f, expected about %.4f", degree, r, error, expected);
        check_true(i % 3 == 0 || error < 0.85 * last, "p = %d, r = %d: the error falls with r: %.4f after %.4f", degree,
                   r, error, last);
        last = error;
    }
}

/* ---- all maps ------------------------------------------------------------------------------------------------------ */

#define LEARNED_6 "kind=polysketch sketch=learned sketch_size=6 "

static const char *const maps[] = {
    SKETCH_32 "degree=2",
    SKETCH_32 "degree=4",
    SKETCH_32 "degree=8",
    LEARNED_6,
    "kind=performer features=20",
    "kind=polysketch sketch=projection sketch_size=6",
    LEARNED_6 "sketch_levels=1 sketch_expansion=3",
    LEARNED_6 "sketch_levels=8 sketch_expansion=1",
};
enum { MAPS = 8, LEARNED = 3, PERFORMER = 4, PROJECTION = 5 };

/* Rows longer than q alone, as in (N, 3C), where the map takes them as they lie; more of them than fit into one piece of work. */
static void check_definition(const char *settings, bool keys)
{
    enum { TOKENS = 300, COLUMNS = 3 * PAIR };
    Map *map = map_create(settings, NULL, TOKENS);
    size_t H = map->layer.heads, r = map->r, stride = map->layer.map->normalised_input ? PAIR : COLUMNS;
    map->keys = keys;
    real *x = random_reals(TOKENS * stride, 1, 9);
    map_draw(map, 10);
    map_disturb(map, 11);
    double *expected = checked_calloc(TOKENS * H * r, sizeof *expected), wide[HEAD];
    for (size_t row = 0; row < TOKENS * H; row++) {
        for (size_t c = 0; c < HEAD; c++) wide[c] = (double)x[row / H * stride + row % H * HEAD + c];
        naive_features(&map->layer, &map->table, map->params, (NaiveSide){row % H, keys}, wide, expected + row * r);
    }
    map_run(map, x, stride);
    check_close_double(settings, map->u, expected, TOKENS * H * r, map_tolerance(map, x, stride));
    free(x), free(expected);
    map_destroy(map);
}

static void test_definition(void)
{
    for (int m = 0; m < MAPS; m++)
        for (int keys = 0; keys < 2; keys++) check_definition(maps[m], keys);
}

/* Layers draw from streams of their own, named by the tensor. */
static void check_draws_of_layers(const char *settings)
{
    Variant variant = {"", settings};
    Config config = variant_config(&variant, NULL);
    ParamTable table = {0};
    AttentionLayer layers[] = {declare_layer(&config, &table, "layers.0.attention"),
                               declare_layer(&config, &table, "layers.1.attention")};
    param_table_seal(&table);
    real *params = checked_calloc(table.total_count, sizeof *params);
    param_table_initialise(&table, 1, params);
    for (int p = 0; p < table.count / 2; p++) {
        const Param *first = &table.params[p], *second = &table.params[p + table.count / 2];
        if (first->init == INIT_CONSTANT) continue;
        check_true(first->count == second->count &&
                       memcmp(params + first->offset, params + second->offset, first->count * sizeof *params) != 0,
                   "%s and %s differ", first->name, second->name);
    }
    check_true(layers[0].map_tensors[0] != layers[1].map_tensors[0], "%s: two layers have two tensors", settings);
    free(params);
    param_table_destroy(&table);
}

static void test_draws_of_layers(void)
{
    for (int m = 1; m < MAPS; m++) check_draws_of_layers(maps[m]); /* the first draws nothing */
}

/* ---- learned sketch ------------------------------------------------------------------------------------------------ */

static void scale_last_matrices(Map *map, real factor)
{
    for (int p = 0; p < map->table.count; p++) {
        const Param *param = &map->table.params[p];
        if (!strstr(param->name, "level2.out.weight")) continue;
        for (size_t i = 0; i < param->count; i++) map->params[param->offset + i] *= factor;
    }
}

/* |u| <= sqrt(r) whatever the weights, and some numbers get there when the weights are large. */
static void test_learned_bound(void)
{
    enum { TOKENS = 50 };
    const real factors[] = {1, 100, 1e6};
    Map *map = map_create(maps[LEARNED], NULL, TOKENS);
    real *x = random_reals(TOKENS * PAIR, 3, 12);
    for (int f = 0; f < 3; f++) {
        double largest = 0, bound = sqrt((double)map->r);
        map_draw(map, 13);
        scale_last_matrices(map, factors[f]);
        map_run(map, x, PAIR);
        for (size_t i = 0; i < TOKENS * HEADS * map->r; i++)
            largest = fmax(largest, isnan(map->u[i]) ? INFINITY : fabs((double)map->u[i]));
        check_true(largest <= bound * (1 + roundings(2)), "weights times %g: the largest |u| is %.9g",
                   (double)factors[f], largest);
        check_true(f == 0 || largest > 0.99 * bound, "weights times %g: the largest |u| is only %.9g",
                   (double)factors[f], largest);
    }
    free(x);
    map_destroy(map);
}

/* Every number of u varies over tokens, and no two of them are the same. */
static void test_learned_is_not_constant(void)
{
    enum { TOKENS = 50 };
    Map *map = map_create(maps[LEARNED], NULL, TOKENS);
    real *x = random_reals(TOKENS * PAIR, 1, 14);
    map_draw(map, 15);
    map_run(map, x, PAIR);
    size_t r = map->r, rows = TOKENS * HEADS;
    for (size_t f = 0; f < r; f++) {
        double mean = 0, variance = 0, apart = 0;
        for (size_t i = 0; i < rows; i++) mean += (double)map->u[i * r + f] / (double)rows;
        for (size_t i = 0; i < rows; i++) {
            variance += pow((double)map->u[i * r + f] - mean, 2) / (double)rows;
            apart += pow((double)(map->u[i * r + f] - map->u[i * r + (f + 1) % r]), 2) / (double)rows;
        }
        check_true(variance > 1e-4 && apart > 1e-4, "number %zu of u has variance %.3g, and %.3g from the next", f,
                   variance, apart);
    }
    free(x);
    map_destroy(map);
}

/* ---- projection ---------------------------------------------------------------------------------------------------- */

/* As drawn, |u|^2 = sqrt(r), and a query's products with keys of another token are as often positive as negative. */
static void test_projection_size(void)
{
    enum { TOKENS = 4000 };
    Map *map = map_create(maps[PROJECTION], "attention.sketch_size=24", TOKENS);
    size_t r = map->r, rows = TOKENS * HEADS;
    real *x = random_reals(TOKENS * PAIR, 1, 16), *queries = checked_calloc(rows * r, sizeof *queries);
    double *products = checked_calloc(rows, sizeof *products);
    map_draw(map, 17);
    map_run(map, x, PAIR);
    memcpy(queries, map->u, rows * r * sizeof *queries);
    map->keys = true;
    map_run(map, x, PAIR);
    for (size_t i = 0; i < rows; i++) {
        double square = inner(queries + i * r, queries + i * r, r) / sqrt((double)r);
        check_true(fabs(square - 1) < 1e-3, "row %zu: |u|^2 / sqrt(r) = %.6f", i, square);
        products[i] = inner(queries + i * r, map->u + (i + HEADS) % rows * r, r); /* keys of the next token */
    }
    check_mean("product of a query and an unrelated key", products, rows, 0);
    free(x), free(queries), free(products);
    map_destroy(map);
}

/* ---- Performer ----------------------------------------------------------------------------------------------------- */

/* The mean of <phi(q), phi(k)> over draws. Norms stay small: beyond, the sample is ruled by a few large numbers. */
static void check_softmax_kernel(double norm)
{
    real x[COSINES * PAIR];
    char what[64];
    unit_pairs(x);
    for (size_t i = 0; i < COSINES * PAIR; i++) x[i] *= (real)(i % PAIR < HEAD ? norm : 0.8 * norm);
    double least, *products = products_of_draws(maps[PERFORMER], x, &least);
    for (int i = 0; i < COSINES; i++) {
        snprintf(what, sizeof what, "norm %g, c = %g: the mean", norm, cosines[i]);
        check_mean(what, products + i * DRAWS, DRAWS, exp(0.8 * norm * norm * cosines[i] / sqrt(HEAD)));
    }
    check_true(least > 0, "norm %g: the least feature is %g", norm, least);
    free(products);
}

static void test_performer_kernel(void)
{
    check_softmax_kernel(1);
    check_softmax_kernel(1.6);
}

static double cosine_of_rows(const real *a, const real *b)
{
    return inner(a, b, HEAD) / sqrt(inner(a, a, HEAD) * inner(b, b, HEAD));
}

/* Three groups, the last one not full. */
static void test_performer_projection(void)
{
    enum { FEATURES = 20, TIMES = 500 };
    Map *map = map_create("kind=performer features=20", NULL, 1);
    const real *w = map->params + map->table.params[map->layer.map_tensors[0]].offset;
    double *lengths = checked_calloc(TIMES * FEATURES, sizeof *lengths),
           *squares = checked_calloc(TIMES * FEATURES, sizeof *squares);
    double *first = checked_calloc(TIMES, sizeof *first), *across = checked_calloc(TIMES, sizeof *across), within = 0;
    for (size_t draw = 0; draw < TIMES; draw++) {
        map_draw(map, draw);
        for (size_t i = 0; i < FEATURES; i++) {
            squares[draw * FEATURES + i] = inner(w + i * HEAD, w + i * HEAD, HEAD);
            lengths[draw * FEATURES + i] = sqrt(squares[draw * FEATURES + i]);
            for (size_t j = i / HEAD * HEAD; j < i; j++)
                within = fmax(within, fabs(cosine_of_rows(w + i * HEAD, w + j * HEAD)));
        }
        first[draw] = (double)w[0];
        across[draw] = pow(cosine_of_rows(w, w + HEAD * HEAD), 2);
    }
    check_true(within <= roundings(HEAD), "rows of a group are orthogonal: largest cosine %.3g", within);
    check_mean("squared cosine of rows of different groups", across, TIMES, 1.0 / HEAD);
    check_mean("squared length of a row", squares, TIMES * FEATURES, HEAD);
    check_variance("variance of the squared length", squares, TIMES * FEATURES, HEAD, 2 * HEAD);
    check_mean("length of a row", lengths, TIMES * FEATURES, sqrt(2) * tgamma((HEAD + 1) / 2.0) / tgamma(HEAD / 2.0));
    check_mean("first number", first, TIMES, 0);
    check_variance("variance of the first number", first, TIMES, 0, 1);
    free(lengths), free(squares), free(first), free(across);
    map_destroy(map);
}

static const TestCase random_tests[] = {
    {"degree 1 is exact", test_degree_1},     {"degree 2 and self-tensored degree 4: mean and variance", test_degree_2},
    {"degree 4: mean", test_degree_4},        {"scale", test_scale},
    {"error over many vectors", test_errors},
};
static const TestCase map_tests[] = {
    {"definition", test_definition},
    {"draws of layers", test_draws_of_layers},
    {"learned: bound", test_learned_bound},
    {"learned: not constant", test_learned_is_not_constant},
    {"projection: size", test_projection_size},
    {"performer: mean", test_performer_kernel},
    {"performer: projection", test_performer_projection},
};
static const Suite suites[] = {SUITE("random sketch", random_tests), SUITE("feature maps", map_tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_sketch", suites, 2);
    world_stop();
    return code;
}
