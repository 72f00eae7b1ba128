#include "src/attention/feature_map.h"

void map_add_gradients(ParamStore *params, const int *tensors, int count, const real *gradients)
{
    for (int i = 0; i < count; i++) {
        real *d = param_gradient(params, tensors[i]);
        size_t numbers = params->params->params[tensors[i]].count;
#pragma omp simd
        for (size_t j = 0; j < numbers; j++) d[j] += gradients[j];
        gradients += numbers;
    }
}
