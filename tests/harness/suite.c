#include "tests/harness/suite.h"

#include <CUnit/CUnit.h>
#include <CUnit/TestDB.h>
#include <CUnit/TestRun.h>
#include <stdio.h>
#ifdef __SANITIZE_ADDRESS__
#include <dlfcn.h>
#include <sanitizer/lsan_interface.h>
#endif

#include "mpi/world.h"
#include "src/base/error.h"

static int failed_tests;

/* CUnit calls this after each test. The number of failures is agreed on at once, so that the verdict rank 0 prints is
   that of all ranks. */
static void report_test(const CU_pTest test, const CU_pSuite suite, const CU_pFailureRecord first)
{
    double failures = 0;
    for (const CU_FailureRecord *failure = first; failure; failure = failure->pNext) {
        error_say("%s:%u: %s", failure->strFileName, failure->uiLineNumber, failure->strCondition);
        failures++;
    }
    world_sum_doubles(&failures, 1);
    if (failures > 0) failed_tests++;
    if (world().rank > 0) return;
    printf("%-6s %s: %s", failures > 0 ? "FAILED" : "ok", suite->pName, test->pName);
    if (failures > 0) printf(" (%.0f failures)", failures);
    printf("\n");
    fflush(stdout);
}

static void register_suite(const Suite *suite)
{
    CU_pSuite registered = CU_add_suite(suite->name, NULL, NULL);
    CHECK(registered, "CUnit does not take the suite %s: %s", suite->name, CU_get_error_msg());
    for (int i = 0; i < suite->count; i++)
        CHECK(CU_add_test(registered, suite->tests[i].name, suite->tests[i].run),
              "CUnit does not take the test %s: %s. Names must differ", suite->tests[i].name, CU_get_error_msg());
}

#ifdef __SANITIZE_ADDRESS__
/* In place of that of libc: MPI unloads modules whose leaks would then have no name that tests/leaks.supp could give. */
int dlclose(void *handle)
{
    (void)handle;
    return 0;
}

/* Before MPI stops, so that a rank that lost something ends the job. */
static void check_leaks(void) { __lsan_do_leak_check(); }
#else
static void check_leaks(void) {}
#endif

int run_suites(const char *program, const Suite *suites, int suite_count)
{
    CHECK(CU_initialize_registry() == CUE_SUCCESS, "CUnit does not start: %s", CU_get_error_msg());
    int tests = 0;
    for (int i = 0; i < suite_count; i++) {
        register_suite(&suites[i]);
        tests += suites[i].count;
    }
    failed_tests = 0;
    CU_set_test_complete_handler(report_test);
    CU_run_all_tests(); /* its own return value says nothing about failed assertions */
    int run = (int)CU_get_number_of_tests_run();
    if (run != tests) error_say("%s: only %d of %d tests ran", program, run, tests);
    CU_cleanup_registry();
    if (world().rank == 0)
        printf("%s: %d tests on %d rank%s, %d failed\n", program, run, world().size, world().size > 1 ? "s" : "",
               failed_tests);
    check_leaks();
    return failed_tests || run != tests;
}
