/* How much of a repetitive test is run. valgrind and ThreadSanitizer look at every place in memory that is touched, and slow a
   program down by ten to a hundred; there the same places need not be visited again for other numbers. AddressSanitizer slows it
   down by three. */
#ifndef POLYSKETCH_TESTS_HARNESS_EFFORT_H
#define POLYSKETCH_TESTS_HARNESS_EFFORT_H

/* Divides counts of repetitions, and is the step through the variants where they are computed at real sizes: 1 in usual
   builds. */
#ifdef UNDER_CHECKER
enum { FEWER_REPETITIONS = 16, VARIANT_STEP = 3 };
#elif defined(__SANITIZE_ADDRESS__)
enum { FEWER_REPETITIONS = 4, VARIANT_STEP = 2 };
#else
enum { FEWER_REPETITIONS = 1, VARIANT_STEP = 1 };
#endif

#endif
