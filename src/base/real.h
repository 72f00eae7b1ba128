/* The one floating type of the mathematics: float for training, double for gradient checks (-DREAL_DOUBLE). */
#ifndef POLYSKETCH_BASE_REAL_H
#define POLYSKETCH_BASE_REAL_H

#include <math.h>

#ifdef REAL_DOUBLE
typedef double real;
#define REAL_NAME "double"
#define REAL_FUNCTION(name) name
#else
typedef float real;
#define REAL_NAME "float"
#define REAL_FUNCTION(name) name##f
#endif

#define real_exp REAL_FUNCTION(exp)
#define real_log REAL_FUNCTION(log)
#define real_tanh REAL_FUNCTION(tanh)
#define real_sqrt REAL_FUNCTION(sqrt)

#endif
