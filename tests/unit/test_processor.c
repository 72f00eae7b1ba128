/* A program on a processor that it was not built for says what is missing. (That it does so before anything else runs is tried
   by `make check-portability`, which starts it on an emulated old processor.) */
#include <stdio.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/processor.h"
#include "tests/harness/check.h"
#include "tests/harness/suite.h"

/* The features named, "avx avx2 ...". */
static ProcessorFeatures features_of(const char *list)
{
    ProcessorFeatures features = {{false}};
    char copy[256], *rest = copy;
    snprintf(copy, sizeof copy, "%s", list);
    for (char *name; (name = strtok_r(rest, " ", &rest));) {
        int i = processor_feature(name);
        if (check_true(i >= 0, "%s is a feature", name)) features.has[i] = true;
    }
    return features;
}

/* What is missing is named with the lowest extension first, and the remedy fits the processor. */
static void test_decision(void)
{
    static const struct {
        const char *needed, *present;
        const char *missing, *level; /* NULL: it suits */
    } cases[] = {
        {"", "", NULL, NULL},
        {"sse3 avx", "sse3 avx avx2", NULL, NULL},
        {"avx512f avx512vl avx2 fma", "avx512f avx512vl avx2 fma bmi", NULL, NULL},
        {"avx512f avx512vl avx2 fma", "avx2 fma bmi2 sse4.2 popcnt", "avx512f and 1 more", "ARCH=x86-64-v3"},
        {"avx512vnni avx512f", "avx512f avx512bw avx512cd avx512dq avx512vl", "avx512vnni,", "ARCH=x86-64-v4"},
        {"avx2 fma avx sse4.2", "sse4.2 popcnt", "avx and 2 more", "ARCH=x86-64-v2"},
        {"fma4", "avx2 fma sse4.2 popcnt", "fma4,", "ARCH=x86-64-v2"},
        {"sse3", "", "sse3,", "ARCH=x86-64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char problem[256] = "";
        bool suits =
            processor_suits(features_of(cases[i].needed), features_of(cases[i].present), problem, sizeof problem);
        check_true(suits == !cases[i].missing, "'%s' on '%s': %d", cases[i].needed, cases[i].present, suits);
        if (suits || !cases[i].missing) continue;
        check_true(strstr(problem, cases[i].missing) != NULL, "'%s' has '%s'", problem, cases[i].missing);
        size_t at = strlen(problem) - strlen(cases[i].level);
        check_true(strcmp(problem + at, cases[i].level) == 0, "'%s' ends with %s", problem, cases[i].level);
    }
}

/* The lists agree with the compiler of this file, which has the flags of all others. */
static void test_this_build(void)
{
    char problem[256];
    ProcessorFeatures needed = processor_needed();
    check_true(processor_suits(needed, processor_present(), problem, sizeof problem), "the tests run, so it suits");
#ifdef __AVX2__
    check_true(needed.has[processor_feature("avx2")], "built for avx2");
#elif defined(__x86_64__)
    check_true(!needed.has[processor_feature("avx2")], "built without avx2");
#endif
}

static const TestCase tests[] = {{"decision", test_decision}, {"this build", test_this_build}};
static const Suite suites[] = {SUITE("processor", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_processor", suites, 1);
    world_stop();
    return code;
}
