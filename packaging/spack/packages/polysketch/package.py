# Copyright (c) 2026 The polysketch authors. MIT License.
#
# A repository of one package for Spack. Make the archive with `make dist`, then, in the folder where it is (build/):
#
#     spack repo add .../packaging/spack
#     spack install polysketch            (or: spack dev-build polysketch@1.0.0, in a clone)
import os

from spack.package import *


class Polysketch(MakefilePackage):
    """A distributed trainer, in C, for PolySketchFormer language models, for clusters of CPUs."""

    homepage = "https://arxiv.org/abs/2310.01655"
    url = f"file://{os.getcwd()}/polysketch-1.0.0.tar.gz"
    license("MIT")

    version("1.0.0")

    variant("blas", default="openblas", values=("openblas", "blis", "mkl"), description="Library of dense products")

    variant("sentencepiece", default=False, description="Tokenizers of SentencePiece")

    depends_on("c", type="build")
    depends_on("cxx", type="build", when="+sentencepiece")
    depends_on("gmake", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi")
    depends_on("hdf5+mpi")
    depends_on("xxhash@0.8:")
    depends_on("random123")
    depends_on("jansson")
    depends_on("pcre2@10.40:")
    depends_on("utf8proc")
    depends_on("sentencepiece", when="+sentencepiece")
    depends_on("openblas threads=openmp", when="blas=openblas")
    depends_on("blis threads=openmp", when="blas=blis")
    depends_on("intel-oneapi-mkl threads=openmp", when="blas=mkl")

    def settings(self):
        """What stands in config.mk, in Spack's names of packages. Debian's folders must not be taken where they exist."""
        mpi = "mpich" if self.spec.satisfies("^[virtuals=mpi] mpich") else "openmpi"
        library = "mpich" if mpi == "mpich" else "ompi-c"
        return [
            "CC=cc",
            "CXX=c++",
            f"BLAS={self.spec.variants['blas'].value}",
            "BLAS_FOLDER=",
            "SENTENCEPIECE=" + ("sentencepiece" if self.spec.satisfies("+sentencepiece") else ""),
            f"MPI={mpi}",
            f"MPI_PACKAGES_{mpi}=hdf5 {library}",
            f"PREFIX={self.prefix}",
        ]

    @property
    def build_targets(self):
        return self.settings()

    @property
    def install_targets(self):
        return ["install"] + self.settings()
