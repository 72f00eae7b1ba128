/* How far rounding moves a result: the measure of every comparison of floating numbers.

   Two correct ways to compute the same thing differ by rounding, by as much as the problem magnifies it: a few units in the
   last place for a product, thousands for the gradient of a badly conditioned model. Which compiler, vector width and BLAS
   kernel are at work decides where in that range a run falls. So no number written here could tell right from wrong
   everywhere. Where the operations between input and result are few and known, roundings() counts them. For whole models it is
   measured: the plain way, one process and one piece, is run again with every input moved by one unit in its last
   place, up or down at random. That reaches the result magnified as rounding is, together with the plain way's own rounding,
   which is drawn anew. The largest movement of a few such draws says what this processor's rounding is worth; ROUNDING_FACTOR
   times that is allowed between two ways.

   A deliberate fault (the negative controls) must lie as far beyond the bound as the bound lies beyond the movement. */
#ifndef POLYSKETCH_TESTS_HARNESS_ROUNDING_H
#define POLYSKETCH_TESTS_HARNESS_ROUNDING_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"

/* Inputs are rounded once, intermediate results at every step: a way through n of these moves by about sqrt(n) times what one
   rounding does, and a chain of layers has some hundred. */
enum { ROUNDING_DRAWS = 6, ROUNDING_FACTOR = 8 };

/* The distance from 1 to the next larger number. */
extern const double REAL_EPSILON;

/* A copy of x (count) whose numbers are each moved by one unit in the last place; `draw` decides which way. */
real *nudged(const real *x, size_t count, uint64_t draw);

/* `largest_so_far`, or the largest |moved - plain| if that is more; infinite when one is not a number. */
double largest_movement(double largest_so_far, const real *moved, const real *plain, size_t count);

/* The tolerance for check_close_...() of a result that moved by at most `movement`: relative to the largest |plain|, and never
   less than one unit in the last place of that. */
double rounding_tolerance(double movement, const real *plain, size_t count);

/* The tolerance of a result that `operations` roundings lie behind: their errors are independent and add up like a random walk.
   It is also that of sums of so many random numbers of mean zero, relative to the largest sum and in whatever order they are
   added: partial sums grow like the root of their length, and the error with them. */
double roundings(size_t operations);

#endif
