#include "src/core/phase.h"

#include <stdatomic.h>
#include <string.h>

#include "src/base/usage.h"

static const char *const names[PHASE_COUNT] = {
    [PHASE_OTHER] = "other",
    [PHASE_EMBEDDING] = "embedding",
    [PHASE_NORM] = "norms, rotary, residuals",
    [PHASE_DENSE] = "dense products of layers",
    [PHASE_ACTIVATION] = "feed-forward activation",
    [PHASE_FEATURES] = "attention: sketch, features",
    [PHASE_KEYS] = "attention: key side",
    [PHASE_PAIRS] = "attention: exact pairs",
    [PHASE_QUERIES] = "attention: query side",
    [PHASE_OUTPUT] = "output layer, loss",
    [PHASE_OPTIMIZER] = "optimizer",
    [PHASE_COMMUNICATION] = "communication",
};

static struct {
    _Atomic Phase current;
    double since;
    double seconds[PHASE_COUNT];
} clock_of;

Phase phase_begin(Phase phase)
{
    Phase ended = atomic_load_explicit(&clock_of.current, memory_order_relaxed);
    double now = usage_seconds();
    clock_of.seconds[ended] += now - clock_of.since;
    atomic_store_explicit(&clock_of.current, phase, memory_order_relaxed);
    clock_of.since = now;
    return ended;
}

double phase_seconds(Phase phase)
{
    phase_begin(clock_of.current);
    return clock_of.seconds[phase];
}

void phase_reset(void)
{
    memset(clock_of.seconds, 0, sizeof clock_of.seconds);
    clock_of.since = usage_seconds();
}

const char *phase_name(Phase phase) { return names[phase]; }

const char *phase_current_name(void) { return names[atomic_load_explicit(&clock_of.current, memory_order_relaxed)]; }
