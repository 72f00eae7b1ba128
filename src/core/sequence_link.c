#include "src/core/sequence_link.h"

#include <string.h>

/* `second_decay` NULL: a plain sum. */
static void join_range(real *joined, const real *first, const real *second, size_t count, const real *second_decay)
{
    real kept = second_decay ? real_exp(*second_decay) : 1;
#pragma omp simd
    for (size_t i = 0; i < count; i++) joined[i] = kept * first[i] + second[i];
}

void exclusive_sum_join(real *joined, const real *first, const real *second, size_t begin, size_t end, size_t count,
                        size_t groups)
{
    size_t size = groups ? count / groups : count;
    while (begin < end) {
        size_t behind = (begin / size + 1) * size,
               decay = groups ? behind - 1 : behind; /* the place of the log decay */
        size_t until = end < decay ? end : decay;
        join_range(joined + begin, first + begin, second + begin, until - begin, groups ? second + decay : NULL);
        if (groups && end >= behind) joined[decay] = first[decay] + second[decay];
        begin = end < behind ? end : behind;
    }
}

static void single_sum_begin(SequenceLink *link, const ExclusiveSum *sum)
{
    (void)link;
    memset(sum->incoming, 0, sum->count * sizeof *sum->incoming);
}

static void single_shift_begin(SequenceLink *link, ScanDirection direction, const real *send, real *receive,
                               size_t count)
{
    (void)link, (void)direction;
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
