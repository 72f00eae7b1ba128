/* To be preloaded (LD_PRELOAD): one rank spoils a sum of gradients, through MPI's own profiling interface.

       FAULT_RANK    the rank
       FAULT_FIRST   the number of the first sum that it spoils, 1, 2, ...
       FAULT_LAST    of the last; default the first
       FAULT_KIND    nan: it adds a gradient that is not a number
                     bit: it gets a result with one other bit, and so holds other parameters from then on */
#include <math.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

enum { GRADIENTS = 1000 }; /* no other sum of floats is so long */

static int setting(const char *name, int fallback)
{
    const char *text = getenv(name);
    return text && *text ? atoi(text) : fallback;
}

int MPI_Allreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation, MPI_Comm comm)
{
    static int sums;
    int rank, first = setting("FAULT_FIRST", 0);
    const char *kind = getenv("FAULT_KIND");
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    int spoils = type == MPI_FLOAT && count > GRADIENTS && kind && ++sums >= first &&
                 sums <= setting("FAULT_LAST", first) && rank == setting("FAULT_RANK", 0);
    if (spoils && strcmp(kind, "nan") == 0 && send == MPI_IN_PLACE) ((float *)receive)[count / 2] = NAN;
    int result = PMPI_Allreduce(send, receive, count, type, operation, comm);
    if (spoils && strcmp(kind, "bit") == 0) ((unsigned char *)receive)[2] ^= 1;
    return result;
}
