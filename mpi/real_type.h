/* The MPI type of `real`. */
#ifndef POLYSKETCH_MPI_REAL_TYPE_H
#define POLYSKETCH_MPI_REAL_TYPE_H

#include <mpi.h>

#ifdef REAL_DOUBLE
#define MPI_REAL_TYPE MPI_DOUBLE
#else
#define MPI_REAL_TYPE MPI_FLOAT
#endif

#endif
