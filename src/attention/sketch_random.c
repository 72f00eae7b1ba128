/* Random polynomial sketch with negativity (Kacham, Mirrokni, Zhong 2024, Algorithm 1; Ahle et al. 2020) of degree p/2, so
   that the self-tensored features approximate <x, x'>^p, x = sqrt(scale) q':

       degree 1   u = x                                   (p = 2, r = h)
       degree 2   u = sqrt(1/r) (x G1) * (x G2)           (p = 4)
       degree 4   u = sqrt(1/r) (M1 G1) * (M2 G2)         (p = 8), M1 and M2 independent sketches of degree 2

   * is entrywise, G standard normal with r columns. Drawn once per layer from (seed, tensor name), shared by heads and by
   queries and keys, constant during training. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "src/attention/kinds.h"
#include "src/attention/power_scale.h"
#include "src/tensor/small_gemm.h"

enum { TARGET_ROWS = 256 };

/* Order of the tensors in AttentionLayer.map_tensors. */
enum { G1, G2, LEFT_G1, LEFT_G2, RIGHT_G1, RIGHT_G2 };

static size_t sketch_width(const AttentionLayer *layer)
{
    return layer->spec.degree == 2 ? layer->head_width : (size_t)layer->spec.sketch_size;
}

static void sketch_resolve(AttentionSpec *spec, size_t head_width)
{
    if (spec->degree == 2) spec->sketch_size = (int64_t)head_width;
}

static bool sketch_check(const AttentionSpec *spec, Message *problem)
{
    return spec->degree == 2 || spec->degree == 4 || spec->degree == 8 ||
           fail(problem, "attention.degree = %lld: random sketches exist for degree 2, 4 and 8",
                (long long)spec->degree);
}

static int add_gaussian(AttentionLayer *layer, ParamTable *table, const char *prefix, const char *which, size_t rows)
{
    char name[128];
    snprintf(name, sizeof name, "%s.sketch.random.%s", prefix, which);
    int index = param_table_add_matrix(table, name, rows, sketch_width(layer), INIT_NORMAL, 1);
    param_table_not_trained(table, index);
    return index;
}

static void sketch_declare(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    size_t h = layer->head_width, r = sketch_width(layer);
    if (layer->spec.degree == 2) return; /* nothing is drawn */
    bool nested = layer->spec.degree == 8;
    layer->map_tensors[G1] = add_gaussian(layer, table, prefix, "g1", nested ? r : h);
    layer->map_tensors[G2] = add_gaussian(layer, table, prefix, "g2", nested ? r : h);
    if (!nested) return;
    layer->map_tensors[LEFT_G1] = add_gaussian(layer, table, prefix, "left.g1", h);
    layer->map_tensors[LEFT_G2] = add_gaussian(layer, table, prefix, "left.g2", h);
    layer->map_tensors[RIGHT_G1] = add_gaussian(layer, table, prefix, "right.g1", h);
    layer->map_tensors[RIGHT_G2] = add_gaussian(layer, table, prefix, "right.g2", h);
}

/* Intermediate products of a chunk, (rows, r) each. */
enum { BUFFERS = 9 };

/* Numbers of a thread: the intermediate products, and a matrix transposed. */
static size_t thread_count(const AttentionLayer *layer)
{
    size_t r = sketch_width(layer);
    return BUFFERS * chunk_rows(layer, TARGET_ROWS) * r + r * larger(layer->head_width, r);
}

static void sketch_plan(const AttentionLayer *layer, size_t tokens, Arena *scratch)
{
    (void)tokens;
    size_t mark = arena_mark(scratch);
    arena_take(scratch, (size_t)omp_get_max_threads() * thread_count(layer));
    arena_release(scratch, mark);
}

/* One product node y = factor (a GA) * (c GC); p and q keep the two products for the backward pass. */
typedef struct Node {
    const real *left_matrix, *right_matrix; /* (inputs, r) */
    size_t inputs, r;
    real factor;
} Node;

static void node_forward(const Node *node, real *y, real *p, real *q, const real *a, const real *c, size_t rows)
{
    small_gemm_nn(p, node->r, a, node->inputs, node->left_matrix, node->r, rows, node->r, node->inputs, OVERWRITE);
    small_gemm_nn(q, node->r, c, node->inputs, node->right_matrix, node->r, rows, node->r, node->inputs, OVERWRITE);
#pragma omp simd
    for (size_t i = 0; i < rows * node->r; i++) y[i] = node->factor * p[i] * q[i];
}

/* d_input (rows, inputs) += d_product (rows, r) matrix^T */
static void product_backward(const Node *node, real *d_input, const real *d_product, const real *matrix, size_t rows,
                             real *transposed)
{
    transpose(transposed, node->inputs, matrix, node->r, node->inputs, node->r);
    small_gemm_nn(d_input, node->inputs, d_product, node->r, transposed, node->inputs, rows, node->inputs, node->r,
                  ADD);
}

/* d_a += ..., d_c += ... (they may be the same); p and q are overwritten by their gradients. */
static void node_backward(const Node *node, real *d_a, real *d_c, const real *d_y, real *p, real *q, size_t rows,
                          real *transposed)
{
#pragma omp simd
    for (size_t i = 0; i < rows * node->r; i++) {
        real d_p = node->factor * d_y[i] * q[i];
        q[i] = node->factor * d_y[i] * p[i];
        p[i] = d_p;
    }
    product_backward(node, d_a, p, node->left_matrix, rows, transposed);
    product_backward(node, d_c, q, node->right_matrix, rows, transposed);
}

static Node node_of(const AttentionLayer *layer, ParamStore *params, int left, int right, bool of_inputs)
{
    size_t r = sketch_width(layer);
    real scaled = of_inputs ? power_scale(layer, params).scale : 1; /* sqrt(scale) from each of the two factors */
    return (Node){
        .left_matrix = param_values(params, layer->map_tensors[left]),
        .right_matrix = param_values(params, layer->map_tensors[right]),
        .inputs = of_inputs ? layer->head_width : r,
        .r = r,
        .factor = scaled / real_sqrt((real)r),
    };
}

static void chunk_forward(const AttentionLayer *layer, ParamStore *params, real *u, const real *x, size_t rows,
                          real *scratch)
{
    size_t size = chunk_rows(layer, TARGET_ROWS) * sketch_width(layer);
    real *p = scratch, *q = p + size, *left = q + size, *right = left + size;
    if (layer->spec.degree == 2) {
        real root = real_sqrt(power_scale(layer, params).scale);
        for (size_t i = 0; i < rows * layer->head_width; i++) u[i] = root * x[i];
        return;
    }
    bool nested = layer->spec.degree == 8;
    Node top = node_of(layer, params, G1, G2, !nested);
    if (nested) {
        Node left_node = node_of(layer, params, LEFT_G1, LEFT_G2, true);
        Node right_node = node_of(layer, params, RIGHT_G1, RIGHT_G2, true);
        node_forward(&left_node, left, p, q, x, x, rows);
        node_forward(&right_node, right, p, q, x, x, rows);
    }
    node_forward(&top, u, p, q, nested ? left : x, nested ? right : x, rows);
}

static void chunk_backward(const AttentionLayer *layer, ParamStore *params, real *d_x, const real *d_u, const real *x,
                           size_t rows, real *scratch)
{
    size_t size = chunk_rows(layer, TARGET_ROWS) * sketch_width(layer);
    real *p = scratch, *q = p + size, *y = q + size, *left = y + size, *right = left + size, *d_left = right + size,
         *d_right = d_left + size, *p2 = d_right + size, *q2 = p2 + size, *transposed = q2 + size;
    if (layer->spec.degree == 2) {
        real root = real_sqrt(power_scale(layer, params).scale);
        for (size_t i = 0; i < rows * layer->head_width; i++) d_x[i] += root * d_u[i];
        return;
    }
    bool nested = layer->spec.degree == 8;
    Node top = node_of(layer, params, G1, G2, !nested);
    if (!nested) {
        node_forward(&top, y, p, q, x, x, rows);
        node_backward(&top, d_x, d_x, d_u, p, q, rows, transposed);
        return;
    }
    Node left_node = node_of(layer, params, LEFT_G1, LEFT_G2, true);
    Node right_node = node_of(layer, params, RIGHT_G1, RIGHT_G2, true);
    memset(d_left, 0, size * sizeof *d_left);
    memset(d_right, 0, size * sizeof *d_right);
    node_forward(&right_node, right, p2, q2, x, x, rows);
    node_forward(&left_node, left, p2, q2, x, x, rows);
    node_forward(&top, y, p, q, left, right, rows);
    node_backward(&top, d_left, d_right, d_u, p, q, rows, transposed);
    node_backward(&left_node, d_x, d_x, d_left, p2, q2, rows, transposed);
    node_forward(&right_node, right, p2, q2, x, x, rows);
    node_backward(&right_node, d_x, d_x, d_right, p2, q2, rows, transposed);
}

/* x is q' or k', without gaps: a chunk's (token, head) rows are those of one matrix. */
static void sketch_forward(const MapRun *run, real *u, real *factors)
{
    (void)factors;
    const AttentionLayer *layer = run->layer;
    size_t mark = arena_mark(run->scratch), H = layer->heads, r = sketch_width(layer);
    size_t longest = chunk_tokens(layer, TARGET_ROWS);
    real *threads = arena_take(run->scratch, (size_t)omp_get_max_threads() * thread_count(layer));
    ASSERT(run->x.stride == run->x.columns);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < chunk_count(&run->span, longest); i++) {
        TokenChunk chunk = chunk_at(&run->span, longest, i);
        chunk_forward(layer, run->params, u + chunk.first * H * r, const_matrix_row(run->x, chunk.first),
                      chunk.count * H, threads + (size_t)omp_get_thread_num() * thread_count(layer));
    }
    arena_release(run->scratch, mark);
}

static void sketch_backward(const MapRun *run, Matrix d_x, const real *d_u, const real *u)
{
    (void)u;
    const AttentionLayer *layer = run->layer;
    size_t mark = arena_mark(run->scratch), H = layer->heads, r = sketch_width(layer);
    size_t longest = chunk_tokens(layer, TARGET_ROWS);
    real *threads = arena_take(run->scratch, (size_t)omp_get_max_threads() * thread_count(layer));
    ASSERT(run->x.stride == run->x.columns && d_x.stride == d_x.columns);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < chunk_count(&run->span, longest); i++) {
        TokenChunk chunk = chunk_at(&run->span, longest, i);
        chunk_backward(layer, run->params, matrix_row(d_x, chunk.first), d_u + chunk.first * H * r,
                       const_matrix_row(run->x, chunk.first), chunk.count * H,
                       threads + (size_t)omp_get_thread_num() * thread_count(layer));
    }
    arena_release(run->scratch, mark);
}

static double sketch_flops(const AttentionLayer *layer)
{
    double h = (double)layer->head_width, r = (double)sketch_width(layer);
    if (layer->spec.degree == 2) return 0;
    return layer->spec.degree == 4 ? 4 * h * r : 8 * h * r + 4 * r * r;
}

const FeatureMap feature_map_sketch_random = {
    .name = "random",
    .check = sketch_check,
    .resolve = sketch_resolve,
    .normalised_input = true,
    .self_tensored = true,
    .width = sketch_width,
    .declare = sketch_declare,
    .plan = sketch_plan,
    .forward = sketch_forward,
    .backward = sketch_backward,
    .flops = sketch_flops,
};
