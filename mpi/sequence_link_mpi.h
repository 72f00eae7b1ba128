/* SequenceLink over MPI. The exclusive sums run on two communicators, one ordered by position and one by reversed
   position, so that both directions are the same MPI call (README.md in this folder). */
#ifndef POLYSKETCH_MPI_SEQUENCE_LINK_MPI_H
#define POLYSKETCH_MPI_SEQUENCE_LINK_MPI_H

#include <mpi.h>

#include "src/core/sequence_link.h"

/* A link over the ranks of `sequence`, whose rank order is the order of the segments. Collective over it. The
   communicator is duplicated; sequence_link_mpi_destroy() frees the copies. */
SequenceLink *sequence_link_mpi_create(MPI_Comm sequence, ScanKind scan);
void sequence_link_mpi_destroy(SequenceLink *link);

double sequence_link_mpi_seconds(const SequenceLink *link);

#endif
