#include "mpi/gradient_reduce.h"

#include <mpi.h>

#include "mpi/real_type.h"
#include "mpi/world.h"
#include "src/base/phase.h"

/* Pieces bound the temporary memory of the library's algorithms, which take buffers as long as the message. */
enum { PIECE = 4 << 20 };

double gradient_reduce(real *grads, size_t count)
{
    double start = MPI_Wtime();
    if (world().size == 1) return 0;
    phase_begin(PHASE_COMMUNICATION);
    for (size_t first = 0; first < count; first += PIECE) {
        size_t piece = count - first < PIECE ? count - first : PIECE;
        CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, grads + first, (int)piece, MPI_REAL_TYPE, MPI_SUM, MPI_COMM_WORLD));
    }
    return MPI_Wtime() - start;
}
