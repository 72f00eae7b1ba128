/* Rotary position embedding (Su et al. 2021) on queries and keys, in place, base 10000.
   Numbers (i, i + h/2) of a head are a pair turned by position * 10000^(-2i/h):
   first half a cos - b sin, second half a sin + b cos. Pairs from `turned_pairs` on, the slow ones, may stay as they are: their
   products then depend on what tokens say and not on where they stand, at contexts longer than those of training too. */
#ifndef POLYSKETCH_TENSOR_ROTARY_H
#define POLYSKETCH_TENSOR_ROTARY_H

#include <stddef.h>

#include "src/base/real.h"

/* turns (h/2): radians by which a position more turns each pair; 0 from pair `turned_pairs` on. */
void rotary_fill_turns(double *turns, size_t head_width, size_t turned_pairs);

/* table (tokens, 2, h/2): cosines and sines of positions first .. first + tokens - 1 for such turns; angles are computed in
   double. */
void rotary_fill_table(real *table, size_t first, size_t tokens, const double *turns, size_t head_width);

/* Turns `heads` adjacent heads of every token: rows at x + t * x_stride. `direction` +1 forward, -1 backward (the
   transposed rotation turns a gradient back). Token t uses row t % table_tokens of the table: sequences one after
   another share it. */
void rotary_apply(real *x, size_t x_stride, const real *table, size_t table_tokens, size_t tokens, size_t heads,
                  size_t head_width, int direction);

#endif
