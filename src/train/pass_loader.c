#include "src/train/pass_loader.h"

#include <stdlib.h>

#include "src/base/memory.h"

/* One for each stretch; the caller frees them. */
static TokenRange *ranges_of(const ModelPass *pass)
{
    size_t count = model_pass_spec(pass)->stretches;
    TokenRange *ranges = checked_calloc(count, sizeof *ranges);
    for (size_t k = 0; k < count; k++) ranges[k] = model_pass_range(pass, k);
    return ranges;
}

BatchLoader *pass_loader_training(const ModelPass *pass, TokenFile *file, uint64_t seed, Message *problem)
{
    const PassSpec *spec = model_pass_spec(pass);
    TokenRange *ranges = ranges_of(pass);
    BatchLoader *loader = batch_loader_create(file, spec->context_length, ranges, spec->stretches, seed, problem);
    free(ranges);
    return loader;
}

BatchLoader *pass_loader_evaluation(const ModelPass *pass, TokenFile *file, size_t stride, Message *problem)
{
    const PassSpec *spec = model_pass_spec(pass);
    TokenRange *ranges = ranges_of(pass);
    BatchLoader *loader =
        batch_loader_create_evaluation(file, spec->context_length, stride, ranges, spec->stretches, problem);
    free(ranges);
    return loader;
}
