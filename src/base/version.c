/* The Makefile defines SOURCE_VERSION for this file only, so that a new commit does not rebuild the rest. */
#include "src/base/version.h"

#ifndef SOURCE_VERSION
#define SOURCE_VERSION "unknown"
#endif

const char *source_version(void) { return SOURCE_VERSION; }
