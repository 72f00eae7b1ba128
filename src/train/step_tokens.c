#define _GNU_SOURCE /* affinity */
#include "src/train/step_tokens.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"

/* One batch, in memory when `read`. */
typedef struct Batch {
    TokenBatch tokens; /* (sequences, N) */
    uint64_t first;    /* number of the whole batch's first sequence in the run */
    bool read, failed;
    Message problem;
} Batch;

struct StepTokens {
    BatchLoader *loader;
    const TrainStep *step;
    size_t sequences, tokens_of_sequence;
    Batch batches[2];
    int present;
    bool reading; /* the thread is at work on the other one */
    pthread_t thread;
};

static Batch *present(StepTokens *tokens) { return &tokens->batches[tokens->present]; }
static Batch *other(StepTokens *tokens) { return &tokens->batches[1 - tokens->present]; }

StepTokens *step_tokens_create(BatchLoader *loader, const TrainStep *step)
{
    StepTokens *tokens = checked_calloc(1, sizeof *tokens);
    const PassSpec *spec = model_pass_spec(step->pass);
    tokens->loader = loader;
    tokens->step = step;
    tokens->sequences = (size_t)step->micro_batches * spec->sequences;
    tokens->tokens_of_sequence = model_pass_tokens(step->pass);
    for (int i = 0; i < 2; i++)
        tokens->batches[i].tokens = token_batch_create(tokens->sequences * tokens->tokens_of_sequence, spec->documents);
    return tokens;
}

void step_tokens_destroy(StepTokens *tokens)
{
    if (!tokens) return;
    step_tokens_wait(tokens);
    batch_loader_destroy(tokens->loader);
    for (int i = 0; i < 2; i++) token_batch_destroy(&tokens->batches[i].tokens);
    free(tokens);
}

typedef struct Reading {
    StepTokens *tokens;
    Batch *batch;
} Reading;

static bool read_sequences(void *context, Message *problem)
{
    const Reading *reading = context;
    const StepTokens *tokens = reading->tokens;
    return batch_loader_training(tokens->loader, reading->batch->first + tokens->step->first_sequence,
                                 (int64_t)tokens->sequences, &reading->batch->tokens, problem);
}

/* Whatever goes wrong waits for step_tokens_take(): a thread cannot end a job of several ranks. */
static void read_batch(StepTokens *tokens, Batch *batch)
{
    Reading reading = {tokens, batch};
    batch->failed = !error_catch(read_sequences, &reading, &batch->problem);
    batch->read = true;
}

static void *read_other(void *context)
{
    read_batch(context, other(context));
    return NULL;
}

/* Where threads of OpenMP are bound to cores, a new thread would share that of the main one: it may run on all of them. */
static void allow_all_places(pthread_attr_t *attributes)
{
    cpu_set_t cores;
    CPU_ZERO(&cores);
    for (int place = 0; place < omp_get_num_places(); place++) {
        int count = omp_get_place_num_procs(place), *ids = checked_calloc((size_t)count, sizeof *ids);
        omp_get_place_proc_ids(place, ids);
        for (int i = 0; i < count; i++) CPU_SET((size_t)ids[i], &cores);
        free(ids);
    }
    if (CPU_COUNT(&cores) > 0) (void)pthread_attr_setaffinity_np(attributes, sizeof cores, &cores);
}

void step_tokens_read_ahead(StepTokens *tokens, uint64_t first_of_batch)
{
    *other(tokens) = (Batch){.tokens = other(tokens)->tokens, .first = first_of_batch};
    sigset_t all, before; /* signals are for the main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    allow_all_places(&attributes);
    tokens->reading = pthread_create(&tokens->thread, &attributes, read_other, tokens) == 0;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void step_tokens_wait(StepTokens *tokens)
{
    if (tokens->reading) pthread_join(tokens->thread, NULL);
    tokens->reading = false;
}

bool step_tokens_take(StepTokens *tokens, uint64_t first_of_batch, Message *problem)
{
    step_tokens_wait(tokens);
    tokens->present = 1 - tokens->present;
    Batch *batch = present(tokens);
    if (!batch->read || batch->first != first_of_batch) {
        batch->first = first_of_batch;
        read_batch(tokens, batch);
    }
    batch->read = false; /* not to be taken again */
    if (batch->failed) *problem = batch->problem;
    return !batch->failed;
}

const TokenBatch *step_tokens_batch(const StepTokens *tokens, size_t *count)
{
    *count = tokens->sequences * tokens->tokens_of_sequence;
    return &tokens->batches[tokens->present].tokens;
}

void step_tokens_part(void *context, uint64_t in_batch, const TokenBatch *part)
{
    StepTokens *tokens = context;
    size_t N = tokens->tokens_of_sequence, first = (size_t)(in_batch - tokens->step->first_sequence) * N;
    size_t bytes = model_pass_spec(tokens->step->pass)->sequences * N * sizeof *part->inputs;
    TokenBatch from = token_batch_from(&present(tokens)->tokens, first);
    memcpy(part->inputs, from.inputs, bytes);
    memcpy(part->targets, from.targets, bytes);
    if (part->document_starts) memcpy(part->document_starts, from.document_starts, bytes);
}
