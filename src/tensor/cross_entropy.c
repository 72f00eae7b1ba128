#include "src/tensor/cross_entropy.h"

#include <omp.h>
#include <stdbool.h>
#include <string.h>

#include "src/tensor/vector_math.h"

static inline __attribute__((always_inline)) real finish_row(real *x, const real *bias, size_t vocab_size, real cap)
{
    real largest = -INFINITY;
#pragma omp simd reduction(max : largest)
    for (size_t c = 0; c < vocab_size; c++) {
        real z = x[c] + bias[c];
        x[c] = cap > 0 ? cap * real_tanh(z / cap) : z;
        largest = x[c] > largest ? x[c] : largest;
    }
    return largest;
}

real finish_logits(real *logits, const real *bias, size_t vocab_size, real soft_cap)
{
    return soft_cap > 0 ? finish_row(logits, bias, vocab_size, soft_cap) : finish_row(logits, bias, vocab_size, 0);
}

/* The sum of e^(x - largest), which takes the place of x unless that is kept. */
static inline __attribute__((always_inline)) real exponentials(real *x, real largest, size_t vocab_size, bool keep)
{
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t c = 0; c < vocab_size; c++) {
        real e = vector_exp(x[c] - largest);
        if (!keep) x[c] = e;
        sum += e;
    }
    return sum;
}

/* Of logit y: factor e^(y - largest) - everywhere, and of the target `at_target` less. */
typedef struct RowGradient {
    real factor, everywhere, at_target;
} RowGradient;

/* Of scale (log_sum - sum of target probabilities y + z_loss log_sum^2), with log_sum = largest + log(sum) and target
   probabilities label_smoothing / V, and 1 - label_smoothing more at the target. */
static RowGradient row_gradient(const LossSpec *spec, real sum, real log_sum, size_t vocab_size)
{
    real scale = spec->gradient_scale;
    return (RowGradient){
        .factor = scale * (1 + 2 * spec->z_loss * log_sum) / sum,
        .everywhere = scale * spec->label_smoothing / (real)vocab_size,
        .at_target = scale * (1 - spec->label_smoothing),
    };
}

/* e = e^(y - largest) become gradients. */
static void gradient_of_exponentials(real *e, size_t target, size_t vocab_size, RowGradient gradient)
{
    real factor = gradient.factor, everywhere = gradient.everywhere;
#pragma omp simd
    for (size_t c = 0; c < vocab_size; c++) e[c] = e[c] * factor - everywhere;
    e[target] -= gradient.at_target;
}

/* Of y = cap tanh(z / cap): 1 - (y / cap)^2. */
static inline __attribute__((always_inline)) real cap_slope(real y, real cap) { return (1 - y / cap) * (1 + y / cap); }

/* Capped logits y become gradients. Their exponentials are taken once more: a row has room for either them or y. */
static void gradient_of_capped(real *y, size_t target, size_t vocab_size, RowGradient gradient, real largest, real cap)
{
    real factor = gradient.factor, everywhere = gradient.everywhere;
    real at_target = gradient.at_target * cap_slope(y[target], cap);
#pragma omp simd
    for (size_t c = 0; c < vocab_size; c++)
        y[c] = (vector_exp(y[c] - largest) * factor - everywhere) * cap_slope(y[c], cap);
    y[target] -= at_target;
}

static real row_cross_entropy(real *x, const real *bias, size_t target, size_t vocab_size, const LossSpec *spec)
{
    real cap = spec->soft_cap;
    real largest = finish_logits(x, bias, vocab_size, cap), target_logit = x[target] - largest;
    real sum = cap > 0 ? exponentials(x, largest, vocab_size, true) : exponentials(x, largest, vocab_size, false);
    real log_sum = real_log(sum);
    if (spec->gradient_scale != 0) {
        RowGradient gradient = row_gradient(spec, sum, largest + log_sum, vocab_size);
        if (cap > 0)
            gradient_of_capped(x, target, vocab_size, gradient, largest, cap);
        else
            gradient_of_exponentials(x, target, vocab_size, gradient);
    }
    return log_sum - target_logit;
}

/* Of a row that does not count. */
static real no_cross_entropy(real *x, size_t vocab_size)
{
    memset(x, 0, vocab_size * sizeof *x);
    return 0;
}

void cross_entropy(real *losses, real *logits, const real *bias, const int32_t *targets, size_t rows, size_t vocab_size,
                   const LossSpec *spec)
{
#pragma omp parallel for schedule(static) if (rows * vocab_size > 16384)
    for (size_t t = 0; t < rows; t++) {
        real *x = logits + t * vocab_size;
        losses[t] = targets[t] < 0 ? no_cross_entropy(x, vocab_size)
                                   : row_cross_entropy(x, bias, (size_t)targets[t], vocab_size, spec);
    }
}

void add_column_sums(real *sums, const real *x, size_t rows, size_t columns)
{
#pragma omp parallel if (rows * columns > 65536)
    {
        size_t thread = (size_t)omp_get_thread_num(), team = (size_t)omp_get_num_threads();
        size_t first = columns * thread / team, end = columns * (thread + 1) / team;
        for (size_t t = 0; t < rows; t++) {
            const real *row = x + t * columns;
#pragma omp simd
            for (size_t c = first; c < end; c++) sums[c] += row[c];
        }
    }
}
