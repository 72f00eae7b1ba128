#include "io/batch_loader.h"

#include <stdlib.h>
#include <string.h>

#include "io/documents.h"
#include "src/base/memory.h"
#include "src/base/rng.h"

/* Reads this rank's part of sequence `number`, N tokens. */
typedef bool ReadSequence(BatchLoader *loader, uint64_t number, TokenBatch part, Message *problem);

struct BatchLoader {
    ReadSequence *training, *sequential;
    TokenFile *file;
    size_t context_length;
    TokenRange *ranges;
    size_t range_count;
    size_t tokens; /* N */
    uint64_t seed; /* of training */
    size_t stride; /* from window to window */
    uint64_t windows;
    int32_t *read;     /* (longest range + 1) */
    DataSource source; /* of made sequences, instead of all that a file needs */
    SourceUse use;
    const TokenMix *mix; /* of several files, likewise, */
    BatchLoader **parts; /* (mix->count): with a loader for each */
};

/* ---- reading ---- */

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

/* Tokens start .. start + count - 1, and token 0 in the place of those beyond the end of the file. */
static bool read_padded(BatchLoader *loader, size_t start, size_t count, Message *problem)
{
    size_t there = start < loader->file->count ? loader->file->count - start : 0;
    if (there > count) there = count;
    memset(loader->read + there, 0, (count - there) * sizeof *loader->read);
    return there == 0 || token_file_read(loader->file, start, there, loader->read, problem);
}

/* The sequence at `start`; the target of a token is the one after it, also where that begins another document. */
static bool read_file(BatchLoader *loader, size_t start, TokenBatch part, Message *problem)
{
    for (size_t i = 0; i < loader->range_count; i++) {
        TokenRange range = loader->ranges[i];
        if (!read_padded(loader, start + range.first, range.count + 1, problem)) return false;
        memcpy(part.inputs, loader->read, range.count * sizeof *part.inputs);
        memcpy(part.targets, loader->read + 1, range.count * sizeof *part.targets);
        if (part.document_starts) documents_of_range(loader->file->documents, start, range, part.document_starts);
        part = token_batch_from(&part, range.count);
    }
    return true;
}

static bool read_drawn(BatchLoader *loader, uint64_t number, TokenBatch part, Message *problem)
{
    return read_file(loader, training_start(loader, number), part, problem);
}

static bool read_window(BatchLoader *loader, uint64_t number, TokenBatch part, Message *problem)
{
    return read_file(loader, number * loader->stride, part, problem);
}

static bool read_made(BatchLoader *loader, uint64_t number, TokenBatch part, Message *problem)
{
    SourcePart made = {&loader->source, loader->use, loader->context_length, number, {0}, part.inputs, part.targets};
    for (size_t i = 0; i < loader->range_count; i++) {
        made.range = loader->ranges[i];
        if (!source_make(&made, problem)) return false;
        made.inputs += made.range.count;
        made.targets += made.range.count;
    }
    return true;
}

static bool read_mixed(BatchLoader *loader, uint64_t number, TokenBatch part, Message *problem)
{
    MixPlace place = token_mix_place(loader->mix, loader->seed, number);
    return read_drawn(loader->parts[place.file], place.number, part, problem);
}

/* ---- loaders ---- */

static BatchLoader *create(TokenFile *file, size_t context_length, const TokenRange *ranges, size_t range_count)
{
    BatchLoader *loader = checked_calloc(1, sizeof *loader);
    *loader = (BatchLoader){.training = read_drawn, .sequential = read_window, .file = file};
    loader->context_length = context_length;
    loader->range_count = range_count;
    loader->ranges = checked_calloc(range_count, sizeof *loader->ranges);
    size_t longest = 0;
    for (size_t i = 0; i < range_count; i++) {
        loader->ranges[i] = ranges[i];
        loader->tokens += ranges[i].count;
        if (ranges[i].count > longest) longest = ranges[i].count;
    }
    loader->read = checked_calloc(longest + 1, sizeof *loader->read);
    return loader;
}

BatchLoader *batch_loader_create(TokenFile *file, size_t context_length, const TokenRange *ranges, size_t range_count,
                                 uint64_t seed, Message *problem)
{
    if (file->count < context_length + 1) {
        fail(problem,
             "'%s' has %zu tokens; a sequence of model.context_length = %zu needs at least %zu. Use a longer text or a "
             "shorter context",
             file->path, file->count, context_length, context_length + 1);
        return NULL;
    }
    BatchLoader *loader = create(file, context_length, ranges, range_count);
    loader->seed = seed;
    loader->stride = context_length;
    loader->windows = (file->count - 1) / context_length;
    return loader;
}

BatchLoader *batch_loader_create_mixed(const TokenMix *mix, size_t context_length, const TokenRange *ranges,
                                       size_t range_count, uint64_t seed, Message *problem)
{
    if (mix->count == 1) return batch_loader_create(mix->files[0], context_length, ranges, range_count, seed, problem);
    BatchLoader *loader = create(mix->files[0], context_length, ranges, range_count);
    loader->training = read_mixed;
    loader->seed = seed;
    loader->mix = mix;
    loader->parts = checked_calloc((size_t)mix->count, sizeof *loader->parts);
    bool good = true;
    for (int i = 0; i < mix->count && good; i++) {
        loader->parts[i] = batch_loader_create(mix->files[i], context_length, ranges, range_count, seed, problem);
        good = loader->parts[i] != NULL;
    }
    if (good) return loader;
    batch_loader_destroy(loader);
    return NULL;
}

BatchLoader *batch_loader_create_evaluation(TokenFile *file, size_t context_length, size_t stride,
                                            const TokenRange *ranges, size_t range_count, Message *problem)
{
    if (file->count < 2) {
        fail(problem, "'%s' has %zu tokens; an evaluation needs at least 2", file->path, file->count);
        return NULL;
    }
    BatchLoader *loader = create(file, context_length, ranges, range_count);
    size_t targets = file->count - 1, later = targets > context_length ? targets - context_length : 0;
    loader->stride = stride;
    loader->windows = 1 + (later + stride - 1) / stride;
    return loader;
}

BatchLoader *batch_loader_create_made(const DataSource *source, SourceUse use, size_t context_length,
                                      const TokenRange *ranges, size_t range_count, Message *problem)
{
    if (!source_check_file(source, context_length, problem)) return NULL;
    BatchLoader *loader = create(source->file, context_length, ranges, range_count);
    loader->training = loader->sequential = read_made;
    loader->source = *source;
    loader->use = use;
    loader->windows = UINT64_MAX;
    return loader;
}

void batch_loader_destroy(BatchLoader *loader)
{
    if (!loader) return;
    for (int i = 0; loader->parts && i < loader->mix->count; i++) batch_loader_destroy(loader->parts[i]);
    free(loader->parts);
    free(loader->ranges);
    free(loader->read);
    free(loader);
}

uint64_t batch_loader_windows(const BatchLoader *loader) { return loader->windows; }

static bool read_several(BatchLoader *loader, ReadSequence *read, uint64_t first, int64_t count,
                         const TokenBatch *batch, Message *problem)
{
    ASSERT(!batch->document_starts || loader->file->documents);
    for (int64_t i = 0; i < count; i++)
        if (!read(loader, first + (uint64_t)i, token_batch_from(batch, (size_t)i * loader->tokens), problem))
            return false;
    return true;
}

bool batch_loader_training(BatchLoader *loader, uint64_t first_sequence, int64_t count, const TokenBatch *batch,
                           Message *problem)
{
    return read_several(loader, loader->training, first_sequence, count, batch, problem);
}

bool batch_loader_sequential(BatchLoader *loader, uint64_t first_window, int64_t count, const TokenBatch *batch,
                             Message *problem)
{
    return read_several(loader, loader->sequential, first_window, count, batch, problem);
}

bool batch_loader_scores(const BatchLoader *loader, uint64_t window, size_t position)
{
    if (source_is_made(&loader->source.spec)) return true;
    if (window * loader->stride + position + 1 >= loader->file->count) return false;
    return window == 0 || position + loader->stride >= loader->context_length;
}
