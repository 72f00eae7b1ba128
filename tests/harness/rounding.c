#include "tests/harness/rounding.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "src/base/memory.h"
#include "src/base/rng.h"

const double REAL_EPSILON = sizeof(real) == sizeof(float) ? FLT_EPSILON : DBL_EPSILON;

real *nudged(const real *x, size_t count, uint64_t draw)
{
    real *moved = checked_calloc(count, sizeof *moved);
    RngStream stream = rng_stream(draw, "nudge", 0);
    for (size_t i = 0; i < count; i++) {
        double way = rng_uniform(stream, i) < 0.5 ? -REAL_EPSILON : REAL_EPSILON;
        moved[i] = (real)((double)x[i] * (1 + way));
    }
    return moved;
}

double largest_movement(double largest_so_far, const real *moved, const real *plain, size_t count)
{
    double largest = largest_so_far;
    for (size_t i = 0; i < count; i++) {
        double movement = fabs((double)moved[i] - (double)plain[i]);
        if (isnan(movement)) return INFINITY;
        if (movement > largest) largest = movement;
    }
    return largest;
}

double roundings(size_t operations) { return ROUNDING_FACTOR * sqrt((double)operations) * REAL_EPSILON; }

double rounding_tolerance(double movement, const real *plain, size_t count)
{
    double scale = 0;
    for (size_t i = 0; i < count; i++) scale = fmax(scale, fabs((double)plain[i]));
    if (scale == 0) scale = 1; /* as check_close_...() do */
    bool below = movement < REAL_EPSILON * scale;
    return ROUNDING_FACTOR * (below ? REAL_EPSILON : movement / scale);
}
