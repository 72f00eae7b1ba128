#include "mpi/node.h"

#include <stdlib.h>

#include "src/base/memory.h"

static int most_ranks;

void node_limit(int ranks) { most_ranks = ranks; }

static MPI_Comm split(void)
{
    MPI_Comm machine, part;
    int rank;
    CHECK_MPI(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world().rank, MPI_INFO_NULL, &machine));
    if (most_ranks == 0) return machine;
    CHECK_MPI(MPI_Comm_rank(machine, &rank));
    CHECK_MPI(MPI_Comm_split(machine, rank / most_ranks, rank, &part));
    CHECK_MPI(MPI_Comm_free(&machine));
    return part;
}

/* A node is known by its first rank. */
static void count_nodes(Node *node)
{
    int first = world().rank, ranks = world().size;
    int *firsts = checked_calloc((size_t)ranks, sizeof *firsts), *sizes = checked_calloc((size_t)ranks, sizeof *sizes);
    CHECK_MPI(MPI_Bcast(&first, 1, MPI_INT, 0, node->comm));
    CHECK_MPI(MPI_Allgather(&first, 1, MPI_INT, firsts, 1, MPI_INT, MPI_COMM_WORLD));
    for (int rank = 0; rank < ranks; rank++) sizes[firsts[rank]]++;
    node->all = (WorldNodes){0, ranks, 0};
    for (int rank = 0; rank < ranks; rank++) {
        if (sizes[rank] == 0) continue;
        node->all.count++;
        node->number += rank < first;
        if (sizes[rank] < node->all.least) node->all.least = sizes[rank];
        if (sizes[rank] > node->all.most) node->all.most = sizes[rank];
    }
    free(firsts);
    free(sizes);
}

Node node_create(void)
{
    Node node = {.comm = split()};
    CHECK_MPI(MPI_Comm_rank(node.comm, &node.rank));
    CHECK_MPI(MPI_Comm_size(node.comm, &node.size));
    count_nodes(&node);
    return node;
}

void node_destroy(Node *node) { CHECK_MPI(MPI_Comm_free(&node->comm)); }
