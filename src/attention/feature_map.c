#include "src/attention/feature_map.h"

#include <omp.h>
#include <string.h>

/* Threads begin on cache lines of their own. */
static size_t distance(size_t count)
{
    const size_t line = 64 / sizeof(real);
    return (count + line - 1) / line * line;
}

MapGradients map_gradients_take(size_t count, Arena *scratch)
{
    size_t most = (size_t)omp_get_max_threads();
    return (MapGradients){.count = count, .threads = arena_take(scratch, most * distance(count)), .team = 1};
}

real *map_gradients_own(MapGradients *gradients)
{
    real *own = gradients->threads + (size_t)omp_get_thread_num() * distance(gradients->count);
    if (omp_get_thread_num() == 0) gradients->team = omp_get_num_threads();
    memset(own, 0, gradients->count * sizeof *own);
    return own;
}

/* Columns are divided among the threads, a piece at a time in cache. */
static void add_tensor(real *d, const MapGradients *gradients, size_t offset, size_t numbers)
{
    enum { PIECE = 1024 };
#pragma omp parallel for schedule(static) if (numbers > PIECE)
    for (size_t first = 0; first < numbers; first += PIECE) {
        size_t end = smaller(first + PIECE, numbers);
        for (int thread = 0; thread < gradients->team; thread++) {
            const real *share = gradients->threads + (size_t)thread * distance(gradients->count) + offset;
#pragma omp simd
            for (size_t i = first; i < end; i++) d[i] += share[i];
        }
    }
}

void map_gradients_add(const MapGradients *gradients, ParamStore *params, const int *tensors, int tensor_count)
{
    size_t offset = 0;
    for (int i = 0; i < tensor_count; i++) {
        size_t numbers = params->params->params[tensors[i]].count;
        add_tensor(param_gradient(params, tensors[i]), gradients, offset, numbers);
        offset += numbers;
    }
    ASSERT(offset == gradients->count);
}
