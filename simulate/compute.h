/* The time that computing takes. Kernels of the program do nothing here (replaced.txt); in their place simulated time passes: of
   each phase (src/core/phase.h) the measured seconds of a step, spread over the kernels that it calls. */
#ifndef POLYSKETCH_SIMULATE_COMPUTE_H
#define POLYSKETCH_SIMULATE_COMPUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/error.h"

/* A step on one rank, as `polysketch bench step --profile=FILE` writes it: one row of bench's table, all phases. Lines that begin
   with # say what else a reader should know. */
typedef struct ComputeProfile {
    long layers, vocab_size, tokens, block_length;
    double seconds; /* of the step that is simulated */
} ComputeProfile;

/* For a step of so many layers, whose phases have their share of the profile's; all is divided by `faster`. False with a
   message. */
bool compute_read_profile(const char *path, long layers, double faster, ComputeProfile *profile, Message *problem);

/* From now on kernels are counted and take no time; or take that of their phase, which the step before has counted. */
void compute_count(void);
void compute_spend(void);

/* At the end of a step: the time of phases that called no kernel. */
void compute_spend_rest(void);

/* What adding takes, per number that came in a message. */
void compute_set_join_seconds(double seconds);
void compute_join(size_t numbers);

#endif
