/* A copy of all parameters and of the optimizer's state on every rank; gradients are summed over all ranks of the world: ranks of
   a sequence hold shares of its tokens, data ranks other sequences. */
#ifndef POLYSKETCH_MPI_PARAM_STORE_REPLICATED_H
#define POLYSKETCH_MPI_PARAM_STORE_REPLICATED_H

#include "src/core/param_store.h"

/* Gradients are summed in pieces of so many numbers, which bounds the temporary memory of the library's algorithms: they take
   buffers as long as the message. */
enum { GRADIENT_PIECE = 4 << 20 };

/* As param_store_create(), collective. Every rank gets the same bits; the two ways of summing may round differently where three
   or more ranks add. */
ParamStore *param_store_replicated(const ParamTable *params, const ParamTable *states, StorePurpose purpose,
                                   GradientSums sums);

/* Whether sums go on while others are computed. Collective. */
bool gradient_sums_overlapped(GradientSums sums);

#endif
