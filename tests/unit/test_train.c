/* The optimizers against their formulas in double, the learning rate at its corners, the sampler's choices and frequencies. */
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
#include "src/train/muon.h"
#include "src/train/optimizer.h"
#include "src/train/schedule.h"
#include "tests/harness/check.h"
#include "tests/harness/rounding.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

/* ---- an optimizer at work, and the same by its formulas ----------------------------------------------------------- */

/* Of one number in one step: moments, root, quotient, decay; or momentum. */
enum { STEP_ROUNDINGS = 14, STEPS = 5 };

/* Of every kind; the first is large enough for several threads, and all leave padding. */
static ParamTable table_create(void)
{
    ParamTable table = {0};
    param_table_begin_group(&table);
    param_table_add_matrix(&table, "large", 691, 197, INIT_NORMAL, 1);
    param_table_no_decay(&table, param_table_add_matrix(&table, "embedding", 5, 7, INIT_NORMAL, 1));
    param_table_not_trained(&table, param_table_add_matrix(&table, "sketch", 4, 3, INIT_NORMAL, 1));
    param_table_begin_group(&table);
    param_table_add_matrix(&table, "small", 3, 3, INIT_NORMAL, 1);
    param_table_add_stack(&table, "stack", 2, 3, 5, INIT_NORMAL, 1);
    param_table_add_vector(&table, "norm", 9, 1);
    param_table_seal(&table);
    return table;
}

/* Matrices between hidden values, of every shape; one is large enough for several threads. */
typedef struct HiddenMatrix {
    const char *name;
    size_t rows, columns;
    int parts;
} HiddenMatrix;

static const HiddenMatrix hidden_matrices[] = {
    {"square", 24, 24, 1}, {"wide", 17, 40, 1}, {"tall", 40, 17, 1},
    {"qkv", 30, 14, 3},    {"gate", 44, 9, 2},  {"long", 96, 180, 1},
};
enum { HIDDEN_MATRICES = sizeof hidden_matrices / sizeof *hidden_matrices };

/* Among tensors of other kinds. */
static ParamTable hidden_table_create(void)
{
    ParamTable table = {0};
    param_table_begin_group(&table);
    param_table_no_decay(&table, param_table_add_matrix(&table, "embedding", 5, 7, INIT_NORMAL, 1));
    param_table_not_trained(&table, param_table_add_matrix(&table, "sketch", 4, 3, INIT_NORMAL, 1));
    for (int i = 0; i < HIDDEN_MATRICES; i++) {
        const HiddenMatrix *m = &hidden_matrices[i];
        param_table_begin_group(&table);
        param_table_hidden(&table, param_table_add_matrix(&table, m->name, m->rows, m->columns, INIT_NORMAL, 1),
                           m->parts);
    }
    param_table_add_matrix(&table, "small", 3, 3, INIT_NORMAL, 1);
    param_table_add_stack(&table, "stack", 2, 3, 5, INIT_NORMAL, 1);
    param_table_add_vector(&table, "norm", 9, 1);
    param_table_seal(&table);
    return table;
}

/* NULL where AdamW is at work. */
static const HiddenMatrix *hidden_matrix(const Param *param)
{
    for (int i = 0; i < HIDDEN_MATRICES; i++)
        if (strcmp(param->name, hidden_matrices[i].name) == 0) return &hidden_matrices[i];
    return NULL;
}

static bool decays(const Param *param)
{
    static const char *const names[] = {"large", "small", "stack"};
    for (int i = 0; i < 3; i++)
        if (strcmp(param->name, names[i]) == 0) return true;
    return hidden_matrix(param);
}

static OptimizerSpec with_kind(OptimizerSpec spec, const char *name)
{
    Message problem;
    OptionTable table = {.values = &spec};
    table.rows = optimizer_options(&table.count);
    CHECK(option_set(&table, 1, "train.optimizer", name, &problem), "%s", problem.text);
    return spec;
}

/* Expected numbers stand as in the plain layout of the table: values; first and second states of trained tensors. */
typedef struct State {
    ParamTable table;
    Optimizer *optimizer;
    ParamStore *store;
    int draw; /* of rounding.h, by which all that goes in is moved; or PLAIN */
    double *expected[1 + OPTIMIZER_STATES];
} State;

enum { PLAIN = -1 };

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

/* In place of x, which is freed. */
static real *moved_by(int draw, real *x, size_t count)
{
    if (draw == PLAIN) return x;
    real *moved = nudged(x, count, (uint64_t)draw);
    free(x);
    return moved;
}

/* The row of a tensor's state, -1: none. */
static int state_row(const State *state, int param, int slot) { return state->optimizer->state_of[param][slot]; }

/* Puts the tensors of three arrays in the plain layout into the store. */
static void fill_store(State *state, real *const numbers[1 + OPTIMIZER_STATES])
{
    ParamStore *store = state->store;
    for (int p = 0; p < state->table.count; p++) {
        const Param *param = &state->table.params[p];
        memcpy(store->kept_values(store, p), numbers[0] + param->offset, param->count * sizeof(real));
        for (int slot = 0; slot < OPTIMIZER_STATES; slot++)
            if (state_row(state, p, slot) >= 0)
                memcpy(store->kept_state(store, state_row(state, p, slot)), numbers[1 + slot] + param->offset,
                       param->count * sizeof(real));
    }
}

/* Takes the table over. */
static State *state_create(OptimizerSpec spec, ParamTable table, int draw)
{
    State *state = checked_calloc(1, sizeof *state); /* others point to the table: it may not move */
    state->table = table;
    state->draw = draw;
    state->optimizer = optimizer_plan(&spec, &state->table);
    state->store = param_store_create(&state->table, &state->optimizer->states, STORE_GRADIENTS);
    optimizer_prepare(state->optimizer, state->store);
    size_t total = table.total_count, trained = table.trained_count;
    real *values = random_reals(total, 1, 1);
    real *numbers[1 + OPTIMIZER_STATES] = {values, shifted(values, trained, 1), shifted(values, trained, 2)};
    for (size_t i = 0; i < trained; i++) numbers[1][i] *= (real)0.1, numbers[2][i] *= (real)0.01 * numbers[2][i];
    for (int i = 0; i <= OPTIMIZER_STATES; i++) {
        size_t count = i ? trained : total;
        numbers[i] = moved_by(draw, numbers[i], count);
        state->expected[i] = widened(numbers[i], count);
    }
    fill_store(state, numbers);
    for (int i = 0; i <= OPTIMIZER_STATES; i++) free(numbers[i]);
    return state;
}

static void state_destroy(State *state)
{
    for (int i = 0; i <= OPTIMIZER_STATES; i++) free(state->expected[i]);
    param_store_destroy(state->store);
    optimizer_destroy(state->optimizer);
    param_table_destroy(&state->table);
    free(state);
}

static void naive_adamw(State *state, const Param *param, const OptimizerStep *step, const real *grads)
{
    const OptimizerSpec *spec = &state->optimizer->spec;
    double t = (double)step->number, rate = step->learning_rate;
    for (size_t i = param->offset; i < param->offset + param->count; i++) {
        double *x = &state->expected[0][i], *m = &state->expected[1][i], *v = &state->expected[2][i],
               g = step->gradient_factor * (double)grads[i];
        *m = spec->beta1 * *m + (1 - spec->beta1) * g;
        *v = spec->beta2 * *v + (1 - spec->beta2) * g * g;
        double m_hat = *m / (1 - pow(spec->beta1, t)), v_hat = *v / (1 - pow(spec->beta2, t));
        *x -= rate * (m_hat / (sqrt(v_hat) + spec->epsilon) + (decays(param) ? spec->weight_decay * *x : 0));
    }
}

/* c (n, m) = a (n, n) b (n, m), freed by the caller */
static double *product(const double *a, const double *b, size_t n, size_t m)
{
    double *c = checked_calloc(n * m, sizeof *c);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            for (size_t j = 0; j < m; j++) c[i * m + j] += a[i * n + k] * b[k * m + j];
    return c;
}

/* y (columns, rows) = x (rows, columns)^T */
static void naive_transpose(double *y, const double *x, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) y[j * rows + i] = x[i * columns + j];
}

/* x (n, m), n <= m */
static void naive_iterate(double *x, size_t n, size_t m)
{
    double *a = checked_calloc(n * n, sizeof *a);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            for (size_t c = 0; c < m; c++) a[i * n + j] += x[i * m + c] * x[j * m + c];
    double *square = product(a, a, n, n);
    for (size_t i = 0; i < n * n; i++) a[i] = -4.7750 * a[i] + 2.0315 * square[i];
    double *change = product(a, x, n, m);
    for (size_t i = 0; i < n * m; i++) x[i] = 3.4445 * x[i] + change[i];
    free(a), free(square), free(change);
}

static void naive_orthogonalise(double *x, size_t rows, size_t columns)
{
    size_t count = rows * columns;
    bool tall = rows > columns;
    double square = 0, *y = checked_calloc(count, sizeof *y);
    for (size_t i = 0; i < count; i++) square += x[i] * x[i];
    for (size_t i = 0; i < count; i++) x[i] /= sqrt(square) + 1e-7;
    if (tall) naive_transpose(y, x, rows, columns);
    for (int times = 0; times < 5; times++) naive_iterate(tall ? y : x, tall ? columns : rows, tall ? rows : columns);
    if (tall) naive_transpose(x, y, columns, rows);
    free(y);
}

static void naive_muon(State *state, const Param *param, const HiddenMatrix *matrix, const OptimizerStep *step,
                       const real *grads)
{
    const OptimizerSpec *spec = &state->optimizer->spec;
    size_t rows = matrix->rows / (size_t)matrix->parts, columns = matrix->columns, count = matrix->rows * columns;
    double rate = spec->muon_learning_rate * step->learning_rate / spec->learning_rate, mu = spec->muon_momentum,
           length = rows > columns ? sqrt((double)rows / (double)columns) : 1;
    double *x = state->expected[0] + param->offset, *momentum = state->expected[1] + param->offset,
           *u = checked_calloc(count, sizeof *u);
    for (size_t i = 0; i < count; i++) {
        double g = step->gradient_factor * (double)grads[param->offset + i];
        momentum[i] = mu * momentum[i] + g;
        u[i] = g + mu * momentum[i];
    }
    for (size_t first = 0; first < count; first += rows * columns) naive_orthogonalise(u + first, rows, columns);
    for (size_t i = 0; i < count; i++) x[i] -= rate * (spec->weight_decay * x[i] + length * u[i]);
    free(u);
}

static void naive_update(State *state, const OptimizerStep *step, const real *grads)
{
    for (int p = 0; p < state->table.count; p++) {
        const Param *param = &state->table.params[p];
        if (strcmp(param->name, "sketch") == 0) continue;
        const HiddenMatrix *matrix = hidden_matrix(param);
        if (matrix)
            naive_muon(state, param, matrix, step, grads);
        else
            naive_adamw(state, param, step, grads);
    }
}

/* One step of the optimizer; `grads` as in the plain layout. */
static void update(const State *state, const OptimizerStep *step, const real *grads)
{
    for (int p = 0; p < state->table.count; p++) {
        const Param *param = &state->table.params[p];
        if (param->trained)
            memcpy(param_gradient(state->store, p), grads + param->offset, param->count * sizeof *grads);
    }
    optimizer_update(state->optimizer, state->store, step);
}

/* Several steps from step `first`, with rates and factors of their own. */
static void run_steps(State *state, int first, int steps, bool naively)
{
    size_t trained = state->table.trained_count;
    real *random = random_reals(trained, 0.5, 2);
    for (int i = 0; i < steps; i++) {
        real *grads = moved_by(state->draw, shifted(random, trained, i), trained);
        OptimizerStep step = {
            .learning_rate = 0.01 * (i + 1), .gradient_factor = i % 2 ? 0.37 : 1, .number = first + i};
        update(state, &step, grads);
        if (naively) naive_update(state, &step, grads);
        free(grads);
    }
    free(random);
}

/* How far rounding moves the values of each tensor of a hidden_table_create() in its first steps; the caller frees. */
static double *movements_of(const State *plain, int steps)
{
    double *movements = checked_calloc((size_t)plain->table.count, sizeof *movements);
    for (int draw = 0; draw < ROUNDING_DRAWS; draw++) {
        State *moved = state_create(plain->optimizer->spec, hidden_table_create(), draw);
        run_steps(moved, 1, steps, false);
        for (int p = 0; p < plain->table.count; p++)
            movements[p] = largest_movement(movements[p], moved->store->kept_values(moved->store, p),
                                            plain->store->kept_values(plain->store, p), plain->table.params[p].count);
        state_destroy(moved);
    }
    return movements;
}

/* Orthogonal steps magnify rounding, by as much as `movements` says. */
static double tolerance_of(const State *state, int param, const double *movements, int steps)
{
    const Param *row = &state->table.params[param];
    return movements && hidden_matrix(row)
               ? rounding_tolerance(movements[param], state->store->kept_values(state->store, param), row->count)
               : roundings((size_t)steps * STEP_ROUNDINGS);
}

/* Values and states by the optimizer are those by the formulas. */
static void check_state(const State *state, const double *movements, int steps)
{
    ParamStore *store = state->store;
    for (int p = 0; p < state->table.count; p++) {
        const Param *param = &state->table.params[p];
        check_close_double(param->name, store->kept_values(store, p), state->expected[0] + param->offset, param->count,
                           tolerance_of(state, p, movements, steps));
        for (int slot = 0; slot < OPTIMIZER_STATES; slot++) {
            int row = state_row(state, p, slot);
            if (row >= 0)
                check_close_double(store->states->params[row].name, store->kept_state(store, row),
                                   state->expected[1 + slot] + param->offset, param->count,
                                   roundings((size_t)steps * STEP_ROUNDINGS));
        }
    }
}

/* The names of a tensor's states, "" for none. */
static void check_states_of(const State *state, int param, const char *first, const char *second)
{
    const char *const names[OPTIMIZER_STATES] = {first, second};
    for (int slot = 0; slot < OPTIMIZER_STATES; slot++) {
        char expected[256] = "";
        if (names[slot][0]) snprintf(expected, sizeof expected, "%s/%s", names[slot], state->table.params[param].name);
        int row = state_row(state, param, slot);
        const char *found = row >= 0 ? state->optimizer->states.params[row].name : "";
        check_true(strcmp(found, expected) == 0, "state %d of %s is '%s', not '%s'", slot,
                   state->table.params[param].name, found, expected);
    }
}

/* ---- memory of a plain layout ------------------------------------------------------------------------------------ */

/* Where what lies between tensors can be seen, of the states too. */
typedef struct PlainMemory {
    real *values, *gradients, *states;
} PlainMemory;

static PlainMemory plain_memory_create(const Optimizer *optimizer)
{
    size_t states = optimizer->states.total_count;
    PlainMemory memory = {random_reals(optimizer->params->total_count, 1, 1),
                          random_reals(optimizer->params->trained_count, 1, 2), random_reals(states, 0.1, 3)};
    for (size_t i = 0; i < states; i++) memory.states[i] *= memory.states[i];
    return memory;
}

static void plain_memory_destroy(PlainMemory *memory)
{
    free(memory->values), free(memory->gradients), free(memory->states);
}

static real *plain_state(ParamStore *store, int state)
{
    return (real *)store->transport + store->states->params[state].offset;
}

static ParamStore *plain_store(const Optimizer *optimizer, const PlainMemory *memory)
{
    ParamStore *store = param_store_over(optimizer->params, memory->values, memory->gradients);
    store->states = &optimizer->states;
    store->transport = memory->states;
    store->kept_state = plain_state;
    return store;
}

/* What belongs to no trained tensor of the table keeps its bits: `least` numbers or more. */
static void check_rest_stays(const char *what, const ParamTable *table, const real *now, const real *before,
                             size_t least)
{
    size_t kept = 0;
    bool *owned = checked_calloc(table->total_count, sizeof *owned), same = true;
    for (int p = 0; p < table->count; p++) {
        const Param *param = &table->params[p];
        for (size_t i = 0; param->trained && i < param->count; i++) owned[param->offset + i] = true;
    }
    for (size_t i = 0; i < table->total_count; i++) {
        if (owned[i]) continue;
        kept++;
        same = same && memcmp(&now[i], &before[i], sizeof now[i]) == 0;
    }
    check_true(kept >= least && same, "%s: %zu numbers of padding and of tensors that are not trained stay", what,
               kept);
    free(owned);
}

/* What the update must not write keeps its bits. */
static void check_padding(OptimizerSpec spec, ParamTable table)
{
    State *state = state_create(spec, table, PLAIN);
    PlainMemory memory = plain_memory_create(state->optimizer), before = plain_memory_create(state->optimizer);
    param_store_destroy(state->store);
    state->store = plain_store(state->optimizer, &memory);
    run_steps(state, 1, STEPS, false);
    check_rest_stays("values", &state->table, memory.values, before.values, 13);
    check_rest_stays("states", &state->optimizer->states, memory.states, before.states, 13);
    check_true(memcmp(memory.values, before.values, sizeof(real)) != 0 &&
                   memcmp(memory.states, before.states, sizeof(real)) != 0,
               "and the tensors change");
    state_destroy(state);
    plain_memory_destroy(&memory), plain_memory_destroy(&before);
}

/* ---- AdamW --------------------------------------------------------------------------------------------------------- */

static const OptimizerSpec adamw_specs[] = {
    {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1},
    {.beta1 = 0.8, .beta2 = 0.999, .epsilon = 0.3, .weight_decay = 0},
    {.beta1 = 0, .beta2 = 0.5, .epsilon = 1e-3, .weight_decay = 3},
};
enum { ADAMW_SPECS = 3 };

static OptimizerSpec adamw_spec(int number) { return with_kind(adamw_specs[number], "adamw"); }
static State *adamw_create(int number) { return state_create(adamw_spec(number), table_create(), PLAIN); }

static void check_adamw(int number, int first)
{
    State *state = adamw_create(number);
    run_steps(state, first, STEPS, true);
    check_state(state, NULL, STEPS);
    state_destroy(state);
}

static void test_adamw(void)
{
    for (int i = 0; i < ADAMW_SPECS; i++) check_adamw(i, 1);
    check_adamw(0, 100000); /* the corrections of the moments are gone */
}

static void test_adamw_states(void)
{
    State *state = adamw_create(0);
    for (int p = 0; p < state->table.count; p++) {
        bool trained = strcmp(state->table.params[p].name, "sketch") != 0;
        check_states_of(state, p, trained ? "m" : "", trained ? "v" : "");
    }
    check_true(state->optimizer->states.count == 10, "%d states of 5 trained tensors", state->optimizer->states.count);
    state_destroy(state);
}

static void test_adamw_padding(void) { check_padding(adamw_spec(0), table_create()); }

static bool same_bits(const State *a, const State *b)
{
    bool same = true;
    for (int p = 0; p < a->table.count; p++)
        same = same && memcmp(a->store->kept_values(a->store, p), b->store->kept_values(b->store, p),
                              a->table.params[p].count * sizeof(real)) == 0;
    for (int i = 0; i < a->optimizer->states.count; i++)
        same = same && memcmp(a->store->kept_state(a->store, i), b->store->kept_state(b->store, i),
                              a->optimizer->states.params[i].count * sizeof(real)) == 0;
    return same;
}

static void test_adamw_threads(void)
{
    int before = omp_get_max_threads();
    State *one = adamw_create(0), *two = adamw_create(0);
    omp_set_num_threads(1);
    run_steps(one, 1, STEPS, false);
    omp_set_num_threads(2);
    run_steps(two, 1, STEPS, false);
    omp_set_num_threads(before);
    check_true(same_bits(one, two), "1 and 2 threads give the same bits");
    state_destroy(one), state_destroy(two);
}

/* ---- Muon ---------------------------------------------------------------------------------------------------------- */

/* Orthogonal steps are about as long as values. */
static OptimizerSpec muon_spec(void)
{
    OptimizerSpec spec = {.learning_rate = 0.05, .muon_learning_rate = 2, .muon_momentum = 0.95};
    spec.beta1 = 0.9, spec.beta2 = 0.95, spec.epsilon = 1e-8, spec.weight_decay = 0.1;
    return with_kind(spec, "muon");
}

static State *muon_create(void) { return state_create(muon_spec(), hidden_table_create(), PLAIN); }

static void check_muon(int steps)
{
    State *state = muon_create();
    run_steps(state, 1, steps, true);
    double *movements = movements_of(state, steps);
    check_state(state, movements, steps);
    free(movements);
    state_destroy(state);
}

static void test_muon(void)
{
    check_muon(1);
    check_muon(3);
}

static void test_muon_states(void)
{
    State *state = muon_create();
    for (int p = 0; p < state->table.count; p++) {
        bool hidden = hidden_matrix(&state->table.params[p]), trained = state->table.params[p].trained;
        check_states_of(state, p, hidden ? "momentum" : trained ? "m" : "", trained && !hidden ? "v" : "");
    }
    state_destroy(state);
}

/* There is no direction to go in; only the decay is left. */
static void test_muon_without_gradient(void)
{
    State *state = muon_create();
    size_t trained = state->table.trained_count;
    for (int i = 0; i < state->optimizer->states.count; i++)
        memset(state->store->kept_state(state->store, i), 0, state->optimizer->states.params[i].count * sizeof(real));
    for (int slot = 0; slot < OPTIMIZER_STATES; slot++) memset(state->expected[1 + slot], 0, trained * sizeof(double));
    real *grads = checked_calloc(trained, sizeof *grads);
    OptimizerStep step = {.learning_rate = 0.05, .gradient_factor = 1, .number = 1};
    update(state, &step, grads);
    naive_update(state, &step, grads);
    check_state(state, NULL, 1);
    free(grads);
    state_destroy(state);
}

/* Only where ranks that keep everything share the work does one send its directions to the others. */
static void test_muon_scratch(void)
{
    State *state = muon_create();
    size_t largest = (size_t)96 * 180, of_one = largest + muon_scratch(96, 180);
    check_true(optimizer_scratch_bytes(state->optimizer, false) == of_one * sizeof(real), "one direction: %zu bytes",
               optimizer_scratch_bytes(state->optimizer, false));
    check_true(optimizer_scratch_bytes(state->optimizer, true) == (of_one + largest) * sizeof(real),
               "two directions: %zu bytes", optimizer_scratch_bytes(state->optimizer, true));
    state_destroy(state);
}

static void test_muon_padding(void) { check_padding(muon_spec(), hidden_table_create()); }

/* A matrix (30, 14) after one step: as so many tensors one above the other, each of so many parts. The caller frees. */
enum { FUSED_ROWS = 30, FUSED_COLUMNS = 14, FUSED = FUSED_ROWS * FUSED_COLUMNS };

static real *matrix_after_step(int tensors, int parts, int draw)
{
    ParamTable table = {0};
    OptimizerSpec spec = muon_spec();
    param_table_begin_group(&table);
    for (int i = 0; i < tensors; i++) {
        char name[32];
        snprintf(name, sizeof name, "matrix%d", i);
        int row = param_table_add_matrix(&table, name, FUSED_ROWS / (size_t)tensors, FUSED_COLUMNS, INIT_NORMAL, 1);
        param_table_hidden(&table, row, parts);
    }
    param_table_seal(&table);
    Optimizer *optimizer = optimizer_plan(&spec, &table);
    ParamStore *store = param_store_create(&table, &optimizer->states, STORE_GRADIENTS);
    optimizer_prepare(optimizer, store);
    real *values = moved_by(draw, random_reals(FUSED, 1, 5), FUSED);
    real *grads = moved_by(draw, random_reals(FUSED, 1, 6), FUSED);
    size_t count = FUSED / (size_t)tensors, bytes = count * sizeof(real);
    for (int i = 0; i < tensors; i++) {
        memcpy(store->kept_values(store, i), values + (size_t)i * count, bytes);
        memcpy(param_gradient(store, i), grads + (size_t)i * count, bytes);
    }
    optimizer_update(optimizer, store, &(OptimizerStep){.learning_rate = 0.05, .gradient_factor = 1, .number = 1});
    for (int i = 0; i < tensors; i++) memcpy(values + (size_t)i * count, store->kept_values(store, i), bytes);
    param_store_destroy(store);
    optimizer_destroy(optimizer);
    param_table_destroy(&table);
    free(grads);
    return values;
}

/* Parts of a tensor move as if each were a tensor, and not as one matrix. */
static void test_muon_parts(void)
{
    real *fused = matrix_after_step(1, 3, PLAIN), *apart = matrix_after_step(3, 1, PLAIN),
         *whole = matrix_after_step(1, 1, PLAIN);
    double movement = 0, scale = 0;
    for (int draw = 0; draw < ROUNDING_DRAWS; draw++) {
        real *moved = matrix_after_step(1, 3, draw);
        movement = largest_movement(movement, moved, fused, FUSED);
        free(moved);
    }
    double tolerance = rounding_tolerance(movement, fused, FUSED);
    check_close_real("three parts and three tensors", fused, apart, FUSED, tolerance);
    for (size_t i = 0; i < FUSED; i++) scale = fmax(scale, fabs((double)fused[i]));
    double difference = largest_movement(0, whole, fused, FUSED) / scale;
    check_true(difference > ROUNDING_FACTOR * tolerance, "three parts and one matrix differ by %.3g, rounding by %.3g",
               difference, tolerance);
    free(fused), free(apart), free(whole);
}

/* Products may add up in another order. */
static void test_muon_threads(void)
{
    enum { FEW = 3 };
    int before = omp_get_max_threads();
    State *one = muon_create(), *two = muon_create();
    omp_set_num_threads(1);
    run_steps(one, 1, FEW, false);
    double *movements = movements_of(one, FEW);
    omp_set_num_threads(2);
    run_steps(two, 1, FEW, false);
    omp_set_num_threads(before);
    for (int p = 0; p < one->table.count; p++) {
        const Param *param = &one->table.params[p];
        const real *values = one->store->kept_values(one->store, p), *others = two->store->kept_values(two->store, p);
        if (hidden_matrix(param))
            check_close_real(param->name, others, values, param->count, tolerance_of(one, p, movements, FEW));
        else
            check_true(memcmp(values, others, param->count * sizeof(real)) == 0, "%s has the same bits", param->name);
    }
    free(movements);
    state_destroy(one), state_destroy(two);
}

static void test_alignment(void)
{
    ParamTable table = table_create();
    ParamStore *store = param_store_create(&table, NULL, STORE_GRADIENTS);
    param_store_acquire_all(store);
    check_true((uintptr_t)param_values(store, 0) % 64 == 0, "values begin on a cache line");
    check_true((uintptr_t)param_gradient(store, 0) % 64 == 0, "gradients begin on a cache line");
    for (size_t i = 0; i < table.params[0].count; i++) check_true(param_values(store, 0)[i] == 0, "value %zu is 0", i);
    param_store_destroy(store);
    param_table_destroy(&table);
}

/* ---- the gradient -------------------------------------------------------------------------------------------------- */

static void test_gradient_norm(void)
{
    ParamTable table = table_create();
    ParamStore *store = param_store_create(&table, NULL, STORE_GRADIENTS);
    real *random = random_reals(table.trained_count, 0.5, 4);
    double square = 0, norms[4];
    for (int p = 0; p < table.count; p++)
        for (size_t i = 0; table.params[p].trained && i < table.params[p].count; i++) {
            real gradient = random[table.params[p].offset + i];
            param_gradient(store, p)[i] = gradient;
            square += (double)gradient * (double)gradient;
        }
    int before = omp_get_max_threads();
    for (int threads = 1; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        norms[threads - 1] = store->gradient_norm(store);
        check_true(memcmp(&norms[0], &norms[threads - 1], sizeof norms[0]) == 0, "%d threads: %.17g, 1 thread: %.17g",
                   threads, norms[threads - 1], norms[0]);
    }
    omp_set_num_threads(before);
    check_true(fabs(norms[0] - sqrt(square)) <= 1e-12 * norms[0], "the norm is %.15g, expected %.15g", norms[0],
               sqrt(square));
    store->clear_gradients(store);
    check_true(store->gradient_norm(store) == 0, "the norm of cleared gradients is %g", store->gradient_norm(store));
    free(random);
    param_store_destroy(store);
    param_table_destroy(&table);
}

static void test_clip_factor(void)
{
    const double cases[][3] = {{4, 1, 0.25}, {0.5, 1, 1}, {1, 1, 1}, {4, 0, 1}, {0, 1, 1}, {0, 0, 1}, {3, 2, 2.0 / 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_true(fabs(optimizer_clip_factor(cases[i][0], cases[i][1]) - cases[i][2]) < 1e-15,
                   "norm %g, clip_norm %g: factor %g, expected %g", cases[i][0], cases[i][1],
                   optimizer_clip_factor(cases[i][0], cases[i][1]), cases[i][2]);
}

/* ---- learning rate ------------------------------------------------------------------------------------------------- */

/* Peak 1, least 0.1, 110 steps, of which the last 22 are the fall of wsd. */
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
    {SCHEDULE_LINEAR, 110, 55, 0.5}, {SCHEDULE_COSINE, 200, 110, 0.55}, {SCHEDULE_WSD, 10, 5, 0.5},
    {SCHEDULE_WSD, 10, 10, 1},       {SCHEDULE_WSD, 10, 88, 1},         {SCHEDULE_WSD, 10, 99, 0.55},
    {SCHEDULE_WSD, 10, 110, 0.1},    {SCHEDULE_WSD, 0, 1, 1},           {SCHEDULE_WSD, 100, 100, 1},
    {SCHEDULE_WSD, 100, 105, 0.55},  {SCHEDULE_WSD, 100, 110, 0.1},     {SCHEDULE_WSD, 110, 110, 1},
};

static TrainConfig schedule_of(ScheduleKind kind, int warmup)
{
    return (TrainConfig){.steps = 110,
                         .optimizer = {.learning_rate = 1},
                         .min_learning_rate = 0.1,
                         .warmup_steps = warmup,
                         .schedule = (int)kind,
                         .decay_share = 0.2};
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
        for (int kind = SCHEDULE_COSINE; kind <= SCHEDULE_WSD; kind++) {
            TrainConfig train = schedule_of((ScheduleKind)kind, warmup);
            for (int step = 1; step < 110; step++) {
                double here = schedule_learning_rate(&train, step), next = schedule_learning_rate(&train, step + 1);
                bool flat = kind == SCHEDULE_CONSTANT || (kind == SCHEDULE_WSD && step < 88);
                bool right = step < warmup ? next > here : flat ? next == here : next < here;
                check_true(isfinite(here) && right, "kind %d, warm-up %d: step %d has %g, the next %g", kind, warmup,
                           step, here, next);
            }
        }
}

/* With its fall over all that the warm-up leaves, or over more, wsd is linear; over a tenth it falls from step 99. */
static void test_decay_share(void)
{
    const double shares[] = {100.0 / 110, 1};
    TrainConfig wsd = schedule_of(SCHEDULE_WSD, 10), linear = schedule_of(SCHEDULE_LINEAR, 10);
    for (int i = 0; i < 2; i++)
        for (int step = 1; step <= 110; step++) {
            wsd.decay_share = shares[i];
            double rate = schedule_learning_rate(&wsd, step), expected = schedule_learning_rate(&linear, step);
            check_true(fabs(rate - expected) < 1e-12, "decay share %g, step %d: %.15g, linear %.15g", shares[i], step,
                       rate, expected);
        }
    wsd.decay_share = 0.1;
    for (int step = 10; step <= 110; step++) {
        double rate = schedule_learning_rate(&wsd, step), expected = step < 99 ? 1 : 1 - 0.9 * (step - 99) / 11;
        check_true(fabs(rate - expected) < 1e-12, "decay share 0.1, step %d: %.15g, expected %g", step, rate, expected);
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

static void test_schedule_rules(void)
{
    Message problem = {""};
    TrainConfig train = schedule_of(SCHEDULE_COSINE, 10);
    check_true(schedule_check(&train, &problem), "falls: %s", problem.text);
    train.min_learning_rate = 1;
    check_true(schedule_check(&train, &problem), "stays: %s", problem.text);
    train.min_learning_rate = 1.5;
    check_true(!schedule_check(&train, &problem) && strstr(problem.text, "train.min_learning_rate = 1.5"), "rises: %s",
               problem.text);
}

static const TestCase adamw_tests[] = {{"several steps", test_adamw},
                                       {"states", test_adamw_states},
                                       {"padding", test_adamw_padding},
                                       {"threads", test_adamw_threads}};
static const TestCase muon_tests[] = {{"one and several steps", test_muon},
                                      {"states", test_muon_states},
                                      {"without a gradient", test_muon_without_gradient},
                                      {"padding", test_muon_padding},
                                      {"parts of a tensor", test_muon_parts},
                                      {"scratch", test_muon_scratch},
                                      {"threads", test_muon_threads}};
static const TestCase gradient_tests[] = {
    {"norm", test_gradient_norm}, {"clipping", test_clip_factor}, {"where it lies", test_alignment}};
static const TestCase schedule_tests[] = {
    {"corners", test_rates}, {"shape", test_shape}, {"decay share", test_decay_share}, {"rules", test_schedule_rules}};
static const TestCase sampler_tests[] = {{"most likely", test_greedy},
                                         {"choices", test_choices},
                                         {"frequencies", test_frequencies},
                                         {"extremes", test_extremes}};
static const Suite suites[] = {
    SUITE("adamw", adamw_tests),       SUITE("muon", muon_tests),
    SUITE("gradient", gradient_tests), SUITE("learning rate", schedule_tests),
    SUITE("sampler", sampler_tests),
};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_train", suites, 5);
    world_stop();
    return code;
}
