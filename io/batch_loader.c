#include "io/batch_loader.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/rng.h"

struct BatchLoader {
    TokenFile *file;
    size_t context_length;
    TokenRange range;
    uint64_t seed;
    uint64_t windows;
    int32_t *tokens; /* (N + 1), one sequence at a time */
};

BatchLoader *batch_loader_create(TokenFile *file, size_t context_length, TokenRange range, uint64_t seed,
                                 Message *problem)
{
    if (file->count < context_length + 1) {
        fail(problem,
             "'%s' has %zu tokens; a sequence of model.context_length = %zu needs at least %zu. Use a longer text or a "
             "shorter context",
             file->path, file->count, context_length, context_length + 1);
        return NULL;
    }
    BatchLoader *loader = checked_calloc(1, sizeof *loader);
    *loader = (BatchLoader){file, context_length, range, seed, (file->count - 1) / context_length, NULL};
    loader->tokens = checked_calloc(range.count + 1, sizeof *loader->tokens);
    return loader;
}

void batch_loader_destroy(BatchLoader *loader)
{
    if (!loader) return;
    free(loader->tokens);
    free(loader);
}

uint64_t batch_loader_windows(const BatchLoader *loader) { return loader->windows; }

/* Where training sequence `number` starts in the file. */
static size_t training_start(const BatchLoader *loader, uint64_t number)
{
    uint64_t epoch = number / loader->windows, place = number % loader->windows;
    uint64_t window = rng_permute(rng_stream(loader->seed, "data order", epoch), loader->windows, place);
    uint64_t left_over = loader->file->count - 1 - loader->windows * loader->context_length;
    double drawn = rng_uniform(rng_stream(loader->seed, "data phase", epoch), 0);
    uint64_t phase = (uint64_t)(drawn * (double)(left_over + 1)); /* 0 .. left_over */
    return phase + window * loader->context_length;
}

/* Reads this rank's part of the sequence at `start`; the target of a token is the one after it. */
static bool read_sequence(BatchLoader *loader, size_t start, int32_t *inputs /* (N) */, int32_t *targets /* (N) */,
                          Message *problem)
{
    size_t count = loader->range.count;
    if (!token_file_read(loader->file, start + loader->range.first, count + 1, loader->tokens, problem)) return false;
    memcpy(inputs, loader->tokens, count * sizeof *inputs);
    memcpy(targets, loader->tokens + 1, count * sizeof *targets);
    return true;
}

bool batch_loader_training(BatchLoader *loader, uint64_t first_sequence, int64_t count, int32_t *inputs,
                           int32_t *targets, Message *problem)
{
    for (int64_t i = 0; i < count; i++) {
        size_t start = training_start(loader, first_sequence + (uint64_t)i), offset = (size_t)i * loader->range.count;
        if (!read_sequence(loader, start, inputs + offset, targets + offset, problem)) return false;
    }
    return true;
}

bool batch_loader_sequential(BatchLoader *loader, uint64_t first_window, int64_t count, int32_t *inputs,
                             int32_t *targets, Message *problem)
{
    for (int64_t i = 0; i < count; i++) {
        size_t start = (first_window + (uint64_t)i) * loader->context_length, offset = (size_t)i * loader->range.count;
        if (!read_sequence(loader, start, inputs + offset, targets + offset, problem)) return false;
    }
    return true;
}
