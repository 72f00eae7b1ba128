/* Where the time of a step goes: seconds by phase, counted on the main thread of this process. Phases do not nest; everything
   between one phase_begin() and the next belongs to the phase begun. A switch costs some tens of nanoseconds. */
#ifndef POLYSKETCH_CORE_PHASE_H
#define POLYSKETCH_CORE_PHASE_H

typedef enum Phase {
    PHASE_OTHER,
    PHASE_EMBEDDING,
    PHASE_NORM,
    PHASE_DENSE,
    PHASE_ACTIVATION,
    PHASE_FEATURES,
    PHASE_KEYS,
    PHASE_PAIRS,
    PHASE_QUERIES,
    PHASE_OUTPUT,
    PHASE_OPTIMIZER,
    PHASE_COMMUNICATION,
    PHASE_COUNT
} Phase;

/* Returns the phase that ends. */
Phase phase_begin(Phase phase);

/* Since the last reset. */
double phase_seconds(Phase phase);
void phase_reset(void);

const char *phase_name(Phase phase);

/* Of the phase under way, for other threads too. */
const char *phase_current_name(void);

#endif
