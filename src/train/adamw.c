#include "src/train/adamw.h"

#include <math.h>
#include <stdlib.h>

#include "src/base/memory.h"
#include "src/base/phase.h"

enum { PIECE = 1 << 16 };

/* Pieces of fixed size are summed in a fixed order, whoever computes them. */
double adamw_gradient_norm(const ParamTable *table, const real *grads)
{
    phase_begin(PHASE_OPTIMIZER);
    size_t pieces = (table->trained_count + PIECE - 1) / PIECE;
    double *sums = checked_calloc(pieces, sizeof *sums), total = 0;
#pragma omp parallel for schedule(static)
    for (size_t p = 0; p < pieces; p++) {
        size_t first = p * PIECE, end = first + PIECE < table->trained_count ? first + PIECE : table->trained_count;
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = first; i < end; i++) sum += (double)grads[i] * (double)grads[i];
        sums[p] = sum;
    }
    for (size_t p = 0; p < pieces; p++) total += sums[p];
    free(sums);
    return sqrt(total);
}

double adamw_clip_factor(double norm, double clip_norm)
{
    return clip_norm > 0 && norm > clip_norm ? clip_norm / norm : 1;
}

typedef struct Factors {
    real beta1, beta2, epsilon, gradient, m_rate, v_inverse, decay;
} Factors;

static void update_tensor(real *x, real *m, real *v, const real *g, size_t count, Factors f)
{
#pragma omp parallel for simd schedule(static) if (parallel : count > 16384)
    for (size_t i = 0; i < count; i++) {
        real gradient = f.gradient * g[i];
        m[i] = f.beta1 * m[i] + (1 - f.beta1) * gradient;
        v[i] = f.beta2 * v[i] + (1 - f.beta2) * gradient * gradient;
        x[i] -= f.m_rate * m[i] / (real_sqrt(v[i] * f.v_inverse) + f.epsilon) + f.decay * x[i];
    }
}

void adamw_update(const ParamTable *table, const TrainConfig *train, real *values, real *m, real *v, const real *grads,
                  double learning_rate, double gradient_factor, int64_t step)
{
    phase_begin(PHASE_OPTIMIZER);
    double t = (double)step;
    Factors factors = {
        .beta1 = (real)train->beta1,
        .beta2 = (real)train->beta2,
        .epsilon = (real)train->epsilon,
        .gradient = (real)gradient_factor,
        .m_rate = (real)(learning_rate / (1 - pow(train->beta1, t))),
        .v_inverse = (real)(1 / (1 - pow(train->beta2, t))),
    };
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->params[i];
        if (!param->trained) continue;
        factors.decay = param->decay ? (real)(learning_rate * train->weight_decay) : 0;
        size_t at = param->offset;
        update_tensor(values + at, m + at, v + at, grads + at, param->count, factors);
    }
}
