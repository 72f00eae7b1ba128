/* A program built for a newer processor than the one it starts on would end with SIGILL somewhere. Before main() runs it says
   instead what is missing, and ends. Nothing needs to be called for that.

   processor_target.c is compiled like all the rest and says what that needs; processor.c is compiled for the oldest processor and
   compares it with what there is. */
#ifndef POLYSKETCH_BASE_PROCESSOR_H
#define POLYSKETCH_BASE_PROCESSOR_H

#include <stdbool.h>
#include <stddef.h>

/* The extensions that compilers use of their own accord: the macro a compiler defines when it may, and its name for asking the
   processor. The newest come first: they are what tells two processors apart. */
#ifdef __x86_64__
#define PROCESSOR_FEATURES(feature)                                                                                    \
    feature(__AVX512VBMI2__, "avx512vbmi2") feature(__AVX512VNNI__, "avx512vnni")                                      \
        feature(__AVX512BITALG__, "avx512bitalg") feature(__AVX512VPOPCNTDQ__, "avx512vpopcntdq")                      \
            feature(__AVX512VBMI__, "avx512vbmi") feature(__AVX512IFMA__, "avx512ifma")                                \
                feature(__AVX512VL__, "avx512vl") feature(__AVX512BW__, "avx512bw") feature(__AVX512DQ__, "avx512dq")  \
                    feature(__AVX512CD__, "avx512cd") feature(__AVX512F__, "avx512f") feature(__AVX2__, "avx2")        \
                        feature(__FMA__, "fma") feature(__FMA4__, "fma4") feature(__XOP__, "xop")                      \
                            feature(__BMI2__, "bmi2") feature(__BMI__, "bmi") feature(__AVX__, "avx")                  \
                                feature(__POPCNT__, "popcnt") feature(__SSE4_2__, "sse4.2")                            \
                                    feature(__SSE4_1__, "sse4.1") feature(__SSSE3__, "ssse3")                          \
                                        feature(__SSE3__, "sse3")
enum { PROCESSOR_FEATURE_COUNT = 23 };
#else
#define PROCESSOR_FEATURES(feature)
enum { PROCESSOR_FEATURE_COUNT = 0 };
#endif

/* By the order of PROCESSOR_FEATURES, with one place more, so that no array is empty. */
typedef struct ProcessorFeatures {
    bool has[PROCESSOR_FEATURE_COUNT + 1];
} ProcessorFeatures;

/* What this program was compiled for, and what the processor it runs on has. */
ProcessorFeatures processor_needed(void);
ProcessorFeatures processor_present(void);

/* Whether `present` has all of `needed`. If not, `problem` says what is missing and what helps. */
bool processor_suits(ProcessorFeatures needed, ProcessorFeatures present, char *problem, size_t size);

/* The place of a feature in the list, -1 for another name. */
int processor_feature(const char *name);

/* processor_target.c: for each feature "1" where the compiler may use it, otherwise the macro's name. */
extern const char *const processor_target[];

#endif
