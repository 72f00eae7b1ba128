#include "src/core/sequence_link.h"

#include <string.h>

static void single_sum_begin(SequenceLink *link, ScanDirection direction, const real *local, real *incoming,
                             size_t count)
{
    (void)link, (void)direction, (void)local;
    memset(incoming, 0, count * sizeof *incoming);
}

static void single_shift_begin(SequenceLink *link, const real *send, real *receive, size_t count)
{
    (void)link;
    memcpy(receive, send, count * sizeof *receive);
}

static void single_sum_all(SequenceLink *link, real *values, size_t count) { (void)link, (void)values, (void)count; }

static void nothing_to_finish(SequenceLink *link) { (void)link; }

SequenceLink sequence_link_single(void)
{
    return (SequenceLink){
        .position = 0,
        .segments = 1,
        .exclusive_sum_begin = single_sum_begin,
        .exclusive_sum_finish = nothing_to_finish,
        .exclusive_sum_poll = nothing_to_finish,
        .sum_all = single_sum_all,
        .ring_shift_begin = single_shift_begin,
        .ring_shift_finish = nothing_to_finish,
    };
}

TokenRange segment_range(size_t context_length, size_t block_length, int position, int segments)
{
    size_t blocks = (context_length + block_length - 1) / block_length;
    size_t first = blocks * (size_t)position / (size_t)segments * block_length;
    size_t end = blocks * ((size_t)position + 1) / (size_t)segments * block_length;
    if (end > context_length) end = context_length;
    return (TokenRange){first, end - first};
}

TokenRange stretch_range(size_t context_length, size_t block_length, size_t stretch, size_t stretches, int position,
                         int segments)
{
    TokenRange whole = segment_range(context_length, block_length, (int)stretch, (int)stretches);
    TokenRange part = segment_range(whole.count, block_length, position, segments);
    return (TokenRange){whole.first + part.first, part.count};
}

size_t segment_longest(size_t context_length, size_t block_length, int segments)
{
    size_t longest = 0;
    for (int position = 0; position < segments; position++) {
        size_t count = segment_range(context_length, block_length, position, segments).count;
        if (count > longest) longest = count;
    }
    return longest;
}
