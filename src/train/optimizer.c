#include "src/train/optimizer.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"
#include "src/core/phase.h"
#include "src/train/adamw.h"
#include "src/train/muon.h"

static const OptimizerKind *const kinds[] = {&optimizer_adamw, &optimizer_muon};
enum { KINDS = sizeof kinds / sizeof *kinds, MAX_ROWS = 32 };

#define AT(field) offsetof(OptimizerSpec, field)

static const OptionRow common_rows[] = {
    {"train", "optimizer", OPTION_CHOICE, AT(kind), "adamw", 0, 0, NULL, false, "how parameters follow from gradients"},
    {"train", "learning_rate", OPTION_REAL, AT(learning_rate), "0.001", 0, 1000, "", false, "peak learning rate"},
    {"train", "weight_decay", OPTION_REAL, AT(weight_decay), "0.1", 0, 100, "", false,
     "decay of matrices (not of norms, biases, the embedding)"},
};
enum { COMMON = sizeof common_rows / sizeof *common_rows };

const OptionRow *optimizer_options(int *count)
{
    static OptionRow rows[MAX_ROWS];
    static char choices[128];
    static int filled;
    *count = filled;
    if (filled) return rows;
    option_append_rows(rows, &filled, MAX_ROWS, common_rows, COMMON, 0);
    for (int i = 0; i < KINDS; i++) {
        option_add_choice(choices, sizeof choices, kinds[i]->name);
        int own;
        const OptionRow *more = kinds[i]->options(&own);
        option_append_rows(rows, &filled, MAX_ROWS, more, own, 0);
    }
    rows[0].choices = choices;
    *count = filled;
    return rows;
}

const char *optimizer_name(int kind) { return kinds[kind]->name; }

/* A state has the shape of its tensor. */
static int add_state(ParamTable *states, const Param *param, const char *state)
{
    char name[160];
    int length = snprintf(name, sizeof name, "%s/%s", state, param->name);
    ASSERT(length < (int)sizeof name);
    (void)length;
    int index = param_table_add_zeros(states, name, param->shape);
    param_table_state_of(states, index, param->parameter);
    return index;
}

/* State by state, each in the order of the parameters: as checkpoints have them. */
static void declare_states(Optimizer *optimizer)
{
    const ParamTable *params = optimizer->params;
    for (int i = 0; i < params->count; i++)
        for (int slot = 0; slot < OPTIMIZER_STATES; slot++) optimizer->state_of[i][slot] = -1;
    for (const char *const *state = optimizer->kind->state_names; *state; state++)
        for (int i = 0; i < params->count; i++) {
            const char *names[OPTIMIZER_STATES];
            const Param *param = &params->params[i];
            int count = param->trained ? optimizer->kind->states(param, names) : 0;
            for (int slot = 0; slot < count; slot++)
                if (strcmp(names[slot], *state) == 0)
                    optimizer->state_of[i][slot] = add_state(&optimizer->states, param, *state);
        }
    param_table_seal(&optimizer->states);
}

Optimizer *optimizer_plan(const OptimizerSpec *spec, const ParamTable *params)
{
    Optimizer *optimizer = checked_calloc(1, sizeof *optimizer);
    *optimizer = (Optimizer){.spec = *spec, .kind = kinds[spec->kind], .params = params};
    optimizer->state_of = checked_calloc((size_t)params->count, sizeof *optimizer->state_of);
    declare_states(optimizer);
    return optimizer;
}

size_t optimizer_scratch_bytes(const Optimizer *optimizer, bool shared)
{
    return optimizer->kind->scratch_count ? optimizer->kind->scratch_count(optimizer, shared) * sizeof(real) : 0;
}

bool optimizer_work_is_shared(int ranks, bool divided) { return ranks > 1 && !divided; }

void optimizer_prepare(Optimizer *optimizer, const ParamStore *store)
{
    bool shared = optimizer_work_is_shared(store->ranks, store->divided);
    optimizer->scratch = checked_calloc(optimizer_scratch_bytes(optimizer, shared), 1);
    if (optimizer->kind->prepare) optimizer->prepared = optimizer->kind->prepare(optimizer);
}

void optimizer_destroy(Optimizer *optimizer)
{
    if (!optimizer) return;
    param_table_destroy(&optimizer->states);
    free(optimizer->state_of);
    free(optimizer->scratch);
    free(optimizer->prepared);
    free(optimizer);
}

void optimizer_update(const Optimizer *optimizer, ParamStore *store, const OptimizerStep *step)
{
    store->begin_change(store);
    phase_begin(PHASE_OPTIMIZER);
    optimizer->kind->update(optimizer, store, step);
    store->spread(store);
}

double optimizer_clip_factor(double norm, double clip_norm)
{
    return clip_norm > 0 && norm > clip_norm ? clip_norm / norm : 1;
}
