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

BatchLoader *pass_loader_training(const ModelPass *pass, const DataSource *source, const TokenMix *mix,
                                  Message *problem)
{
    const PassSpec *spec = model_pass_spec(pass);
    size_t T = spec->context_length, parts = spec->stretches;
    TokenRange *ranges = ranges_of(pass);
    BatchLoader *loader = source_is_made(&source->spec)
                              ? batch_loader_create_made(source, USE_TRAINING, T, ranges, parts, problem)
                              : batch_loader_create_mixed(mix, T, ranges, parts, source->seed, problem);
    free(ranges);
    return loader;
}

BatchLoader *pass_loader_evaluation(const ModelPass *pass, const DataSource *source, size_t stride, Message *problem)
{
    const PassSpec *spec = model_pass_spec(pass);
    size_t T = spec->context_length, parts = spec->stretches;
    TokenRange *ranges = ranges_of(pass);
    BatchLoader *loader = source_is_made(&source->spec)
                              ? batch_loader_create_made(source, USE_EVALUATION, T, ranges, parts, problem)
                              : batch_loader_create_evaluation(source->file, T, stride, ranges, parts, problem);
    free(ranges);
    return loader;
}
