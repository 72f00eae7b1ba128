#include "src/attention/gate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/tensor/blas.h"
#include "src/tensor/cross_entropy.h"

/* Initial values of c: heads of even number begin with a memory of about 1 / (1 - sigmoid(4)) = 56 tokens, odd ones 150. */
static const double FIRST_BIAS = 4;
static const double WEIGHT_DEVIATION = 0.02;

static bool depends_on_data(const AttentionLayer *layer) { return layer->spec.gate == GATE_DATA; }

void gate_declare(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    char name[128];
    if (depends_on_data(layer)) {
        snprintf(name, sizeof name, "%s.gate.weight", prefix);
        layer->gate_weight = param_table_add_matrix(table, name, layer->heads, layer->heads * layer->head_width,
                                                    INIT_NORMAL, WEIGHT_DEVIATION);
    }
    snprintf(name, sizeof name, "%s.gate.bias", prefix);
    layer->gate_bias = param_table_add_vector(table, name, layer->heads, FIRST_BIAS);
    param_table_alternate(table, layer->gate_bias);
}

/* (tokens, H) */
static real *take_products(const AttentionLayer *layer, size_t rows, Arena *scratch)
{
    return arena_take(scratch, rows * layer->heads);
}

/* Of a head: what its tokens add, and with documents the log decay of that, since a sum ends where one begins. */
static size_t total_size(const AttentionShape *shape) { return 1 + shape->documents; }

size_t gate_sum_count(const AttentionLayer *layer, const AttentionShape *shape)
{
    return shape->sequences * layer->heads * total_size(shape);
}

/* (B, H, total_size) twice: what this rank adds to a sum, and what comes in. */
typedef struct Totals {
    real *own, *incoming;
} Totals;

static Totals take_totals(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch)
{
    Totals totals;
    totals.own = arena_take(scratch, gate_sum_count(layer, shape));
    totals.incoming = arena_take(scratch, gate_sum_count(layer, shape));
    return totals;
}

void gate_plan(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch)
{
    size_t mark = arena_mark(scratch);
    take_products(layer, shape->sequences * shape->tokens, scratch);
    arena_release(scratch, mark);
    take_totals(layer, shape, scratch);
    arena_release(scratch, mark);
}

static real log_sigmoid(real x)
{
    double z = (double)x;
    return (real)(z > 0 ? -log1p(exp(-z)) : z - log1p(exp(z)));
}

/* gate (B, H, N) of products (tokens, H) and bias (H). */
static void gates_of_products(real *gate, const real *products, const real *bias, size_t sequences, size_t H, size_t N)
{
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t s = 0; s < sequences; s++)
        for (size_t t = 0; t < N; t++)
            for (size_t j = 0; j < H; j++)
                gate[(s * H + j) * N + t] = log_sigmoid(products[(s * N + t) * H + j] + bias[j]);
}

static void constant_gates(real *gate, const real *bias, size_t sequences, size_t H, size_t N)
{
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t s = 0; s < sequences; s++)
        for (size_t j = 0; j < H; j++) {
            real g = log_sigmoid(bias[j]);
            for (size_t t = 0; t < N; t++) gate[(s * H + j) * N + t] = g;
        }
}

void gate_forward(const AttentionLayer *layer, ParamStore *params, real *gate, ConstMatrix x, size_t sequences,
                  Arena *scratch)
{
    size_t mark = arena_mark(scratch), H = layer->heads, N = x.rows / sequences;
    real *products = take_products(layer, x.rows, scratch);
    const real *bias = param_values(params, layer->gate_bias);
    if (depends_on_data(layer)) {
        dense_forward(products, x.at, param_values(params, layer->gate_weight), x.rows, H, x.columns);
        gates_of_products(gate, products, bias, sequences, H, N);
    } else {
        constant_gates(gate, bias, sequences, H, N);
    }
    arena_release(scratch, mark);
}

/* d_products (tokens, H): the slope of log sigmoid is 1 - sigmoid = 1 - exp(g). */
static void products_backward(real *d_products, const real *d_gate, const real *gate, size_t sequences, size_t H,
                              size_t N)
{
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t s = 0; s < sequences; s++)
        for (size_t t = 0; t < N; t++)
            for (size_t j = 0; j < H; j++) {
                size_t at = (s * H + j) * N + t;
                d_products[(s * N + t) * H + j] = -d_gate[at] * (real)expm1((double)gate[at]);
            }
}

void gate_backward(const AttentionLayer *layer, ParamStore *params, Matrix d_x, const real *d_gate, const real *gate,
                   ConstMatrix x, size_t sequences, Arena *scratch)
{
    size_t mark = arena_mark(scratch), H = layer->heads, C = x.columns;
    real *d_products = take_products(layer, x.rows, scratch);
    products_backward(d_products, d_gate, gate, sequences, H, x.rows / sequences);
    add_column_sums(param_gradient(params, layer->gate_bias), d_products, x.rows, H);
    if (depends_on_data(layer)) {
        const real *weight = param_values(params, layer->gate_weight);
        gemm_tn(param_gradient(params, layer->gate_weight), C, d_products, H, x.at, C, H, C, x.rows, 1, 1);
        gemm_nn(d_x.at, C, d_products, H, weight, C, x.rows, C, H, 1, 1);
    }
    arena_release(scratch, mark);
}

/* Does token t of this rank begin a document? */
static bool begins_document(const int32_t *starts, const AttentionShape *shape, size_t t)
{
    return starts && (size_t)starts[t] == shape->first_token + t;
}

void gate_sum(double *sums, const real *gate, const AttentionRun *run, size_t s, double start)
{
    const int32_t *starts = attention_document_starts(run, s);
    for (size_t t = 0; t < run->shape.tokens; t++) {
        start = begins_document(starts, &run->shape, t) ? 0 : start + (double)gate[t];
        sums[t] = start;
    }
}

void gate_age(real *ages, size_t count, size_t own, real gate)
{
#pragma omp simd
    for (size_t t = 0; t < count; t++) ages[t] += gate;
    ages[own] = 0;
}

/* Tokens of this rank whose document began on an earlier one: all but where another document begins. */
static size_t continued_tokens(const AttentionRun *run, const int32_t *starts)
{
    size_t count = 0, N = run->shape.tokens;
    if (!starts) return N;
    while (count < N && (size_t)starts[count] < run->shape.first_token) count++;
    return count;
}

/* What the tokens of this rank add to the gradients of earlier ranks' gates. */
static void fill_totals(const AttentionRun *run, real *totals)
{
    size_t H = run->layer->heads, rows = run->shape.sequences * H, N = run->shape.tokens;
    size_t size = total_size(&run->shape);
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < rows; row++) {
        double sum = 0;
        size_t count = continued_tokens(run, attention_document_starts(run, row / H));
        for (size_t t = 0; t < count; t++) sum += (double)run->d_gate[row * N + t];
        totals[row * size] = (real)sum;
        if (run->shape.documents) totals[row * size + 1] = count < N ? (real)FORGETS_ALL : 0;
    }
}

/* The gradients of a head's sums become those of its gates, of which the last has `later` behind it. */
static void sum_up(const AttentionRun *run, size_t row, double later)
{
    const int32_t *starts = attention_document_starts(run, row / run->layer->heads);
    real *d_gate = run->d_gate + row * run->shape.tokens;
    for (size_t t = run->shape.tokens; t-- > 0;) {
        later = begins_document(starts, &run->shape, t) ? 0 : later + (double)d_gate[t];
        d_gate[t] = (real)later;
    }
}

void gate_sum_backward(const AttentionRun *run, size_t offset)
{
    size_t mark = arena_mark(run->scratch), rows = run->shape.sequences * run->layer->heads;
    size_t size = total_size(&run->shape);
    Totals totals = take_totals(run->layer, &run->shape, run->scratch);
    fill_totals(run, totals.own);
    ExclusiveSum sum = {.direction = SCAN_BACKWARD, .local = totals.own, .incoming = totals.incoming};
    sum.count = rows * size;
    sum.groups = run->shape.documents ? rows : 0;
    sum.offset = offset;
    run->link->exclusive_sum_begin(run->link, &sum);
    run->link->exclusive_sum_finish(run->link);
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < rows; row++) sum_up(run, row, (double)totals.incoming[row * size]);
    arena_release(run->scratch, mark);
}
