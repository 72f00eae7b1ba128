/* Checks for tests: a failed one is counted by CUnit, said with its place, and the test goes on. */
#ifndef POLYSKETCH_TESTS_HARNESS_CHECK_H
#define POLYSKETCH_TESTS_HARNESS_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/real.h"

/* bool check_true(bool condition, const char *format, ...): `format` says what should have been. */
#define check_true(...) check_true_at(__FILE__, __LINE__, __VA_ARGS__)

/* bool check_close_...(const char *what, const real *got, const ... *expected, size_t count, double tolerance):
   |got - expected| <= tolerance * max |expected| for every element (absolute when `expected` is zero everywhere); a
   value or tolerance that is not finite always fails. Reports the worst element. */
#define check_close_real(...) check_close_real_at(__FILE__, __LINE__, __VA_ARGS__)
#define check_close_double(...) check_close_double_at(__FILE__, __LINE__, __VA_ARGS__)

bool check_true_at(const char *file, int line, bool condition, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool check_close_real_at(const char *file, int line, const char *what, const real *got, const real *expected,
                         size_t count, double tolerance);
bool check_close_double_at(const char *file, int line, const char *what, const real *got, const double *expected,
                           size_t count, double tolerance);

#endif
