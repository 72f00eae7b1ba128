#include "mpi/topology.h"

#include <mpi.h>

#include "mpi/sequence_link_mpi.h"
#include "mpi/world.h"

Topology topology_create(int data_ranks, ScanKind scan)
{
    World all = world();
    Topology topology = {.data_ranks = data_ranks, .sequence_ranks = all.size / data_ranks};
    topology.data_rank = all.rank / topology.sequence_ranks;
    MPI_Comm sequence;
    CHECK_MPI(MPI_Comm_split(MPI_COMM_WORLD, topology.data_rank, all.rank, &sequence));
    topology.link = sequence_link_mpi_create(sequence, scan);
    CHECK_MPI(MPI_Comm_free(&sequence));
    return topology;
}

void topology_destroy(Topology *topology)
{
    sequence_link_mpi_destroy(topology->link);
    topology->link = NULL;
}

double topology_communication_seconds(const Topology *topology) { return sequence_link_mpi_seconds(topology->link); }
