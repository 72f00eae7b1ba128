/* The kernels of src/tensor against loops in double and against central differences of those loops. */
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/tensor/activation.h"
#include "src/tensor/blas.h"
#include "src/tensor/cross_entropy.h"
#include "src/tensor/dropout.h"
#include "src/tensor/embedding.h"
#include "src/tensor/layernorm.h"
#include "src/tensor/rotary.h"
#include "src/tensor/small_gemm.h"
#include "tests/harness/check.h"
#include "tests/harness/rounding.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

/* Exponential, quotient and what surrounds them in a GELU or a softmax; vector forms of exp are off by 4 units. */
enum { EXP_ROUNDINGS = 32 };
/* Central differences in double: error STEP^2 of the formula, DBL_EPSILON / STEP of the difference. Both are about 1e-10; the
   third derivatives of a layer norm of few numbers add a digit. */
static const double STEP = 1e-5, DIFFERENCE_ERROR = 10 * 1e-5 * 1e-5;
static const real UNTOUCHED = 7; /* what lies between rows before a kernel runs, and must lie there afterwards */

enum { MAX_THREADS = 3, MAX_WIDTH = 200 };

static double *widened(const real *x, size_t count)
{
    double *wide = checked_calloc(count, sizeof *wide);
    for (size_t i = 0; i < count; i++) wide[i] = (double)x[i];
    return wide;
}

static real *filled(size_t count, real value)
{
    real *x = checked_calloc(count, sizeof *x);
    for (size_t i = 0; i < count; i++) x[i] = value;
    return x;
}

/* Runs `test` with 1, 2, ... threads. */
static void with_threads(void (*test)(int threads))
{
    int before = omp_get_max_threads();
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        omp_set_num_threads(threads);
        test(threads);
    }
    omp_set_num_threads(before);
}

/* ---- layer norm ---------------------------------------------------------------------------------------------------- */

typedef struct Rows {
    size_t tokens, heads, width, x_stride, y_stride;
} Rows;

static const Rows norm_shapes[] = {
    {5, 1, 24, 24, 24},    /* plain */
    {1, 1, 7, 9, 8},       /* fewer tokens than threads */
    {9, 3, 8, 40, 29},     /* heads and gaps */
    {40, 1, 64, 70, 64},   /* many tokens, width of a head */
    {7, 1, 200, 203, 201}, /* long rows, fewer at a time */
    {300, 4, 16, 192, 70}, /* long enough for several threads in the forward pass */
};
enum { NORM_SHAPES = sizeof norm_shapes / sizeof *norm_shapes };

/* x whose gaps are NaN: a kernel that reads them shows it. */
static real *rows_with_gaps(const Rows *rows, size_t stride, double shift, uint64_t seed)
{
    real *x = random_reals(rows->tokens * stride, 1, seed);
    for (size_t t = 0; t < rows->tokens; t++)
        for (size_t c = 0; c < stride; c++)
            x[t * stride + c] = c < rows->heads * rows->width ? x[t * stride + c] + (real)shift : NAN;
    return x;
}

static void naive_norm(double *normed, const double *x, size_t width)
{
    double mean = 0, variance = 0;
    for (size_t c = 0; c < width; c++) mean += x[c] / (double)width;
    for (size_t c = 0; c < width; c++) variance += (x[c] - mean) * (x[c] - mean) / (double)width;
    for (size_t c = 0; c < width; c++) normed[c] = (x[c] - mean) / sqrt(variance + 1e-5);
}

static void check_norm_forward(const Rows *rows, double shift, int threads)
{
    size_t w = rows->width, count = rows->tokens * rows->y_stride;
    real *x = rows_with_gaps(rows, rows->x_stride, shift, 1), *weight = random_reals(w, 1, 2),
         *bias = random_reals(w, 1, 3);
    real *y = filled(count, UNTOUCHED);
    double *expected = widened(y, count), wide[MAX_WIDTH] = {0};
    for (size_t row = 0; row < rows->tokens * rows->heads; row++) {
        size_t t = row / rows->heads, j = row % rows->heads;
        double *out = expected + t * rows->y_stride + j * w;
        for (size_t c = 0; c < w; c++) wide[c] = (double)x[t * rows->x_stride + j * w + c];
        naive_norm(out, wide, w);
        for (size_t c = 0; c < w; c++) out[c] = out[c] * (double)weight[c] + (double)bias[c];
    }
    layernorm_forward((Matrix){y, rows->tokens, rows->heads * w, rows->y_stride},
                      (ConstMatrix){x, rows->tokens, rows->heads * w, rows->x_stride}, (NormWeights){weight, bias},
                      rows->heads);
    char what[64];
    snprintf(what, sizeof what, "layer norm of %zu tokens + %g, %d threads", rows->tokens, shift, threads);
    /* The mean of numbers near `shift` is rounded to that many more digits. */
    check_close_double(what, y, expected, count, roundings(4 * w) * (1 + shift));
    free(x), free(weight), free(bias), free(y), free(expected);
}

static void norm_forward(int threads)
{
    for (int i = 0; i < NORM_SHAPES; i++) {
        check_norm_forward(&norm_shapes[i], 0, threads);
        check_norm_forward(&norm_shapes[i], 50, threads);
    }
}

static void test_norm_forward(void) { with_threads(norm_forward); }

/* <d_y, LN(x) * weight>, whose gradient the backward pass gives. */
static double norm_product(const double *x, const double *upstream, size_t width)
{
    double normed[MAX_WIDTH], sum = 0;
    naive_norm(normed, x, width);
    for (size_t c = 0; c < width; c++) sum += upstream[c] * normed[c];
    return sum;
}

/* Adds what one row gives to the three gradients. */
static void naive_norm_backward(double *d_x, double *d_weight, double *d_bias, const real *d_y, const real *x,
                                const real *weight, size_t width)
{
    double wide[MAX_WIDTH] = {0}, upstream[MAX_WIDTH], normed[MAX_WIDTH];
    for (size_t c = 0; c < width; c++) wide[c] = (double)x[c], upstream[c] = (double)d_y[c] * (double)weight[c];
    naive_norm(normed, wide, width);
    for (size_t c = 0; c < width; c++) {
        d_weight[c] += (double)d_y[c] * normed[c];
        d_bias[c] += (double)d_y[c];
        wide[c] += STEP;
        double above = norm_product(wide, upstream, width);
        wide[c] -= 2 * STEP;
        d_x[c] += (above - norm_product(wide, upstream, width)) / (2 * STEP);
        wide[c] += STEP;
    }
}

static void check_norm_backward(const Rows *rows, int threads)
{
    size_t w = rows->width, count = rows->tokens * rows->x_stride;
    real *x = rows_with_gaps(rows, rows->x_stride, 0, 1), *d_y = rows_with_gaps(rows, rows->y_stride, 0, 4);
    real *weight = random_reals(w, 1, 2), *scratch = filled(layernorm_scratch(w), NAN);
    /* All three are added to: they start away from zero. */
    real *d_x = random_reals(count, 1, 5), *d_weight = random_reals(w, 1, 6), *d_bias = random_reals(w, 1, 7);
    double *expected_x = widened(d_x, count), *expected_weight = widened(d_weight, w),
           *expected_bias = widened(d_bias, w);
    for (size_t row = 0; row < rows->tokens * rows->heads; row++) {
        size_t t = row / rows->heads, j = row % rows->heads, at = t * rows->x_stride + j * w;
        naive_norm_backward(expected_x + at, expected_weight, expected_bias, d_y + t * rows->y_stride + j * w, x + at,
                            weight, w);
    }
    layernorm_backward((Matrix){d_x, rows->tokens, rows->heads * w, rows->x_stride}, (NormGradients){d_weight, d_bias},
                       (ConstMatrix){d_y, rows->tokens, rows->heads * w, rows->y_stride},
                       (ConstMatrix){x, rows->tokens, rows->heads * w, rows->x_stride}, weight, rows->heads, scratch);
    char what[64];
    snprintf(what, sizeof what, "layer norm of %zu tokens, %d threads", rows->tokens, threads);
    double sums = roundings(rows->tokens * rows->heads + 4 * w);
    check_close_double(what, d_x, expected_x, count, roundings(8 * w) + DIFFERENCE_ERROR);
    check_close_double(what, d_weight, expected_weight, w, sums);
    check_close_double(what, d_bias, expected_bias, w, sums);
    free(x), free(d_y), free(weight), free(scratch), free(d_x), free(d_weight), free(d_bias);
    free(expected_x), free(expected_weight), free(expected_bias);
}

static void norm_backward(int threads)
{
    for (int i = 0; i < NORM_SHAPES; i++) check_norm_backward(&norm_shapes[i], threads);
}

static void test_norm_backward(void) { with_threads(norm_backward); }

/* A row of equal numbers has no deviation: only the 1e-5 under the root keeps it finite. */
static void test_norm_of_equal_numbers(void)
{
    enum { WIDTH = 4 };
    real x[WIDTH] = {3, 3, 3, 3}, y[WIDTH], weight[WIDTH] = {1, 1, 2, 1}, bias[WIDTH] = {1, 2, 3, 4},
         d_y[WIDTH] = {1, 0, 0, 0};
    real d_x[WIDTH] = {0}, d_weight[WIDTH] = {0}, d_bias[WIDTH] = {0};
    layernorm_forward(matrix_dense(y, 1, WIDTH), const_matrix_dense(x, 1, WIDTH), (NormWeights){weight, bias}, 1);
    check_close_real("y is the bias", y, bias, WIDTH, 0);
    layernorm_backward_rows(matrix_dense(d_x, 1, WIDTH), (NormGradients){d_weight, d_bias},
                            const_matrix_dense(d_y, 1, WIDTH), const_matrix_dense(x, 1, WIDTH), weight, 1);
    double slope = 1 / sqrt(1e-5), expected[WIDTH] = {0.75 * slope, -0.25 * slope, -0.25 * slope, -0.25 * slope};
    check_close_double("d_x", d_x, expected, WIDTH, roundings(8 * WIDTH));
}

/* ---- GELU ---------------------------------------------------------------------------------------------------------- */

static double naive_gelu(double x) { return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

static double naive_slope(double x)
{
    double step = STEP * fmax(1, fabs(x));
    return (naive_gelu(x + step) - naive_gelu(x - step)) / (2 * step);
}

/* More than one thread's worth of usual numbers, and a few that are not. */
static const double edges[] = {0,  1e-30, -1e-30, 1e-4, -1e-4, 5,    -5,  8,    -8,  10,   -10,  13,
                               20, -20,   50,     -50,  100,   -100, 1e3, -1e3, 1e6, -1e6, 1e10, -1e10};
enum { EDGES = sizeof edges / sizeof *edges, USUAL = 20000 };

static void test_gelu(void)
{
    real *x = random_reals(USUAL, 2, 11), *d_y = random_reals(USUAL, 1, 12), *y = filled(USUAL, NAN),
         *d_x = filled(USUAL, NAN);
    double *expected = checked_calloc(USUAL, sizeof *expected), *expected_d = checked_calloc(USUAL, sizeof *expected_d);
    for (size_t i = 0; i < USUAL; i++)
        expected[i] = naive_gelu((double)x[i]), expected_d[i] = (double)d_y[i] * naive_slope((double)x[i]);
    gelu_forward(y, x, USUAL);
    check_close_double("GELU", y, expected, USUAL, roundings(EXP_ROUNDINGS));
    gelu_backward(d_x, d_y, x, USUAL);
    check_close_double("gradient of GELU", d_x, expected_d, USUAL, roundings(EXP_ROUNDINGS) + DIFFERENCE_ERROR);
    real *slope = random_reals(USUAL, 2, 11), *other_y = filled(USUAL, NAN); /* x again, to be overwritten */
    gelu_forward_with_slope(other_y, slope, USUAL);
    check_true(memcmp(other_y, y, USUAL * sizeof *y) == 0, "GELU with its slope is the same GELU");
    for (size_t i = 0; i < USUAL; i++) slope[i] *= d_y[i];
    check_close_double("gradient by the slope", slope, expected_d, USUAL, roundings(EXP_ROUNDINGS) + DIFFERENCE_ERROR);
    free(slope), free(other_y);
    gelu_backward(d_y, d_y, x, USUAL);
    check_true(memcmp(d_x, d_y, USUAL * sizeof *d_x) == 0, "the gradient in place is the same");
    gelu_forward(x, x, USUAL);
    check_true(memcmp(x, y, USUAL * sizeof *x) == 0, "GELU in place is the same");
    free(x), free(y), free(d_x), free(d_y), free(expected), free(expected_d);
}

/* The tails: GELU(x) is x or 0 and its slope 1 or 0, never NaN although exp and the cube overflow. */
static void test_gelu_of_large_numbers(void)
{
    real x[EDGES], y[EDGES], d_x[EDGES], d_y[EDGES];
    for (int i = 0; i < EDGES; i++) x[i] = (real)edges[i], d_y[i] = 1;
    gelu_forward(y, x, EDGES);
    gelu_backward(d_x, d_y, x, EDGES);
    for (int i = 0; i < EDGES; i++) {
        double expected = naive_gelu((double)x[i]), slope = naive_slope((double)x[i]);
        check_true(fabs((double)y[i] - expected) <= roundings(EXP_ROUNDINGS) * fmax(fabs(expected), 1),
                   "GELU(%g) is %g, expected %g", edges[i], (double)y[i], expected);
        check_true(fabs((double)d_x[i] - slope) <= roundings(EXP_ROUNDINGS) + DIFFERENCE_ERROR,
                   "GELU'(%g) is %g, expected %g", edges[i], (double)d_x[i], slope);
    }
}

/* Tokens of [a, g]; some gates are extreme. */
static void check_glu(size_t tokens, size_t width)
{
    size_t count = tokens * width;
    real *x = random_reals(2 * count, 2, 13), *d_y = random_reals(count, 1, 14), *y = filled(count, NAN),
         *d_x = filled(2 * count, NAN);
    double *expected = checked_calloc(count, sizeof *expected),
           *expected_d = checked_calloc(2 * count, sizeof *expected_d);
    for (size_t i = 0; i < count; i++) {
        size_t at_a = i / width * 2 * width + i % width, at_g = at_a + width;
        if (i % 5 == 0) x[at_g] = i % 2 ? 60 : -60;
        double a = (double)x[at_a], g = (double)x[at_g];
        expected[i] = a * naive_gelu(g);
        expected_d[at_a] = (double)d_y[i] * naive_gelu(g);
        expected_d[at_g] = (double)d_y[i] * a * naive_slope(g);
    }
    glu_forward(y, x, tokens, width);
    glu_backward(d_x, d_y, x, tokens, width);
    check_close_double("gated GELU", y, expected, count, roundings(EXP_ROUNDINGS));
    check_close_double("gradient of the gated GELU", d_x, expected_d, 2 * count,
                       roundings(EXP_ROUNDINGS) + DIFFERENCE_ERROR);
    free(x), free(d_y), free(y), free(d_x), free(expected), free(expected_d);
}

static void test_glu(void)
{
    check_glu(1, 1);
    check_glu(7, 13);
    check_glu(140, 130); /* several threads */
}

/* ---- rotary embedding ---------------------------------------------------------------------------------------------- */

static double angle_of(size_t position, size_t pair, size_t head_width)
{
    return (double)((long double)position * powl(10000.0L, -2.0L * (long double)pair / (long double)head_width));
}

/* Angles near 1e6 are rounded to 1e-10 in double; a table made in float would be off by 0.06. */
static const double ANGLE_ERROR = ROUNDING_FACTOR * 1e6 * DBL_EPSILON;

static void fill_table(real *table, size_t first, size_t tokens, size_t head_width, size_t turned_pairs)
{
    double *turns = checked_calloc(head_width / 2, sizeof *turns);
    rotary_fill_turns(turns, head_width, turned_pairs);
    rotary_fill_table(table, first, tokens, turns, head_width);
    free(turns);
}

static void check_table(size_t first, size_t tokens, size_t head_width, size_t turned_pairs)
{
    size_t half = head_width / 2;
    real *table = filled(2 * tokens * half, NAN);
    double *expected = checked_calloc(2 * tokens * half, sizeof *expected);
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < half; i++) {
            bool turned = i < turned_pairs;
            expected[2 * t * half + i] = turned ? cos(angle_of(first + t, i, head_width)) : 1;
            expected[(2 * t + 1) * half + i] = turned ? sin(angle_of(first + t, i, head_width)) : 0;
        }
    fill_table(table, first, tokens, head_width, turned_pairs);
    char what[64];
    snprintf(what, sizeof what, "table of %zu positions from %zu, %zu pairs", tokens, first, turned_pairs);
    check_close_double(what, table, expected, 2 * tokens * half, REAL_EPSILON + ANGLE_ERROR);
    free(table), free(expected);
}

static void test_rotary_table(void)
{
    check_table(0, 50, 8, 4);
    check_table(17, 3, 2, 1);
    check_table(999990, 20, 64, 32);
    check_table(1000, 300, 64, 32); /* several threads */
    check_table(17, 5, 8, 3);
    check_table(17, 5, 8, 0);
}

static void check_rotary(size_t tokens, size_t table_tokens, size_t first)
{
    enum { HEADS = 3, WIDTH = 8, HALF = WIDTH / 2, STRIDE = 31 };
    real *table = checked_calloc(table_tokens * WIDTH, sizeof *table), *x = random_reals(tokens * STRIDE, 1, 21);
    fill_table(table, first, table_tokens, WIDTH, HALF);
    double *before = widened(x, tokens * STRIDE), *expected = widened(x, tokens * STRIDE);
    for (size_t t = 0; t < tokens; t++)
        for (size_t j = 0; j < HEADS; j++)
            for (size_t i = 0; i < HALF; i++) {
                size_t at = t * STRIDE + j * WIDTH + i;
                double angle = angle_of(first + t % table_tokens, i, WIDTH);
                expected[at] = before[at] * cos(angle) - before[at + HALF] * sin(angle);
                expected[at + HALF] = before[at] * sin(angle) + before[at + HALF] * cos(angle);
            }
    double tolerance = roundings(4) + ANGLE_ERROR;
    rotary_apply(x, STRIDE, table, table_tokens, tokens, HEADS, WIDTH, 1);
    check_close_double("turned", x, expected, tokens * STRIDE, tolerance);
    rotary_apply(x, STRIDE, table, table_tokens, tokens, HEADS, WIDTH, -1);
    check_close_double("turned back", x, before, tokens * STRIDE, tolerance);
    free(table), free(x), free(before), free(expected);
}

static void test_rotary(void)
{
    check_rotary(6, 6, 0);
    check_rotary(6, 6, 1000);
    check_rotary(15, 5, 3);    /* three sequences share a table */
    check_rotary(800, 400, 0); /* several threads */
}

/* x (h) turned to `position`. */
static void turn(double *turned, const real *x, size_t position, size_t head_width)
{
    real table[2 * MAX_WIDTH], copy[2 * MAX_WIDTH];
    memcpy(copy, x, head_width * sizeof *copy);
    fill_table(table, position, 1, head_width, head_width / 2);
    rotary_apply(copy, head_width, table, 1, 1, 1, head_width, 1);
    for (size_t c = 0; c < head_width; c++) turned[c] = (double)copy[c];
}

static double inner(const double *a, const double *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

static void test_rotary_is_relative(void)
{
    enum { WIDTH = 32, DISTANCE = 5 };
    const size_t positions[] = {0, 1, 40, 4095, 1000000};
    real *q = random_reals(WIDTH, 1, 22), *k = random_reals(WIDTH, 1, 23);
    double *norm_of = widened(q, WIDTH), norm = inner(norm_of, norm_of, WIDTH), q_turned[WIDTH], k_turned[WIDTH],
           first = 0, near = 0;
    double tolerance = norm * (roundings(WIDTH) + ANGLE_ERROR);
    for (int i = 0; i < 5; i++) {
        turn(q_turned, q, positions[i] + DISTANCE, WIDTH);
        turn(k_turned, k, positions[i], WIDTH);
        double product = inner(q_turned, k_turned, WIDTH);
        if (i == 0) first = product;
        check_true(fabs(product - first) <= tolerance, "the inner product at %zu is %.9g, at 0 %.9g", positions[i],
                   product, first);
        check_true(fabs(inner(q_turned, q_turned, WIDTH) - norm) <= tolerance, "the norm stays at position %zu",
                   positions[i]);
        turn(k_turned, k, positions[i] + 1, WIDTH);
        near = inner(q_turned, k_turned, WIDTH);
        check_true(fabs(near - first) > 1e-3, "another distance gives another product");
    }
    free(q), free(k), free(norm_of);
}

/* ---- embedding ----------------------------------------------------------------------------------------------------- */

static void check_embedding(size_t tokens, size_t width, int threads)
{
    enum { VOCABULARY = 9 }; /* far fewer than tokens: every row is used again and again */
    int32_t *ids = random_tokens(tokens, VOCABULARY - 1, 31); /* the last row is never used */
    real *table = random_reals(VOCABULARY * width, 1, 32), *x = filled(tokens * width, NAN);
    real *d_x = random_reals(tokens * width, 1, 33), *d_table = random_reals(VOCABULARY * width, 1, 34);
    double *expected = widened(d_table, VOCABULARY * width);
    bool same = true;
    embedding_forward(x, table, ids, tokens, width);
    for (size_t i = 0; i < tokens * width; i++) {
        size_t at = (size_t)ids[i / width] * width + i % width;
        same = same && x[i] == table[at];
        expected[at] += (double)d_x[i];
    }
    embedding_backward(d_table, d_x, ids, tokens, width);
    char what[64];
    snprintf(what, sizeof what, "embedding of %zu tokens, %d threads", tokens, threads);
    check_true(same, "%s: rows of the table", what);
    check_close_double(what, d_table, expected, VOCABULARY * width, roundings(tokens));
    free(ids), free(table), free(x), free(d_x), free(d_table), free(expected);
}

static void embedding(int threads)
{
    check_embedding(20, 5, threads);
    check_embedding(700, 100, threads);
    check_embedding(40000, 2, threads); /* fewer columns than threads */
}

static void test_embedding(void) { with_threads(embedding); }

/* ---- cross entropy ------------------------------------------------------------------------------------------------- */

/* log of the sum of e^y */
static double naive_log_sum(const double *y, size_t count)
{
    double largest = -INFINITY, sum = 0;
    for (size_t c = 0; c < count; c++) largest = fmax(largest, y[c]);
    for (size_t c = 0; c < count; c++) sum += exp(y[c] - largest);
    return largest + log(sum);
}

/* Of logits z, the bias included: what training minimises. */
static double naive_objective(const double *z, size_t target, size_t vocab_size, const LossSpec *spec)
{
    double cap = (double)spec->soft_cap, smoothing = (double)spec->label_smoothing, expected = 0;
    double *y = checked_calloc(vocab_size, sizeof *y);
    for (size_t c = 0; c < vocab_size; c++) y[c] = cap > 0 ? cap * tanh(z[c] / cap) : z[c];
    for (size_t c = 0; c < vocab_size; c++)
        expected += y[c] * (smoothing / (double)vocab_size + (c == target ? 1 - smoothing : 0));
    double log_sum = naive_log_sum(y, vocab_size);
    free(y);
    return log_sum - expected + (double)spec->z_loss * log_sum * log_sum;
}

/* Losses and gradients of rows of N(0, size^2) logits. */
static void check_cross_entropy(size_t rows, size_t V, double size, double bias_size, const LossSpec *spec)
{
    real *logits = random_reals(rows * V, size, 41), *bias = random_reals(V, bias_size, 42),
         *losses = filled(rows, NAN);
    int32_t *targets = random_tokens(rows, (int64_t)V, 43);
    double *wide = checked_calloc(V, sizeof *wide), *expected = checked_calloc(rows, sizeof *expected);
    double *expected_d = checked_calloc(rows * V, sizeof *expected_d);
    LossSpec plain = {.soft_cap = spec->soft_cap};
    for (size_t t = 0; t < rows; t++) {
        size_t target = (size_t)targets[t];
        for (size_t c = 0; c < V; c++) wide[c] = (double)(logits[t * V + c] + bias[c]);
        expected[t] = naive_objective(wide, target, V, &plain);
        for (size_t c = 0; c < V; c++) {
            double value = wide[c];
            wide[c] = value + STEP;
            double above = naive_objective(wide, target, V, spec);
            wide[c] = value - STEP;
            double below = naive_objective(wide, target, V, spec);
            expected_d[t * V + c] = (double)spec->gradient_scale * (above - below) / (2 * STEP);
            wide[c] = value;
        }
    }
    cross_entropy(losses, logits, bias, targets, rows, V, spec);
    char what[128];
    snprintf(what, sizeof what, "cross entropy of %zu x %zu logits of size %g, cap %g, z-loss %g, smoothing %g", rows,
             V, size, (double)spec->soft_cap, (double)spec->z_loss, (double)spec->label_smoothing);
    check_close_double(what, losses, expected, rows, roundings(V + EXP_ROUNDINGS));
    /* Differences of losses of this size lose the digits before the point. */
    double tolerance = (roundings(V + EXP_ROUNDINGS) + DIFFERENCE_ERROR) * fmax(size, 1);
    if (spec->gradient_scale != 0) check_close_double(what, logits, expected_d, rows * V, tolerance);
    free(logits), free(bias), free(losses), free(targets), free(wide), free(expected), free(expected_d);
}

static void check_cross_entropies(LossSpec spec)
{
    spec.gradient_scale = 1;
    check_cross_entropy(1, 2, 1, 1, &spec);
    spec.gradient_scale = (real)0.25;
    check_cross_entropy(9, 13, 1, 0.5, &spec);
    spec.gradient_scale = 0; /* the losses alone */
    check_cross_entropy(9, 13, 1, 0.5, &spec);
    spec.gradient_scale = -2;
    check_cross_entropy(9, 13, 20, 5, &spec);
    spec.gradient_scale = (real)0.01;
    check_cross_entropy(160, 120, 1, 1, &spec); /* several threads */
}

static void test_cross_entropy(void)
{
    const real caps[] = {0, 3, 30}; /* 3 bends logits of size 1 visibly, and those of size 20 to the cap */
    for (int i = 0; i < 3; i++) {
        check_cross_entropies((LossSpec){.soft_cap = caps[i]});
        check_cross_entropies((LossSpec){.soft_cap = caps[i], .z_loss = (real)0.1});
        check_cross_entropies((LossSpec){.soft_cap = caps[i], .label_smoothing = (real)0.3});
        check_cross_entropies((LossSpec){.soft_cap = caps[i], .z_loss = (real)0.03, .label_smoothing = (real)0.3});
    }
}

/* Logits no exp could bear: the softmax is 0 and 1. */
static void test_cross_entropy_of_huge_logits(void)
{
    enum { V = 5, ROWS = 4 };
    const double size = 1e30;
    real logits[ROWS * V], bias[V] = {0}, losses[ROWS];
    const int32_t targets[ROWS] = {3, 0, 1, 2}; /* the largest; the smallest; one of all equal; one of two largest */
    const real rows[ROWS][V] = {{-2, 0, 1, 3, 2}, {-2, 0, 1, 3, 2}, {1, 1, 1, 1, 1}, {-1, -2, 4, 4, 0}};
    for (int i = 0; i < ROWS * V; i++) logits[i] = (real)size * rows[i / V][i % V];
    const double expected[ROWS] = {0, 5 * size, log(5), log(2)};
    const double expected_d[ROWS * V] = {0, 0, 0, 0, 0, -1, 0, 0, 1, 0, 0.2, -0.8, 0.2, 0.2, 0.2, 0, 0, -0.5, 0.5, 0};
    cross_entropy(losses, logits, bias, targets, ROWS, V, &(LossSpec){.gradient_scale = 1});
    for (int t = 0; t < ROWS; t++) check_close_double("loss of huge logits", losses + t, expected + t, 1, roundings(V));
    check_close_double("gradient of huge logits", logits, expected_d, ROWS * V, roundings(V));
}

static void column_sums(int threads)
{
    const size_t sizes[][2] = {{1, 1}, {7, 5}, {700, 100}, {40000, 2}};
    for (int s = 0; s < 4; s++) {
        size_t rows = sizes[s][0], columns = sizes[s][1];
        real *x = random_reals(rows * columns, 1, 51), *sums = random_reals(columns, 1, 52);
        double *expected = widened(sums, columns);
        for (size_t i = 0; i < rows * columns; i++) expected[i % columns] += (double)x[i];
        add_column_sums(sums, x, rows, columns);
        char what[64];
        snprintf(what, sizeof what, "sums of %zu rows, %d threads", rows, threads);
        check_close_double(what, sums, expected, columns, roundings(rows));
        free(x), free(sums), free(expected);
    }
}

static void test_column_sums(void) { with_threads(column_sums); }

/* ---- dropout ------------------------------------------------------------------------------------------------------- */

enum { WIDE = 101, LONG = 400 }; /* no multiple of the four columns that share a draw */

static real *dropped(double rate, RngStream stream, size_t first, size_t tokens)
{
    real *x = filled(tokens * WIDE, 3);
    dropout_apply(x, rate, stream, first, tokens, WIDE);
    return x;
}

/* The part of dropped numbers, and of pairs `apart` both dropped, within five standard errors. */
static void check_rate(const real *x, double rate)
{
    const size_t count = LONG * WIDE, distances[] = {1, 2, WIDE};
    double both[3] = {0}, lost = 0;
    for (size_t i = 0; i < count; i++) {
        lost += x[i] == 0;
        for (int d = 0; d < 3; d++) both[d] += i >= distances[d] && x[i] == 0 && x[i - distances[d]] == 0;
    }
    double n = (double)count, bound = 5 * sqrt(rate * (1 - rate) / n), pair = rate * rate;
    check_true(fabs(lost / n - rate) <= bound, "rate %g: %.4f are dropped", rate, lost / n);
    for (int d = 0; d < 3; d++) /* overlapping pairs: twice the variance of independent ones bounds theirs */
        check_true(fabs(both[d] / n - pair) <= 5 * sqrt(2 * pair * (1 - pair) / n),
                   "rate %g: %.4f of the pairs %zu apart", rate, both[d] / n, distances[d]);
}

static void test_dropout_rate(void)
{
    const double rates[] = {0, 0.1, 0.5, 0.9};
    for (int r = 0; r < 4; r++) {
        real *x = dropped(rates[r], rng_stream(1, "dropout", 5), 0, LONG);
        double kept = 3 / (1 - rates[r]);
        bool scaled = true;
        for (size_t i = 0; i < LONG * WIDE; i++)
            scaled = scaled && (x[i] == 0 || fabs((double)x[i] - kept) <= roundings(2) * kept);
        check_true(scaled, "rate %g: what is kept is divided by 1 - rate", rates[r]);
        check_rate(x, rates[r]);
        free(x);
    }
}

static void dropout_of_pieces(int threads)
{
    const size_t cuts[] = {0, 5, 6, 130, LONG};
    RngStream stream = rng_stream(1, "dropout", 6);
    real *whole = dropped(0.3, stream, 1000, LONG);
    for (int i = 0; i < 4; i++) {
        size_t tokens = cuts[i + 1] - cuts[i];
        real *part = dropped(0.3, stream, 1000 + cuts[i], tokens);
        check_true(memcmp(part, whole + cuts[i] * WIDE, tokens * WIDE * sizeof *part) == 0,
                   "positions %zu to %zu alone have the same mask, %d threads", cuts[i], cuts[i + 1], threads);
        free(part);
    }
    free(whole);
}

static void test_dropout_of_pieces(void) { with_threads(dropout_of_pieces); }

static double share_of_equal(const real *a, const real *b)
{
    double equal = 0;
    for (size_t i = 0; i < LONG * WIDE; i++) equal += a[i] == b[i];
    return equal / (LONG * WIDE);
}

/* With rate 1/2 independent masks agree on half of the numbers, within five standard errors. */
static void test_dropout_streams(void)
{
    const double bound = 5 * 0.5 / sqrt(LONG * WIDE);
    real *x = dropped(0.5, rng_stream(1, "dropout", 7), 0, LONG),
         *same = dropped(0.5, rng_stream(1, "dropout", 7), 0, LONG);
    real *others[] = {dropped(0.5, rng_stream(1, "dropout", 8), 0, LONG),
                      dropped(0.5, rng_stream(2, "dropout", 7), 0, LONG),
                      dropped(0.5, rng_stream(1, "dropout", 7), 1, LONG)};
    check_true(memcmp(x, same, LONG * WIDE * sizeof *x) == 0, "asked again, the mask is the same");
    for (int i = 0; i < 3; i++) {
        check_true(fabs(share_of_equal(x, others[i]) - 0.5) < bound, "mask %d is another one: %.4f equal", i,
                   share_of_equal(x, others[i]));
        free(others[i]);
    }
    free(x), free(same);
}

/* ---- matrix products ----------------------------------------------------------------------------------------------- */

typedef void (*Product)(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n,
                        size_t k, real alpha, real beta);

static void small_nn(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n,
                     size_t k, real alpha, real beta)
{
    (void)alpha;
    small_gemm_nn(c, ldc, a, lda, b, ldb, m, n, k, beta == 0 ? OVERWRITE : ADD);
}

static void small_tn(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n,
                     size_t k, real alpha, real beta)
{
    (void)alpha;
    small_gemm_tn(c, ldc, a, lda, b, ldb, m, n, k, beta == 0 ? OVERWRITE : ADD);
}

static const struct {
    const char *name;
    Product run;
    bool left_transposed, right_transposed;
    bool plain; /* alpha is 1, beta 0 or 1 */
} products[] = {{"gemm_nn", gemm_nn, false, false, false},
                {"gemm_nt", gemm_nt, false, true, false},
                {"gemm_tn", gemm_tn, true, false, false},
                {"small_gemm_nn", small_nn, false, false, true},
                {"small_gemm_tn", small_tn, true, false, true}};
enum { PRODUCTS = sizeof products / sizeof *products };

typedef struct Sizes {
    size_t m, n, k, gap; /* every leading dimension is `gap` longer than its rows */
    double alpha, beta;
} Sizes;

static const Sizes product_sizes[] = {
    {1, 1, 1, 0, 1, 0},      {5, 7, 3, 0, 1, 0},    {5, 7, 3, 4, 1, 1},        {17, 1, 33, 2, -0.5, 1},
    {1, 19, 8, 1, 2, -1},    {40, 50, 70, 0, 1, 0}, {64, 48, 130, 9, 0.25, 0}, {33, 65, 17, 3, -2, 0.5},
    {13, 123, 300, 5, 1, 0}, {6, 64, 128, 0, 1, 1}, {2, 31, 129, 0, 1, 1},     {11, 112, 256, 1, 1, 1},
    {7, 37, 1030, 0, 1, 1},
};
enum { PRODUCT_SIZES = sizeof product_sizes / sizeof *product_sizes };

static double naive_element(const real *a, size_t lda, bool a_transposed, const real *b, size_t ldb, bool b_transposed,
                            size_t i, size_t j, size_t k)
{
    double sum = 0;
    for (size_t l = 0; l < k; l++)
        sum += (double)(a_transposed ? a[l * lda + i] : a[i * lda + l]) *
               (double)(b_transposed ? b[j * ldb + l] : b[l * ldb + j]);
    return sum;
}

/* With beta = 0 what c held does not matter, not even NaN. */
static void prepare_c(real *c, const Sizes *s)
{
    for (size_t i = 0; i < s->m; i++)
        for (size_t j = 0; j < s->n + s->gap; j++) {
            real *value = c + i * (s->n + s->gap) + j;
            if (j >= s->n)
                *value = UNTOUCHED;
            else if (s->beta == 0)
                *value = NAN;
        }
}

static void check_product(int p, Sizes sizes)
{
    const Sizes *s = &sizes;
    if (products[p].plain) sizes.alpha = 1, sizes.beta = sizes.beta != 0;
    bool left = products[p].left_transposed, right = products[p].right_transposed;
    size_t lda = (left ? s->m : s->k) + s->gap, ldb = (right ? s->k : s->n) + s->gap, ldc = s->n + s->gap;
    real *a = random_reals((left ? s->k : s->m) * lda, 1, 61), *b = random_reals((right ? s->n : s->k) * ldb, 1, 62);
    real *c = random_reals(s->m * ldc, 1, 63);
    prepare_c(c, s);
    double *expected = widened(c, s->m * ldc);
    for (size_t i = 0; i < s->m; i++)
        for (size_t j = 0; j < s->n; j++) {
            double *e = expected + i * ldc + j, old = s->beta == 0 ? 0 : s->beta * *e;
            *e = s->alpha * naive_element(a, lda, left, b, ldb, right, i, j, s->k) + old;
        }
    products[p].run(c, ldc, a, lda, b, ldb, s->m, s->n, s->k, (real)s->alpha, (real)s->beta);
    char what[64];
    snprintf(what, sizeof what, "%s of sizes %zu %zu %zu", products[p].name, s->m, s->n, s->k);
    check_close_double(what, c, expected, s->m * ldc, roundings(s->k + 3));
    free(a), free(b), free(c), free(expected);
}

static void products_with_threads(int threads)
{
    (void)threads;
    for (int p = 0; p < PRODUCTS; p++)
        for (int s = 0; s < PRODUCT_SIZES; s++) check_product(p, product_sizes[s]);
}

static void test_products(void) { with_threads(products_with_threads); }

static void test_transpose(void)
{
    for (size_t rows = 1; rows < 70; rows += 11)
        for (size_t columns = 1; columns < 70; columns += 17) {
            size_t ldx = columns + 3, ldt = rows + 2, wrong = 0;
            real *x = random_reals(rows * ldx, 1, 66), *t = filled(columns * ldt, UNTOUCHED);
            transpose(t, ldt, x, ldx, rows, columns);
            for (size_t j = 0; j < columns; j++)
                for (size_t i = 0; i < ldt; i++) wrong += t[j * ldt + i] != (i < rows ? x[i * ldx + j] : UNTOUCHED);
            check_true(wrong == 0, "transpose of %zu x %zu: %zu wrong numbers", rows, columns, wrong);
            free(x), free(t);
        }
}

/* Each thread of a parallel region computes a product of its own. */
static void test_products_of_threads(void)
{
    enum { N = 48, TIMES = 24 };
    real *a = random_reals(TIMES * N * N, 1, 64), *b = random_reals(N * N, 1, 65), *c = filled(TIMES * N * N, NAN);
    double *expected = checked_calloc(TIMES * N * N, sizeof *expected);
    for (size_t i = 0; i < TIMES * N; i++)
        for (size_t j = 0; j < N; j++) expected[i * N + j] = naive_element(a, N, false, b, N, false, i, j, N);
#pragma omp parallel for schedule(static) num_threads(MAX_THREADS)
    for (size_t t = 0; t < TIMES; t++) gemm_nn(c + t * N * N, N, a + t * N * N, N, b, N, N, N, N, 1, 0);
    check_close_double("products of several threads", c, expected, TIMES * N * N, roundings(N));
    free(a), free(b), free(c), free(expected);
}

static void test_matvec(void)
{
    enum { ROWS = 37, COLUMNS = 53 };
    real *w = random_reals(ROWS * COLUMNS, 1, 66), *x = random_reals(COLUMNS, 1, 67), *y = filled(ROWS, NAN);
    double expected[ROWS];
    for (size_t i = 0; i < ROWS; i++) expected[i] = naive_element(w, COLUMNS, false, x, COLUMNS, true, i, 0, COLUMNS);
    matvec(y, w, x, ROWS, COLUMNS);
    check_close_double("matrix times vector", y, expected, ROWS, roundings(COLUMNS));
    free(w), free(x), free(y);
}

static void check_dense(size_t tokens, size_t out, size_t in)
{
    real *x = random_reals(tokens * in, 1, 68), *w = random_reals(out * in, 1, 69),
         *d_y = random_reals(tokens * out, 1, 70);
    real *y = filled(tokens * out, NAN), *d_x = filled(tokens * in, NAN), *d_w = random_reals(out * in, 1, 71);
    double *expected_y = checked_calloc(tokens * out, sizeof(double)),
           *expected_x = checked_calloc(tokens * in, sizeof(double));
    double *expected_w = widened(d_w, out * in);
    for (size_t t = 0; t < tokens; t++)
        for (size_t o = 0; o < out; o++)
            for (size_t i = 0; i < in; i++) {
                expected_y[t * out + o] += (double)x[t * in + i] * (double)w[o * in + i];
                expected_x[t * in + i] += (double)d_y[t * out + o] * (double)w[o * in + i];
                expected_w[o * in + i] += (double)d_y[t * out + o] * (double)x[t * in + i];
            }
    dense_forward(y, x, w, tokens, out, in);
    check_close_double("dense layer", y, expected_y, tokens * out, roundings(in));
    dense_backward(d_x, d_w, d_y, x, w, tokens, out, in);
    check_close_double("dense layer, d_x", d_x, expected_x, tokens * in, roundings(out));
    check_close_double("dense layer, d_w", d_w, expected_w, out * in, roundings(tokens + 1));
    real *first = filled(out * in, 0), *second = filled(out * in, 0);
    dense_backward(NULL, first, d_y, x, w, tokens, out, in);
    dense_backward(d_x, second, d_y, x, w, tokens, out, in);
    check_close_real("dense layer, d_w without d_x", first, second, out * in, roundings(tokens));
    free(x), free(w), free(d_y), free(y), free(d_x), free(d_w), free(first), free(second);
    free(expected_y), free(expected_x), free(expected_w);
}

static void test_dense(void)
{
    check_dense(1, 1, 1);
    check_dense(1, 9, 14);
    check_dense(30, 20, 11);
    check_dense(130, 48, 64);
}

static const TestCase norm_tests[] = {
    {"forward", test_norm_forward}, {"backward", test_norm_backward}, {"equal numbers", test_norm_of_equal_numbers}};
static const TestCase gelu_tests[] = {
    {"GELU", test_gelu}, {"large numbers", test_gelu_of_large_numbers}, {"gated", test_glu}};
static const TestCase rotary_tests[] = {{"table", test_rotary_table},
                                        {"forward and back", test_rotary},
                                        {"only distances matter", test_rotary_is_relative}};
static const TestCase loss_tests[] = {{"cross entropy", test_cross_entropy},
                                      {"huge logits", test_cross_entropy_of_huge_logits},
                                      {"column sums", test_column_sums},
                                      {"embedding", test_embedding}};
static const TestCase dropout_tests[] = {{"rate and scale", test_dropout_rate},
                                         {"pieces have the mask of the whole", test_dropout_of_pieces},
                                         {"streams and positions", test_dropout_streams}};
static const TestCase product_tests[] = {{"strides, alpha and beta", test_products},
                                         {"transpose", test_transpose},
                                         {"inside a parallel region", test_products_of_threads},
                                         {"matrix times vector", test_matvec},
                                         {"dense layer", test_dense}};
static const Suite suites[] = {SUITE("layer norm", norm_tests), SUITE("GELU", gelu_tests),
                               SUITE("rotary", rotary_tests),   SUITE("loss", loss_tests),
                               SUITE("dropout", dropout_tests), SUITE("products", product_tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_tensor", suites, 6);
    world_stop();
    return code;
}
