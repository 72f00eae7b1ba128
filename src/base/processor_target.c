#include "src/base/processor.h"

/* A macro that is not defined stays what it is. */
#define VALUE(macro) #macro
#define ENTRY(macro, name) VALUE(macro),

/* Data alone: this file is compiled for the target, whose code must not run yet. */
const char *const processor_target[] = {PROCESSOR_FEATURES(ENTRY) ""};
