/* The Makefile defines SOURCE_VERSION and BUILD_FLAGS for this file only, so that a new commit does not rebuild the rest. */
#include "src/base/version.h"

#ifndef SOURCE_VERSION
#define SOURCE_VERSION RELEASE_VERSION
#endif
#ifndef BUILD_FLAGS
#define BUILD_FLAGS "unknown"
#endif

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

const char *source_version(void) { return SOURCE_VERSION; }

const char *build_compiler(void) { return COMPILER; }

const char *build_flags(void) { return BUILD_FLAGS; }
