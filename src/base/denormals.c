#include "src/base/denormals.h"

#ifdef __SSE2__
#include <emmintrin.h>

enum { RESULTS_TO_ZERO = 0x8000, OPERANDS_ARE_ZERO = 0x0040 }; /* MXCSR: FTZ, DAZ */

void denormals_flush(void) { _mm_setcsr(_mm_getcsr() | RESULTS_TO_ZERO | OPERANDS_ARE_ZERO); }
#else
void denormals_flush(void) {}
#endif
