/* At what distance heads attend, by their own weights w_ij: evaluations measure it on request (docs/format.md, section 8).

   No weight is ever seen. A mean over keys is what attention computes of its values, so values that tell how far a key is are put
   in the place of the layer's, and the ordinary forward pass does the rest, for every kind, on any ranks, in stretches:

       mean distance of row i     sum_j w_ij (i - j) / sum_j w_ij:    columns j - c and 1, with c somewhere near i
       share of a bucket          sum_j w_ij [i - j is in it] / sum_j w_ij:    a column for each bucket of some rows i

   The h columns of a head are computed anyway. So the first pass has h - 1 centres c, of which a row takes the nearest, lest
   rounding of large positions hide small distances; the others have h - 1 buckets of rows that stand for all. */
#ifndef POLYSKETCH_ATTENTION_DISTANCE_H
#define POLYSKETCH_ATTENTION_DISTANCE_H

#include "src/attention/attention.h"

/* Buckets that queries of a context of T tokens can have, at most DISTANCE_MAX_BUCKETS. */
size_t distance_buckets(size_t context_length);
/* Their first distances: 0, 1, 2, 4, 8, ... */
size_t distance_of_bucket(size_t bucket);

/* Forward passes that distance_measure() takes. */
size_t distance_passes(size_t context_length, size_t head_width);

/* Adds to run->watch.distances (B, H) those of the rows that the watch names. `qkv` is run->qkv: its values change and come back;
   run->out and run->saved are overwritten. Where `carried` is not NULL it is run->link's, and each pass takes the place
   `layers` behind the one before among its layers. Head width >= 2, no recurrent state. Collective like a forward pass. */
void distance_measure(const AttentionRun *run, real *qkv, CarriedLink *carried, size_t layers);

/* Takes and releases its scratch. */
void distance_plan(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch);

#endif
