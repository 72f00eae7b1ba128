/* The grid of ranks: data ranks x sequence ranks. Rank = data_rank * sequence_ranks + position, so that the ranks of a
   sequence are neighbours, on one node where possible. */
#ifndef POLYSKETCH_MPI_TOPOLOGY_H
#define POLYSKETCH_MPI_TOPOLOGY_H

#include "src/core/sequence_link.h"

typedef struct Topology {
    int data_ranks, sequence_ranks;
    int data_rank;      /* which sequences this rank works on */
    SequenceLink *link; /* to the other ranks of the same sequences; link->position is this rank's segment */
} Topology;

/* All ranks of the world, whose number is data_ranks times something (config_finish). Collective. */
Topology topology_create(int data_ranks, ScanKind scan);
void topology_destroy(Topology *topology);

/* Seconds this rank has spent in the links' calls since the start. */
double topology_communication_seconds(const Topology *topology);

#endif
