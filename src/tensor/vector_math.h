/* Exponential and hyperbolic tangent for `omp simd` loops.

   The exponential of floats is written out, so that it is inlined and uses the widest vectors of the target; elsewhere
   the C library's vector forms are used (libmvec, at most 4 units in the last place). Its own header offers them only
   under -ffast-math, which would also allow what we do not want, so they are declared here. */
#ifndef POLYSKETCH_TENSOR_VECTOR_MATH_H
#define POLYSKETCH_TENSOR_VECTOR_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "src/base/real.h"

#if defined(__x86_64__) && defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)
#pragma omp declare simd notinbranch
double exp(double);
#pragma omp declare simd notinbranch
float tanhf(float);
#pragma omp declare simd notinbranch
double tanh(double);
#endif

/* e^x to 4 units in the last place. Saturates: below -80 the result is 2e-35, above 80 it is 6e34; NaN stays NaN. The bounds
   keep results and their reciprocals away from denormal numbers, whose arithmetic takes a hundred times as long.
   x = n ln 2 + r with |r| <= ln(2)/2; e^r by its Taylor polynomial, 2^n by its bits. */
static inline __attribute__((always_inline)) float saturating_expf(float x)
{
    x = x < -80.0f ? -80.0f : x;
    x = x > 80.0f ? 80.0f : x;
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number, which stands in the low bits */
    float shifted = x * 1.44269504088896341f + shift, n = shifted - shift;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts: n times the first is exact */
    float p =
        1.0f + r * (1.0f + r * (0.5f + r * (0.16666667f + r * (0.041666668f + r * (0.0083333f + r * 0.0013888889f)))));
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000u; /* the exponent field of 2^n */
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

#ifdef REAL_DOUBLE
#define vector_exp exp
#else
#define vector_exp saturating_expf
#endif

#endif
