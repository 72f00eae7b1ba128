/* Exponential and hyperbolic tangent for `omp simd` loops.

   The exponential of floats is written out, so that it is inlined and uses the widest vectors of the target; elsewhere
   the C library's vector forms are used (libmvec, at most 4 units in the last place). Its own header offers them only
   under -ffast-math, which would also allow what we do not want, so they are declared here. On a Zen 4 our exponential is 1.4
   (AVX-512) and 1.6 times (AVX2) as fast as libmvec's, and, measured by hand, 1.3 and 2 times as fast as that of SLEEF 3.5.1,
   whose tanh takes three to four times as long as libmvec's (results/kernels). */
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
   x = n ln 2 + r with |r| <= ln(2)/2; e^r by a polynomial of least largest error (1e-7), 2^n added to the exponent's bits. */
static inline __attribute__((always_inline)) float saturating_expf(float x)
{
    x = -80.0f > x ? -80.0f : x; /* in this order the compiler has one instruction, which keeps NaN */
    x = 80.0f < x ? 80.0f : x;
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number, which stands in the low bits */
    float shifted = x * 1.44269504088896341f + shift, n = shifted - shift;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts: n times the first is exact */
    float p =
        1.0f + r * (0.999999707f + r * (0.499991487f + r * (0.166676372f + r * (0.0418980443f + r * 0.0082902935f))));
    uint32_t power, bits;
    memcpy(&power, &shifted, sizeof power);
    memcpy(&bits, &p, sizeof bits);
    bits += power << 23;
    memcpy(&p, &bits, sizeof p);
    return p;
}

#ifdef REAL_DOUBLE
#define vector_exp exp
#else
#define vector_exp saturating_expf
#endif

#endif
