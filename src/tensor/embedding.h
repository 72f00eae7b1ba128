/* Rows of the embedding table by token. */
#ifndef POLYSKETCH_TENSOR_EMBEDDING_H
#define POLYSKETCH_TENSOR_EMBEDDING_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"

/* x (tokens, C) = table (V, C) at `ids` */
void embedding_forward(real *x, const real *table, const int32_t *ids, size_t tokens, size_t width);
/* d_table += d_x at `ids`; every thread owns some columns, so the order of the sums is fixed. */
void embedding_backward(real *d_table, const real *d_x, const int32_t *ids, size_t tokens, size_t width);

#endif
