/* Compiled for the oldest processor (Makefile), and calling nothing of ours: it runs where the rest could not. */
#include "src/base/processor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME(macro, name) name,
static const char *const names[] = {PROCESSOR_FEATURES(NAME) ""};

ProcessorFeatures processor_needed(void)
{
    ProcessorFeatures needed = {{false}};
    for (int i = 0; i < PROCESSOR_FEATURE_COUNT; i++) needed.has[i] = processor_target[i][0] == '1';
    return needed;
}

#define PRESENT(macro, name) __builtin_cpu_supports(name) != 0,

ProcessorFeatures processor_present(void) { return (ProcessorFeatures){{PROCESSOR_FEATURES(PRESENT) false}}; }

int processor_feature(const char *name)
{
    for (int i = 0; i < PROCESSOR_FEATURE_COUNT; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

static bool has(ProcessorFeatures features, const char *name)
{
    int i = processor_feature(name);
    return i >= 0 && features.has[i];
}

/* The highest level of the x86-64 ABI, as compilers name it, that suits a processor. */
static const char *level_of(ProcessorFeatures present)
{
    if (has(present, "avx512f") && has(present, "avx512bw") && has(present, "avx512cd") && has(present, "avx512dq") &&
        has(present, "avx512vl"))
        return "x86-64-v4";
    if (has(present, "avx2") && has(present, "fma") && has(present, "bmi2")) return "x86-64-v3";
    if (has(present, "sse4.2") && has(present, "popcnt")) return "x86-64-v2";
    return "x86-64";
}

bool processor_suits(ProcessorFeatures needed, ProcessorFeatures present, char *problem, size_t size)
{
    int missing = 0, last = 0;
    for (int i = 0; i < PROCESSOR_FEATURE_COUNT; i++)
        if (needed.has[i] && !present.has[i]) missing++, last = i;
    if (missing == 0) return true;
    char more[32] = "";
    if (missing > 1) snprintf(more, sizeof more, " and %d more extensions", missing - 1);
    snprintf(problem, size,
             "this program was built for a processor with %s%s, which this one does not have. Build again with "
             "ARCH=native on this machine, or with ARCH=%s",
             names[last], more, level_of(present));
    return false;
}

#ifndef IN_A_LIBRARY /* which must not end anybody's process: polysketch_open() asks */
static void __attribute__((constructor)) check_processor(void)
{
    char problem[256];
    if (processor_suits(processor_needed(), processor_present(), problem, sizeof problem)) return;
    fprintf(stderr, "polysketch: %s\n", problem);
    _exit(EXIT_FAILURE);
}
#endif
