/* What messages of a training step take, as closed forms: on a network where all ranks send and receive at full rate, each has a
   node of its own, and nobody comes late. What is not in them: the work of the MPI library, adding, links that are shared, ranks
   that wait for each other. Local. */
#ifndef POLYSKETCH_MPI_MESSAGE_COST_H
#define POLYSKETCH_MPI_MESSAGE_COST_H

#include <stddef.h>

/* From any rank to any other. */
typedef struct Network {
    double bytes_per_second;
    double latency; /* seconds, of a message of no length */
} Network;

/* One exclusive sum of so many numbers, until the last rank has it: as packets (parallel.scan = chain), or as one message from
   rank to rank (exscan, iexscan). */
double chain_scan_seconds(const Network *network, int ranks, size_t numbers);
double whole_scan_seconds(const Network *network, int ranks, size_t numbers);

/* Messages to the neighbour, of all ranks at once, one after the other: `numbers` in all of them. */
double shift_seconds(const Network *network, double messages, double numbers);

/* The sum of a gradient of so many numbers over all ranks, in pieces (GRADIENT_PIECE):
   - by halves to and fro (Rabenseifner): what Open MPI chooses for many ranks at the end of a step, and what world_start() asks
     for where sums are under way;
   - round a ring;
   - up a binomial tree and down again, the whole of each piece: what Open MPI chooses by itself for sums under way in place. The
     first rank receives and sends each piece once for every level. */
double halving_sum_seconds(const Network *network, int ranks, size_t numbers);
double ring_sum_seconds(const Network *network, int ranks, size_t numbers);
double tree_sum_seconds(const Network *network, int ranks, size_t numbers);

/* Tensors of which each rank keeps a block, the longest of so many numbers (parallel.shard): from every rank to each other rank
   the rows that this one keeps, to be added there, in so many rounds; or, in one round, from each rank what it keeps to all. The
   rank with the longest block receives it from all others, or sends it to all. A rank handles one message after the other. */
double keeper_seconds(const Network *network, int ranks, size_t rounds, size_t longest);

#endif
