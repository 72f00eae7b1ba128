#include "src/train/muon.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/size.h"
#include "src/core/param_shards.h"
#include "src/tensor/blas.h"
#include "src/tensor/small_gemm.h"
#include "src/train/adamw.h"

#define AT(field) offsetof(OptimizerSpec, field)

static const OptionRow *muon_options(int *count)
{
    static const OptionRow rows[] = {
        {"train", "muon_learning_rate", OPTION_REAL, AT(muon_learning_rate), "0.02", 0, 1000, "", false,
         "Muon: peak learning rate of the matrices it moves; train.learning_rate is that of all other tensors"},
        {"train", "muon_momentum", OPTION_REAL, AT(muon_momentum), "0.95", 0, 0.999999, "", false, "Muon"},
    };
    *count = sizeof rows / sizeof *rows;
    return rows;
}

static int muon_states(const Param *param, const char *names[OPTIMIZER_STATES])
{
    if (param->hidden_parts == 0) return adamw_states(param, names);
    names[0] = "momentum";
    return 1;
}

/* ---- orthogonal steps ----------------------------------------------------------------------------------------------- */

/* Scratch of one matrix, with n = min(rows, columns), m the other. */
typedef struct Buffers {
    real *x, *next; /* (n, m) */
    real *a, *b;    /* (n, n) */
} Buffers;

static Buffers buffers_in(real *scratch, size_t n, size_t m)
{
    return (Buffers){scratch, scratch + n * m, scratch + 2 * n * m, scratch + 2 * n * m + n * n};
}

size_t muon_scratch(size_t rows, size_t columns)
{
    size_t n = smaller(rows, columns);
    return 2 * rows * columns + 2 * n * n;
}

/* The same bits on any number of threads: rows are summed by whoever, and added in order. */
static double norm_of(const real *x, size_t rows, size_t columns)
{
    double *sums = checked_calloc(rows, sizeof *sums), total = 0;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) sums[i] += (double)x[i * columns + j] * (double)x[i * columns + j];
    for (size_t i = 0; i < rows; i++) total += sums[i];
    free(sums);
    return sqrt(total);
}

/* b = -4.7750 a + 2.0315 a a */
static void polynomial(real *b, const real *a, size_t n)
{
    gram(b, a, n, n);
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n * n; i++) b[i] = (real)-4.7750 * a[i] + (real)2.0315 * b[i];
}

void muon_orthogonalise(real *x, size_t rows, size_t columns, real *scratch)
{
    enum { ITERATIONS = 5 };
    bool tall = rows > columns;
    size_t n = smaller(rows, columns), m = rows + columns - n, count = rows * columns;
    Buffers buffers = buffers_in(scratch, n, m);
    real inverse = (real)(1 / (norm_of(x, rows, columns) + 1e-7));
#pragma omp parallel for simd schedule(static) if (parallel : count > 16384)
    for (size_t i = 0; i < count; i++) x[i] *= inverse;
    if (tall)
        transpose(buffers.x, m, x, columns, rows, columns);
    else
        memcpy(buffers.x, x, count * sizeof *x);
    for (int i = 0; i < ITERATIONS; i++) {
        gram(buffers.a, buffers.x, n, m);
        polynomial(buffers.b, buffers.a, n);
        memcpy(buffers.next, buffers.x, count * sizeof *x);
        gemm_nn(buffers.next, m, buffers.b, n, buffers.x, m, n, m, n, 1, (real)3.4445);
        real *last = buffers.x;
        buffers.x = buffers.next;
        buffers.next = last;
    }
    if (tall)
        transpose(x, columns, buffers.x, m, n, m);
    else
        memcpy(x, buffers.x, count * sizeof *x);
}

/* ---- the matrices, divided among the ranks --------------------------------------------------------------------------- */

/* One matrix: a part of a tensor. */
typedef struct Unit {
    int param;
    size_t offset; /* of its first number in the tensor */
    size_t rows, columns;
} Unit;

static double cost_of(const Unit *unit) { return whole_matrix_cost(unit->rows, unit->columns); }

static int dearest_first(const void *left, const void *right)
{
    const Unit *a = left, *b = right;
    if (cost_of(a) != cost_of(b)) return cost_of(a) > cost_of(b) ? -1 : 1;
    if (a->param != b->param) return a->param < b->param ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static size_t unit_count(const ParamTable *params)
{
    size_t count = 0;
    for (int i = 0; i < params->count; i++) count += (size_t)params->params[i].hidden_parts;
    return count;
}

/* All of them, (unit_count), in an order that is the same everywhere. */
static void *muon_prepare(const Optimizer *optimizer)
{
    const ParamTable *params = optimizer->params;
    size_t count = unit_count(params);
    Unit *units = checked_calloc(count, sizeof *units), *next = units;
    for (int i = 0; i < params->count; i++) {
        const Param *param = &params->params[i];
        size_t parts = (size_t)param->hidden_parts;
        for (size_t part = 0; part < parts; part++)
            *next++ = (Unit){i, part * param->count / parts, param->rows / parts, param->columns};
    }
    qsort(units, count, sizeof *units, dearest_first);
    return units;
}

/* Numbers of a direction, and what making it takes, for the largest matrix of each. */
static void largest_sizes(const ParamTable *params, size_t *direction, size_t *scratch)
{
    *direction = *scratch = 0;
    for (int i = 0; i < params->count; i++) {
        const Param *param = &params->params[i];
        if (param->hidden_parts == 0) continue;
        size_t rows = param->rows / (size_t)param->hidden_parts, needed = muon_scratch(rows, param->columns);
        if (rows * param->columns > *direction) *direction = rows * param->columns;
        if (needed > *scratch) *scratch = needed;
    }
}

/* The direction that this rank makes, its scratch, and a direction that another rank sends. */
static size_t muon_scratch_count(const Optimizer *optimizer, bool shared)
{
    size_t direction, scratch;
    largest_sizes(optimizer->params, &direction, &scratch);
    return direction + scratch + (shared ? direction : 0);
}

/* The steps of all matrices. */
static size_t muon_exchanged_count(const Optimizer *optimizer)
{
    size_t numbers = 0;
    for (int i = 0; i < optimizer->params->count; i++)
        if (optimizer->params->params[i].hidden_parts > 0) numbers += optimizer->params->params[i].count;
    return numbers;
}

/* momentum = mu momentum + g, of all that this rank keeps */
static void update_momentum(const Optimizer *optimizer, ParamStore *store, const OptimizerStep *step, int param)
{
    real mu = (real)optimizer->spec.muon_momentum, factor = (real)step->gradient_factor;
    real *momentum = store->kept_state(store, optimizer->state_of[param][0]);
    const real *gradient = store->kept_gradient(store, param);
    size_t count = param_store_kept_count(store, &optimizer->params->params[param]);
#pragma omp parallel for simd schedule(static) if (parallel : count > 16384)
    for (size_t i = 0; i < count; i++) momentum[i] = mu * momentum[i] + factor * gradient[i];
}

/* The rows of its tensor that are a unit's. */
static RowRange rows_of(const Unit *unit)
{
    size_t first = unit->offset / unit->columns;
    return (RowRange){first, first + unit->rows};
}

/* Its first number among those that this rank keeps of the tensor. */
static size_t kept_offset(const Optimizer *optimizer, const ParamStore *store, const Unit *unit)
{
    return unit->offset - store->kept(store, &optimizer->params->params[unit->param]).first * unit->columns;
}

/* x (rows, columns) = orthogonalised g + mu momentum */
static void make_direction(const Optimizer *optimizer, ParamStore *store, const OptimizerStep *step, const Unit *unit,
                           real *x, real *scratch)
{
    real mu = (real)optimizer->spec.muon_momentum, factor = (real)step->gradient_factor;
    size_t count = unit->rows * unit->columns, offset = kept_offset(optimizer, store, unit);
    const real *momentum = store->kept_state(store, optimizer->state_of[unit->param][0]) + offset;
    const real *gradient = store->kept_gradient(store, unit->param) + offset;
#pragma omp parallel for simd schedule(static) if (parallel : count > 16384)
    for (size_t i = 0; i < count; i++) x[i] = factor * gradient[i] + mu * momentum[i];
    muon_orthogonalise(x, unit->rows, unit->columns, scratch);
}

static void follow_direction(const Optimizer *optimizer, ParamStore *store, const OptimizerStep *step, const Unit *unit,
                             const real *direction)
{
    const OptimizerSpec *spec = &optimizer->spec;
    double share = spec->learning_rate > 0 ? step->learning_rate / spec->learning_rate : 0;
    double rate = spec->muon_learning_rate * share, rows = (double)unit->rows, columns = (double)unit->columns;
    real decay = (real)(rate * spec->weight_decay), length = (real)(rate * sqrt(fmax(1, rows / columns)));
    real *x = store->kept_values(store, unit->param) + kept_offset(optimizer, store, unit);
    size_t count = unit->rows * unit->columns;
#pragma omp parallel for simd schedule(static) if (parallel : count > 16384)
    for (size_t i = 0; i < count; i++) x[i] -= decay * x[i] + length * direction[i];
}

static bool keeps(const Optimizer *optimizer, const ParamStore *store, const Unit *unit)
{
    RowRange kept = store->kept(store, &optimizer->params->params[unit->param]), rows = rows_of(unit);
    return kept.first <= rows.first && rows.end <= kept.end;
}

/* Where every matrix is kept whole by one rank: of all, or of each node. */
static void update_own_matrices(const Optimizer *optimizer, ParamStore *store, const OptimizerStep *step)
{
    size_t largest, scratch, count = unit_count(optimizer->params);
    const Unit *units = optimizer->prepared;
    largest_sizes(optimizer->params, &largest, &scratch);
    real *direction = optimizer->scratch, *work = direction + largest;
    for (size_t i = 0; i < count; i++) {
        if (!keeps(optimizer, store, &units[i])) continue;
        make_direction(optimizer, store, step, &units[i], direction, work);
        follow_direction(optimizer, store, step, &units[i], direction);
    }
}

/* Round by round every rank makes the direction of one matrix, of about the same cost, and all follow those of all. */
static void update_matrices_in_turn(const Optimizer *optimizer, ParamStore *store, const OptimizerStep *step)
{
    size_t largest, scratch, ranks = (size_t)store->ranks, own = (size_t)store->rank;
    size_t count = unit_count(optimizer->params);
    const Unit *units = optimizer->prepared;
    largest_sizes(optimizer->params, &largest, &scratch);
    real *mine = optimizer->scratch, *work = mine + largest, *received = work + scratch;
    for (size_t first = 0; first < count; first += ranks) {
        if (first + own < count) make_direction(optimizer, store, step, &units[first + own], mine, work);
        for (size_t rank = 0; rank < ranks && first + rank < count; rank++) {
            const Unit *unit = &units[first + rank];
            real *direction = rank == own ? mine : received;
            store->broadcast(store, direction, unit->rows * unit->columns, (int)rank);
            follow_direction(optimizer, store, step, unit, direction);
        }
    }
}

static void muon_update(const Optimizer *optimizer, ParamStore *store, const OptimizerStep *step)
{
    for (int i = 0; i < optimizer->params->count; i++) {
        const Param *param = &optimizer->params->params[i];
        if (param->hidden_parts > 0)
            update_momentum(optimizer, store, step, i);
        else if (param->trained)
            adamw_update_tensor(optimizer, store, step, i);
    }
    if (optimizer_work_is_shared(store->ranks, store->divided))
        update_matrices_in_turn(optimizer, store, step);
    else
        update_own_matrices(optimizer, store, step);
}

static const char *const state_names[] = {"momentum", "m", "v", NULL};

const OptimizerKind optimizer_muon = {
    .name = "muon",
    .options = muon_options,
    .state_names = state_names,
    .states = muon_states,
    .scratch_count = muon_scratch_count,
    .whole_matrices = true,
    .exchanged_count = muon_exchanged_count,
    .prepare = muon_prepare,
    .update = muon_update,
};
