/* Sums with the same bits on any number of threads: chunks of fixed size are summed in a fixed order, whoever computes them. */
#ifndef POLYSKETCH_CORE_ORDERED_SUM_H
#define POLYSKETCH_CORE_ORDERED_SUM_H

#include <stddef.h>

#include "src/base/real.h"

double ordered_sum_of_squares(const real *values, size_t count);

#endif
