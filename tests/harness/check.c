#include "tests/harness/check.h"

#include <CUnit/CUnit.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/memory.h"

bool check_true_at(const char *file, int line, bool condition, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    CU_assertImplementation(condition, (unsigned)line, text, file, "", CU_FALSE);
    return condition;
}

bool check_close_double_at(const char *file, int line, const char *what, const real *got, const double *expected,
                           size_t count, double tolerance)
{
    double scale = 0, worst = -1;
    size_t worst_index = 0;
    for (size_t i = 0; i < count; i++) scale = fmax(scale, fabs(expected[i]));
    if (scale == 0) scale = 1;
    for (size_t i = 0; i < count; i++) {
        double error = fabs((double)got[i] - expected[i]) / scale;
        if (isnan(error)) error = INFINITY; /* NaN compares false with everything and would go unseen */
        if (error <= worst) continue;
        worst = error;
        worst_index = i;
    }
    bool close = worst <= tolerance && isfinite(tolerance);
    return check_true_at(file, line, close, "%s: element %zu of %zu is %.9g, expected %.9g: relative error %.3g > %.3g",
                         what, worst_index, count, close ? 0 : (double)got[worst_index],
                         close ? 0 : expected[worst_index], worst, tolerance);
}

bool check_close_real_at(const char *file, int line, const char *what, const real *got, const real *expected,
                         size_t count, double tolerance)
{
    double *wide = checked_calloc(count, sizeof *wide);
    for (size_t i = 0; i < count; i++) wide[i] = (double)expected[i];
    bool close = check_close_double_at(file, line, what, got, wide, count, tolerance);
    free(wide);
    return close;
}
