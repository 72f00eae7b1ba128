#include "src/train/adamw.h"

#include <math.h>
#include <stddef.h>

#define AT(field) offsetof(OptimizerSpec, field)

static const OptionRow *adamw_options(int *count)
{
    static const OptionRow rows[] = {
        {"train", "beta1", OPTION_REAL, AT(beta1), "0.9", 0, 0.999999, "", false, "AdamW"},
        {"train", "beta2", OPTION_REAL, AT(beta2), "0.95", 0, 0.999999, "", false, "AdamW"},
        {"train", "epsilon", OPTION_REAL, AT(epsilon), "1e-8", 1e-30, 1, "", false, "AdamW"},
    };
    *count = sizeof rows / sizeof *rows;
    return rows;
}

int adamw_states(const Param *param, const char *names[OPTIMIZER_STATES])
{
    (void)param;
    names[0] = "m";
    names[1] = "v";
    return 2;
}

typedef struct Factors {
    real beta1, beta2, epsilon, gradient, m_rate, v_inverse, decay;
} Factors;

static Factors factors_of(const OptimizerSpec *spec, const OptimizerStep *step, bool decays)
{
    double t = (double)step->number;
    return (Factors){
        .beta1 = (real)spec->beta1,
        .beta2 = (real)spec->beta2,
        .epsilon = (real)spec->epsilon,
        .gradient = (real)step->gradient_factor,
        .m_rate = (real)(step->learning_rate / (1 - pow(spec->beta1, t))),
        .v_inverse = (real)(1 / (1 - pow(spec->beta2, t))),
        .decay = decays ? (real)(step->learning_rate * spec->weight_decay) : 0,
    };
}

static void update(real *x, real *m, real *v, const real *g, size_t count, Factors f)
{
#pragma omp parallel for simd schedule(static) if (parallel : count > 16384)
    for (size_t i = 0; i < count; i++) {
        real gradient = f.gradient * g[i];
        m[i] = f.beta1 * m[i] + (1 - f.beta1) * gradient;
        v[i] = f.beta2 * v[i] + (1 - f.beta2) * gradient * gradient;
        x[i] -= f.m_rate * m[i] / (real_sqrt(v[i] * f.v_inverse) + f.epsilon) + f.decay * x[i];
    }
}

void adamw_update_tensor(const Optimizer *optimizer, ParamStore *store, const OptimizerStep *step, int param)
{
    const Param *row = &optimizer->params->params[param];
    const int *states = optimizer->state_of[param];
    update(store->kept_values(store, param), store->kept_state(store, states[0]), store->kept_state(store, states[1]),
           store->kept_gradient(store, param), param_store_kept_count(store, row),
           factors_of(&optimizer->spec, step, row->decay));
}

static void adamw_update(const Optimizer *optimizer, ParamStore *store, const OptimizerStep *step)
{
    for (int i = 0; i < optimizer->params->count; i++)
        if (optimizer->params->params[i].trained) adamw_update_tensor(optimizer, store, step, i);
}

static const char *const state_names[] = {"m", "v", NULL};

const OptimizerKind optimizer_adamw = {
    .name = "adamw",
    .options = adamw_options,
    .state_names = state_names,
    .states = adamw_states,
    .update = adamw_update,
};
