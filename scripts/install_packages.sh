#!/bin/bash
# Sees to it that what a task needs is there. Looks for the things themselves, whoever installed them; what is missing is
# installed on Debian and Ubuntu and only named elsewhere. Says and does nothing when all is there.
#
#     scripts/install_packages.sh [build|test|lint|slurm|run|quality|portability|faults|simulate|kernels]...
#
# Without tasks: the first five.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin

tasks=" ${*:-build test lint slurm run} "

# setting NAME: a setting of config.mk, or of the make that started this script.
setting() {
    # The dollar is for make.
    # shellcheck disable=SC2016
    printf 'include config.mk\n$(info $(%s))\nshow: ;\n' "$1" | make --no-print-directory -sf - show 2>/dev/null
}

# Task, how the thing is found, its name, the Debian package that has it. The libraries are those of config.mk. A wish is a
# command or library without which some of the program or of its tests is left out: installed where that can be done, never
# asked for.
needs='
    build       command gcc                gcc
    build       command make               make
    build       command pkg-config         pkg-config
    build       command git                git
    build       header  stdio.h            libc6-dev
    build       header  Random123/philox.h librandom123-dev
    build       library PACKAGES           -
    build       command mpirun             openmpi-bin
    build       wish    sentencepiece      libsentencepiece-dev
    build       wish    g++                g++
    test        library TEST_PACKAGES      -
    test        command h5diff             hdf5-tools
    test        module  numpy              python3-numpy
    test        module  h5py               python3-h5py
    test        command pgrep              procps
    test        command hostname           hostname
    test        wish    spm_train          sentencepiece
    lint        command python3            python3
    lint        command clang-format       clang-format
    lint        command shellcheck         shellcheck
    slurm       command sbatch             slurm-wlm
    slurm       command munged             munge
    slurm       command gnuplot            gnuplot-nox
    slurm       font    DejaVuSans.ttf     fonts-dejavu-core
    slurm       module  numpy              python3-numpy
    slurm       module  h5py               python3-h5py
    run         command bible              bible-kjv
    run         command gnuplot            gnuplot-nox
    run         font    DejaVuSans.ttf     fonts-dejavu-core
    quality     command bible              bible-kjv
    quality     command gnuplot            gnuplot-nox
    quality     font    DejaVuSans.ttf     fonts-dejavu-core
    quality     module  numpy              python3-numpy
    quality     module  h5py               python3-h5py
    quality     module  pip                python3-pip
    portability command clang-14           clang-14
    portability header  /usr/lib/llvm-14/lib/clang/14.0.6/include/omp.h libomp-14-dev
    portability command mpirun.mpich       mpich
    portability library hdf5-mpich         -
    portability header  blis-openmp/blis.h libblis-openmp-dev
    portability command qemu-x86_64        qemu-user
    portability module  ensurepip          python3-venv
    simulate    command smpirun            libsimgrid-dev
    kernels     library libxsmm            libxsmm-dev
    docs        command pandoc             pandoc
    faults      command clang              clang
    faults      command llvm-symbolizer    llvm
    faults      header  /usr/lib/llvm-14/lib/clang/14.0.6/include/omp.h libomp-14-dev
    faults      header  /usr/lib/llvm-14/lib/clang/14.0.6/include/sanitizer/asan_interface.h libclang-rt-14-dev
    faults      command valgrind           valgrind
'

package_of_library() {
    case $1 in
        openblas | blis) echo "lib$1-openmp-dev" ;;
        ompi-c) echo libopenmpi-dev ;;
        mpich) echo libmpich-dev ;;
        hdf5-*) echo "lib$1-dev" ;;
        libxxhash) echo libxxhash-dev ;;
        jansson) echo libjansson-dev ;;
        libpcre2-8) echo libpcre2-dev ;;
        libutf8proc) echo libutf8proc-dev ;;
        cunit) echo libcunit1-dev ;;
        *) echo "$1" ;;
    esac
}

has() {
    local path
    case $1 in
        command) command -v "$2" ;;
        wish) command -v "$2" || pkg-config --exists "$2" ;;
        library)
            path=$(setting BLAS_FOLDER)
            PKG_CONFIG_PATH="${path:+$path/pkgconfig:}${PKG_CONFIG_PATH:-}" pkg-config --exists "$2"
            ;;
        header) echo "#include <$2>" | ${CC:-gcc} -E -xc -o /dev/null - ;;
        module) /usr/bin/python3 -c "import $2" ;;
        font) find /usr/share/fonts -name "$2" | grep . ;;
    esac >/dev/null 2>&1
}

missing=()
packages=()
wishes=() # packages without which it goes too

# need KIND NAME PACKAGE
need() {
    has "$1" "$2" && return
    if [ "$1" = wish ]; then
        wishes+=("$3")
    else
        missing+=("$2")
        packages+=("$3")
    fi
}

while read -r task kind name package; do
    [[ -n $task && $tasks == *" $task "* ]] || continue
    case $name in
        PACKAGES | TEST_PACKAGES)
            for library in $(setting "$name"); do need library "$library" "$(package_of_library "$library")"; done
            ;;
        hdf5-*) need library "$name" "$(package_of_library "$name")" ;;
        *) need "$kind" "$name" "$package" ;;
    esac
done <<<"$needs"
[ ${#missing[@]} -gt 0 ] || [ ${#wishes[@]} -gt 0 ] || exit 0

# unless_only_wishes: ends the script in peace where nothing else is missing.
unless_only_wishes() { [ ${#missing[@]} -gt 0 ] || exit 0; }

if ! command -v apt-get >/dev/null; then
    unless_only_wishes
    echo "install_packages.sh: not found: ${missing[*]}. Load their modules or install what these Debian packages contain:" \
        "${packages[*]}. Other names of libraries go into PACKAGES of config.mk" >&2
    exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        unless_only_wishes
        echo "install_packages.sh: not root and no sudo. Please have an administrator run: apt-get install ${packages[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes
    apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)

# apt_install PACKAGE...
apt_install() {
    echo "installing $*"
    "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null
}

[ ${#packages[@]} -eq 0 ] || apt_install "${packages[@]}"
[ ${#wishes[@]} -eq 0 ] || apt_install "${wishes[@]}" ||
    echo "install_packages.sh: ${wishes[*]} cannot be installed; what needs them is left out" >&2
