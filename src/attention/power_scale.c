#include "src/attention/power_scale.h"

#include <math.h>

/* Room up to 2^127 for sums over tokens and products with values; room down to 2^-126 for weights far below the bound. */
static const double LARGEST_POWER_LOG2 = 80;

/* max |weight| sqrt(h) + |bias| */
static double longest_normed(const AttentionLayer *layer, ParamStore *params, const int norm[2])
{
    const real *weight = param_values(params, norm[0]), *bias = param_values(params, norm[1]);
    double largest = 0, square = 0;
    for (size_t c = 0; c < layer->head_width; c++) {
        largest = fmax(largest, fabs((double)weight[c]));
        square += (double)bias[c] * (double)bias[c];
    }
    return largest * sqrt((double)layer->head_width) + sqrt(square);
}

static PowerScale times_power_of_two(const AttentionLayer *layer, int exponent)
{
    int degree = (int)layer->spec.degree;
    return (PowerScale){
        .scale = (real)ldexp(layer->spec.scale, exponent),
        .factor = (real)ldexp(1, exponent * degree),
        .one = (real)ldexp(layer->spec.denominator_one, exponent * degree),
        .log_factor = (real)(exponent * degree * log(2)),
    };
}

PowerScale power_scale(const AttentionLayer *layer, ParamStore *params)
{
    double bound = layer->spec.scale * longest_normed(layer, params, layer->query_norm) *
                   longest_normed(layer, params, layer->key_norm);
    double excess = log2(bound) - LARGEST_POWER_LOG2 / (double)layer->spec.degree;
    return times_power_of_two(layer, excess > 0 ? -(int)fmin(ceil(excess), 1000) : 0);
}

PowerScale power_scale_free(const AttentionLayer *layer) { return times_power_of_two(layer, 0); }

bool power_degree_check(const AttentionSpec *spec, Message *problem)
{
    long long degree = spec->degree;
    return degree % 2 == 0 ||
           fail(problem,
                "attention.degree = %lld is odd, but weights must not be negative. Try attention.degree = %lld", degree,
                degree + 1);
}
