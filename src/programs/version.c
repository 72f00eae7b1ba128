/* polysketch --version: what to say in a report, and what tells two builds apart. */
#include <stdio.h>

#include "io/file_format.h"
#include "mpi/world.h"
#include "src/base/real.h"
#include "src/base/version.h"
#include "src/programs/programs.h"
#include "src/tensor/blas.h"
#include "src/text/cutter.h"

void print_version(void)
{
    char mpi[128], blas[BLAS_DESCRIPTION_SIZE], hdf5[64], texts[128];
    world_library(mpi, sizeof mpi);
    blas_describe(blas);
    file_format_library(hdf5);
    cutter_libraries(texts);
    printf("polysketch %s\n", source_version());
    printf("compiler  %s\n", build_compiler());
    printf("flags     %s\n", build_flags());
    printf("numbers   %zu bits\n", 8 * sizeof(real));
    printf("MPI       %s\n", mpi);
    printf("BLAS      %s\n", blas);
    printf("HDF5      %s\n", hdf5);
    printf("texts     %s\n", texts);
}
