# What a user may want to change; the Makefile itself need not be edited.
# Each line can also be given on the command line: make CC=clang WERROR=1

# Compiler. The MPI, HDF5 and BLAS flags come from pkg-config, so no compiler wrapper (mpicc) is needed.
CC = gcc

# Which build: release, debug, asan (address and undefined behaviour sanitizers), double (real = double, for gradient checks).
VARIANT = release

# Processor to generate code for. On a cluster whose nodes differ from the login node: ARCH = x86-64-v3 or the nodes' type.
ARCH = native

# Appended to the name of the build folder, so that builds with other settings stand beside each other: FLAVOUR=-clang.
FLAVOUR ?=

# 1 turns warnings into errors.
WERROR = 0

# Parallel compile jobs where the command line gives no -j.
JOBS = $(shell nproc 2>/dev/null || echo 2)

# Which MPI library, with the HDF5 that was built for it: openmpi or mpich. MPIRUN=mpirun.mpich in the environment of the scripts
# chooses the starter that belongs to it.
MPI = openmpi
MPI_PACKAGES_openmpi = hdf5-openmpi ompi-c
MPI_PACKAGES_mpich = hdf5-mpich mpich

# Which BLAS library: openblas, blis or mkl, in a build with the threads of OpenMP. `polysketch --version` names it.
BLAS = openblas
BLAS_PACKAGES_openblas = openblas
BLAS_PACKAGES_blis = $(if $(BLAS_FOLDER),,blis)
BLAS_PACKAGES_mkl = mkl-dynamic-lp64-gomp

# Folder of the OpenMP flavour of OpenBLAS or BLIS (Debian, Ubuntu). It is preferred where it exists: the pthreads flavour keeps
# threads of its own, which get in the way of OpenMP's. Elsewhere pkg-config's usual package is taken.
BLAS_FOLDER = $(firstword $(wildcard /usr/lib/*/$(BLAS)-openmp))

# The library of SentencePiece, for tokenizers of that form; it wants a C++ compiler, CXX. Where pkg-config does not find it the
# program is built without. SENTENCEPIECE= leaves it out in any case.
SENTENCEPIECE := $(shell pkg-config --exists sentencepiece 2>/dev/null && command -v $(CXX) >/dev/null && echo sentencepiece)

# pkg-config packages of the program and of its tests. In PCRE2 scripts are properties (sc:Han) from 10.40 on.
LEAST_VERSIONS = libpcre2-8 >= 10.40
PACKAGES = $(BLAS_PACKAGES_$(BLAS)) $(MPI_PACKAGES_$(MPI)) libxxhash jansson libpcre2-8 libutf8proc
TEST_PACKAGES = cunit

# Where `make install` puts things. For making packages DESTDIR=FOLDER is put before it.
PREFIX = /usr/local

# Anything extra.
EXTRA_CFLAGS =
EXTRA_LDFLAGS =
EXTRA_LDLIBS =
