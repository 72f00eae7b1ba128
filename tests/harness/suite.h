/* Runs suites of tests under CUnit and turns the outcome into an exit code.

   A test program is a main() that starts the world, calls run_suites() and stops the world:

       static const TestCase tests[] = {{"sums", test_sums}, {"scan", test_scan}};
       static const Suite suites[] = {SUITE("link", tests)};

       int main(int argc, char **argv)
       {
           world_start(&argc, &argv);
           int code = run_suites("test_link", suites, 1);
           world_stop();
           return code;
       }

   Under mpirun every rank runs the same tests in the same order, and a test passes when it passes on all of them.
   Do not use the CU_..._FATAL assertions: they leave the test on one rank, and the others wait for it for ever. */
#ifndef POLYSKETCH_TESTS_HARNESS_SUITE_H
#define POLYSKETCH_TESTS_HARNESS_SUITE_H

typedef struct TestCase {
    const char *name;
    void (*run)(void);
} TestCase;

typedef struct Suite {
    const char *name;
    const TestCase *tests;
    int count;
} Suite;

/* A suite of all tests of an array: counted here, so that none is left out. */
#define SUITE(name, tests)                                                                                             \
    {                                                                                                                  \
        name, tests, sizeof(tests) / sizeof *(tests)                                                                   \
    }

/* Collective over all ranks, between world_start() and world_stop(). Failures are lines on standard error, the verdicts
   lines of rank 0 on standard output. Returns the exit code: 0 when every test passed on every rank, otherwise 1. */
int run_suites(const char *program, const Suite *suites, int suite_count);

#endif
