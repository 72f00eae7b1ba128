/* Sums over the blocks of a head: the only part of it in which a block needs the one before. Every number of a state is summed by
   itself, in the order of the blocks, so threads take slices of states, and who takes which changes no bit. */
#include <string.h>

#include "src/attention/linear_parts.h"

/* Running sums are doubles: a float that grows by thousands of blocks would lose their last bits. */
typedef struct Running {
    double sums[LINEAR_SLICE];
} Running;

static void finish_total(const Sizes *z, const Head *head, real *total, StateSlice slice, const Running *running)
{
#pragma omp simd
    for (size_t i = 0; i < slice.count; i++) total[slice.first + i] = (real)running->sums[i];
    if (slice.first == 0 && z->decays) total[z->state] = linear_log_decay(head, z);
}

void linear_total_of_keys(const Sizes *z, const Head *head, const HeadGradients *gradients, real *total,
                          StateSlice slice)
{
    (void)gradients;
    Running running = {0};
    for (size_t slot = 0; slot < z->blocks; slot++) {
        if (!adds_to_state(z, slot)) continue;
        const real *state = head->states + slot * z->state + slice.first;
        double kept = linear_kept(head, z, slot, slot + 1);
#pragma omp simd
        for (size_t i = 0; i < slice.count; i++) running.sums[i] = kept * running.sums[i] + (double)state[i];
    }
    finish_total(z, head, total, slice, &running);
}

void linear_total_of_adjoints(const Sizes *z, const Head *head, const HeadGradients *gradients, real *total,
                              StateSlice slice)
{
    Running running = {0};
    for (size_t slot = 0; slot < z->blocks; slot++) {
        if (!linear_reads_state(head, z, slot)) continue;
        const real *adjoint = gradients->adjoint + slot * z->state + slice.first;
        double kept = linear_kept(head, z, 0, slot);
#pragma omp simd
        for (size_t i = 0; i < slice.count; i++) running.sums[i] += kept * (double)adjoint[i];
    }
    finish_total(z, head, total, slice, &running);
}

/* state = what came before it, which then goes on to the next: what the slot leaves of it, and the slot's own sum. */
static void pass_slot(const Sizes *z, const Head *head, real *states, size_t slot, StateSlice slice, Running *running)
{
    real *state = states + slot * z->state + slice.first;
    double kept = linear_kept(head, z, slot, slot + 1);
#pragma omp simd
    for (size_t i = 0; i < slice.count; i++) {
        double sum = (double)state[i];
        state[i] = (real)running->sums[i];
        running->sums[i] = kept * running->sums[i] + sum;
    }
}

static void begin_with(Running *running, const real *incoming, StateSlice slice)
{
    for (size_t i = 0; i < slice.count; i++) running->sums[i] = (double)incoming[slice.first + i];
}

void linear_prefixes_of_keys(const Sizes *z, const Head *head, const HeadGradients *gradients, real *incoming,
                             StateSlice slice)
{
    (void)gradients;
    Running running;
    begin_with(&running, incoming, slice);
    for (size_t slot = 0; slot < z->blocks; slot++) pass_slot(z, head, head->states, slot, slice, &running);
}

void linear_prefixes_of_adjoints(const Sizes *z, const Head *head, const HeadGradients *gradients, real *incoming,
                                 StateSlice slice)
{
    Running running;
    begin_with(&running, incoming, slice);
    for (size_t slot = z->blocks; slot-- > 0;) pass_slot(z, head, gradients->adjoint, slot, slice, &running);
}
