/* Tells the compiler that the C library has vector forms of these functions (libmvec, at most 4 units in the last
   place), so that `omp simd` loops use them. The library's own header says so only under -ffast-math, which would also
   allow what we do not want. On other C libraries the loops call the scalar functions. */
#ifndef POLYSKETCH_TENSOR_VECTOR_MATH_H
#define POLYSKETCH_TENSOR_VECTOR_MATH_H

#include <math.h>

#if defined(__x86_64__) && defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)
#pragma omp declare simd notinbranch
float expf(float);
#pragma omp declare simd notinbranch
double exp(double);
#pragma omp declare simd notinbranch
float tanhf(float);
#pragma omp declare simd notinbranch
double tanh(double);
#endif

#endif
