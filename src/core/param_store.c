#include "src/core/param_store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/digest.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/core/ordered_sum.h"
#include "src/core/phase.h"

/* Everything in this process, in the plain layout of the tables. */
typedef struct Memory {
    real *values, *gradients, *states;
    bool own;  /* the memory is freed with the store */
    int *held; /* per group: how often it is acquired */
} Memory;

static Memory *memory_of(const ParamStore *store) { return store->memory; }

static void acquire(ParamStore *store, int group) { memory_of(store)->held[group]++; }

static void release(ParamStore *store, int group)
{
    ASSERT(memory_of(store)->held[group] > 0);
    memory_of(store)->held[group]--;
}

static const real *values(ParamStore *store, int param)
{
    const Param *row = &store->params->params[param];
    ASSERT(memory_of(store)->held[row->group] > 0);
    return memory_of(store)->values + row->offset;
}

static real *gradient(ParamStore *store, int param)
{
    return memory_of(store)->gradients + store->params->params[param].offset;
}

static void clear_gradients(ParamStore *store)
{
    memset(memory_of(store)->gradients, 0, store->params->trained_count * sizeof(real));
}

/* One process has nothing to sum. */
static void nothing(ParamStore *store) { (void)store; }
static void nothing_with_group(ParamStore *store, int group, bool last) { (void)store, (void)group, (void)last; }

static double gradient_norm(ParamStore *store)
{
    phase_begin(PHASE_OPTIMIZER);
    return sqrt(ordered_sum_of_squares(memory_of(store)->gradients, store->params->trained_count));
}

static RowRange all_rows(const ParamStore *store, const Param *param)
{
    (void)store;
    return (RowRange){0, param_extent(param)};
}

static real *kept_values(ParamStore *store, int param)
{
    return memory_of(store)->values + store->params->params[param].offset;
}

static const real *kept_gradient(ParamStore *store, int param) { return gradient(store, param); }

static real *kept_state(ParamStore *store, int state)
{
    return memory_of(store)->states + store->states->params[state].offset;
}

static uint64_t digest(ParamStore *store, int param)
{
    return digest_reals(kept_values(store, param), store->params->params[param].count);
}

static uint64_t digest_state(ParamStore *store, int state)
{
    return digest_reals(kept_state(store, state), store->states->params[state].count);
}

static void place(ParamStore *store, int param, const real *whole)
{
    memmove(kept_values(store, param), whole, store->params->params[param].count * sizeof *whole);
}

static void place_state(ParamStore *store, int state, const real *whole)
{
    memmove(kept_state(store, state), whole, store->states->params[state].count * sizeof *whole);
}

static void broadcast(ParamStore *store, real *numbers, size_t count, int root)
{
    (void)store, (void)numbers, (void)count, (void)root;
}

static void destroy(ParamStore *store)
{
    Memory *memory = memory_of(store);
    if (memory->own) free(memory->values), free(memory->gradients), free(memory->states);
    free(memory->held);
    free(memory);
    free(store);
}

static ParamStore *create(const ParamTable *params, const ParamTable *states, Memory contents)
{
    ParamStore *store = checked_calloc(1, sizeof *store);
    Memory *memory = checked_calloc(1, sizeof *memory);
    *memory = contents;
    memory->held = checked_calloc((size_t)params->groups, sizeof *memory->held);
    *store = (ParamStore){
        .params = params,
        .states = states,
        .ranks = 1,
        .memory = memory,
        .acquire = acquire,
        .release = release,
        .values = values,
        .gradient = gradient,
        .clear_gradients = clear_gradients,
        .open_sums = nothing,
        .gradients_added = nothing_with_group,
        .poll = nothing,
        .close_sums = nothing,
        .gradient_norm = gradient_norm,
        .kept = all_rows,
        .kept_values = kept_values,
        .kept_gradient = kept_gradient,
        .kept_state = kept_state,
        .digest = digest,
        .digest_state = digest_state,
        .written = all_rows,
        .broadcast = broadcast,
        .begin_change = nothing,
        .spread = nothing,
        .place = place,
        .place_state = place_state,
        .destroy = destroy,
    };
    return store;
}

ParamStore *param_store_create(const ParamTable *params, const ParamTable *states, StorePurpose purpose)
{
    Memory memory = {.own = true};
    if (purpose & STORE_VALUES) memory.values = checked_block(params->total_count * sizeof(real));
    if (purpose & STORE_GRADIENTS_ALONE) memory.gradients = checked_block(params->trained_count * sizeof(real));
    if (states) memory.states = checked_block(states->total_count * sizeof(real));
    return create(params, states, memory);
}

ParamStore *param_store_over(const ParamTable *params, real *all_values, real *gradients)
{
    return create(params, NULL, (Memory){.values = all_values, .gradients = gradients});
}

void param_store_destroy(ParamStore *store)
{
    if (store) store->destroy(store);
}

static bool keeps_whole(const ParamStore *store, const Param *param)
{
    return param_store_kept_count(store, param) == param->count;
}

void param_store_require_whole(const ParamStore *store, const Param *param)
{
    CHECK(keeps_whole(store, param), "internal error: %s is not kept whole here", param->name);
}

/* Tensors are drawn whole, also where only some rows are kept. */
void param_store_initialise(ParamStore *store, uint64_t seed)
{
    real *room = store->divided ? checked_calloc(param_table_largest(store->params), sizeof *room) : NULL;
    store->begin_change(store);
    for (int i = 0; i < store->params->count; i++) {
        const Param *param = &store->params->params[i];
        bool whole = keeps_whole(store, param);
        param_initialise(param, seed, whole ? store->kept_values(store, i) : room);
        if (!whole)
            memcpy(store->kept_values(store, i), room + store->kept(store, param).first * param_row_width(param),
                   param_store_kept_count(store, param) * sizeof *room);
    }
    free(room);
    store->spread(store);
}

void param_store_place_all(ParamStore *store)
{
    for (int i = 0; i < store->params->count; i++)
        store->place(store, i, store->rank == 0 ? store->kept_values(store, i) : NULL);
    for (int i = 0; store->states && i < store->states->count; i++)
        store->place_state(store, i, store->rank == 0 ? store->kept_state(store, i) : NULL);
}

static bool all_finite(const real *numbers, size_t count)
{
    size_t bad = 0;
#pragma omp parallel for reduction(+ : bad) schedule(static) if (parallel : count > 65536)
    for (size_t i = 0; i < count; i++) bad += !isfinite(numbers[i]);
    return bad == 0;
}

bool param_store_finite(ParamStore *store, const char **name)
{
    for (int kind = 0; kind < 2; kind++) {
        const ParamTable *table = kind ? store->states : store->params;
        for (int i = 0; table && i < table->count; i++) {
            const Param *param = &table->params[i];
            const real *numbers = kind ? store->kept_state(store, i) : store->kept_values(store, i);
            *name = param->name;
            if (!all_finite(numbers, param_store_kept_count(store, param))) return false;
        }
    }
    return true;
}
