#include "simulate/compute.h"

#include <simgrid/actor.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/core/phase.h"
#include "src/core/sequence_link.h"

enum { LARGE_BYTES = 1 << 16 };

static struct {
    Phase phase;
    bool counting;
    double seconds[PHASE_COUNT]; /* of a step */
    double kernels[PHASE_COUNT]; /* that it calls, those of backward passes counted twice */
    double join_seconds;
} compute;

static void pass(double seconds)
{
    if (seconds > 0) sg_actor_sleep_for(seconds);
}

static void spend(double share)
{
    if (compute.counting)
        compute.kernels[compute.phase] += share;
    else if (compute.kernels[compute.phase] > 0)
        pass(compute.seconds[compute.phase] * share / compute.kernels[compute.phase]);
}

/* Stand for functions of any arguments that return nothing, a size or a pointer (replaced.txt). */
long kernel_forward(void);
long kernel_backward(void);
long kernel_untimed(void);

long kernel_forward(void)
{
    spend(1);
    return 0;
}

long kernel_backward(void)
{
    spend(2);
    return 0;
}

long kernel_untimed(void) { return 0; }

void compute_count(void)
{
    compute.counting = true;
    memset(compute.kernels, 0, sizeof compute.kernels);
}

void compute_spend(void) { compute.counting = false; }

void compute_spend_rest(void)
{
    for (int p = 0; p < PHASE_COUNT; p++)
        if (!compute.counting && compute.kernels[p] == 0) pass(compute.seconds[p]);
}

void compute_set_join_seconds(double seconds) { compute.join_seconds = seconds; }

void compute_join(size_t numbers)
{
    if (!compute.counting) pass(compute.join_seconds * (double)numbers);
}

/* ---- what stands before functions of the program ---- */

Phase __real_phase_begin(Phase phase);
Phase __wrap_phase_begin(Phase phase);
void *__real_memset(void *memory, int value, size_t bytes);
void *__wrap_memset(void *memory, int value, size_t bytes);
void __wrap_exclusive_sum_join(real *joined, const real *first, const real *second, size_t begin, size_t end,
                               size_t count, size_t groups);

Phase __wrap_phase_begin(Phase phase)
{
    compute.phase = phase;
    return __real_phase_begin(phase);
}

/* Large memory is never written, so that the ranks together need none. */
void *__wrap_memset(void *memory, int value, size_t bytes)
{
    return bytes > LARGE_BYTES ? memory : __real_memset(memory, value, bytes);
}

void __wrap_exclusive_sum_join(real *joined, const real *first, const real *second, size_t begin, size_t end,
                               size_t count, size_t groups)
{
    (void)joined, (void)first, (void)second, (void)count, (void)groups;
    compute_join(end - begin);
}

/* ---- the profile ---- */

static int phase_named(const char *name)
{
    for (int p = 0; p < PHASE_COUNT; p++)
        if (strcmp(phase_name((Phase)p), name) == 0) return p;
    return -1;
}

/* What a step does once, not in each layer. */
static bool is_outside_layers(int phase)
{
    return phase == PHASE_OTHER || phase == PHASE_EMBEDDING || phase == PHASE_OUTPUT;
}

/* The columns of bench --profile that matter here. */
static bool read_row(const char *line, long layers, double faster, ComputeProfile *profile)
{
    char name[64];
    double microseconds_per_token;
    ComputeProfile row;
    int fields = sscanf(line, "%*[^,],%*[^,],%*[^,],%*d,%ld,%ld,%ld,1,%*d,step,%ld,\"%63[^\"]\",%lf,",
                        &row.block_length, &row.tokens, &row.layers, &row.vocab_size, name, &microseconds_per_token);
    int phase = fields == 6 ? phase_named(name) : -1;
    if (phase < 0 || compute.seconds[phase] > 0) return false;
    double share = is_outside_layers(phase) ? 1 : (double)layers / (double)row.layers;
    compute.seconds[phase] = share * 1e-6 * microseconds_per_token * (double)row.tokens / faster;
    row.seconds = profile->seconds + compute.seconds[phase];
    *profile = row;
    return true;
}

bool compute_read_profile(const char *path, long layers, double faster, ComputeProfile *profile, Message *problem)
{
    char line[1024];
    *profile = (ComputeProfile){0};
    FILE *file = fopen(path, "r");
    if (!file) return fail(problem, "cannot read the profile '%s'. simulate/profile.sh makes one", path);
    bool ok = true;
    while (ok && fgets(line, sizeof line, file))
        ok = line[0] == '#' || strncmp(line, "kind,", 5) == 0 || read_row(line, layers, faster, profile);
    fclose(file);
    if (ok && profile->seconds > 0) return true;
    return fail(problem, "'%s' is no profile of one step on one rank. simulate/profile.sh makes one", path);
}
