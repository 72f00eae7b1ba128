/* The sum of the gradients over all ranks: ranks of a sequence hold shares of its tokens, data ranks other sequences, and
   every rank updates its own copy of the parameters. */
#ifndef POLYSKETCH_MPI_GRADIENT_REDUCE_H
#define POLYSKETCH_MPI_GRADIENT_REDUCE_H

#include <stddef.h>

#include "src/base/real.h"

/* grads (count) = sum over all ranks of the world, in place, the same bits everywhere. Collective. Returns the seconds it
   took. */
double gradient_reduce(real *grads, size_t count);

#endif
