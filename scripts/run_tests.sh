#!/bin/bash
# Runs the tests that `make VARIANT=... tests` has built, one line each, and ends with "failed: ..." for each
# that did and a line "N passed, N failed".
#
#     scripts/run_tests.sh [unit|mpi|system|all] [PATTERN]      e.g.  scripts/run_tests.sh mpi 'test_scan*'
#
# unit    tests/unit/test_*.c     one process, 2 OpenMP threads         variants release, double, asan
# mpi     tests/mpi/test_*.c      1, 2, 3, 4 ranks (asan: 3)            variants release, double, asan
# system  tests/system/*.sh       the program build/release/polysketch as a user sees it
#
# Variables: VARIANTS="release double asan", RANKS="1 2 3 4", ASAN_RANKS=3, THREADS (of each rank and of unit tests),
# FLAVOUR and MPIRUN (as in config.mk and scripts/environment.sh), TIME_LIMIT=120 (seconds for one test; a test that needs
# more says so in a comment "time limit: 300 s"). A unit test of many tiny models, which threads only slow down, says
# "threads: 1" and has one, whatever THREADS is. Tests start in the repository root; TEST_FOLDER names an empty folder
# of their own, the same for all ranks, removed afterwards unless the test fails. Logs are in build/test-logs/; a line
# "skipped: ..." in one, of what could not be tried here, is shown.
set -euo pipefail
export LC_ALL=C

cd "$(dirname "$0")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

kind=${1:-all}
pattern=${2:-*}
variants=${VARIANTS:-release double asan}
ranks_list=${RANKS:-1 2 3 4}
asan_ranks_list=${ASAN_RANKS:-3}
default_limit=${TIME_LIMIT:-120}
flavour=${FLAVOUR:-}
logs=build/test-logs$flavour
passed=0
failures=()

case $kind in
    all | unit | mpi | system) ;;
    *)
        sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac

# Anything lost or undefined ends the test; what the MPI and HDF5 libraries keep is named in tests/leaks.supp.
export ASAN_OPTIONS="detect_leaks=1:fast_unwind_on_malloc=0:malloc_context_size=6:${ASAN_OPTIONS:-}"
export LSAN_OPTIONS="suppressions=$PWD/tests/leaks.supp:print_suppressions=0:${LSAN_OPTIONS:-}"
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:${UBSAN_OPTIONS:-}"

# mpirun makes and removes a folder that is the same for all jobs of a user, and fails when another job removes it meanwhile,
# which tests that start several would meet one day: it is not empty until the end.
shared=${TMPDIR:-/tmp}/ompi.$(hostname -s).$(id -u)
(umask 077 && mkdir -p "$shared/tests.$$") && trap 'rmdir "$shared/tests.$$"' EXIT

mkdir -p "$logs"
running=
trap '[ -z "$running" ] || kill "$running" 2>/dev/null; echo; echo "interrupted"; exit 130' INT TERM

# stated SOURCE WORDS DEFAULT: the number behind the words in a comment of a test.
stated() {
    local number
    number=$(sed -n "s/.*$2: \([0-9][0-9]*\).*/\1/p" "$1" | head -n 1)
    echo "${number:-$3}"
}

# run_one SOURCE VARIANT RANKS COMMAND...: runs one test and prints its line.
run_one() {
    local source=$1 variant=$2 ranks=$3 name log limit folder start status=0 verdict=ok
    shift 3
    name=$(basename "${source%.*}")
    log="$logs/$name.$variant.$ranks.log"
    limit=$(stated "$source" 'time limit' "$default_limit")
    folder="$PWD/$logs/$name.$variant.$ranks.files"
    rm -rf "$folder"
    mkdir -p "$folder"

    start=${EPOCHREALTIME/./}
    # In the background, so that an interrupt is heeded at once and passed on.
    TEST_FOLDER=$folder timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 </dev/null &
    running=$!
    wait "$running" || status=$?
    running=
    local elapsed=$(((${EPOCHREALTIME/./} - start) / 10000))

    if [ "$status" -ne 0 ] && [ "$elapsed" -ge $((limit * 100)) ]; then
        verdict="FAILED (stopped after $limit s)"
    elif [ "$status" -ne 0 ]; then
        verdict="FAILED (exit code $status)"
    fi
    printf '%-36s %-8s %s  %5d.%02d s  %s\n' "$name" "$variant" "$ranks" $((elapsed / 100)) $((elapsed % 100)) "$verdict"
    grep -h '^skipped: ' "$log" | sed 's/^/    /' || true
    if [ "$verdict" = ok ]; then
        passed=$((passed + 1))
        rm -rf "$folder"
    else
        failures+=("$name $variant $ranks: $verdict")
        rmdir "$folder" 2>/dev/null || true
        printf '    %s, last lines:\n' "$log"
        tail -n 30 "$log" | sed 's/^/    | /'
    fi
}

# selected FILE: whether it is there and its name matches the pattern, with or without "test_" and the ending.
selected() {
    local name
    name=$(basename "${1%.*}")
    # The pattern is meant to be one: unquoted.
    # shellcheck disable=SC2053
    [ -e "$1" ] && { [[ $name == $pattern ]] || [[ ${name#test_} == $pattern ]]; }
}

if [ "$kind" = unit ] || [ "$kind" = all ]; then
    for variant in $variants; do
        for source in tests/unit/test_*.c; do
            if selected "$source"; then
                # Threads that wait give up their core: the machine may be busy with other things.
                threads=$(stated "$source" threads "${THREADS:-2}")
                run_one "$source" "$variant" 1 env OMP_NUM_THREADS="$threads" OMP_WAIT_POLICY=passive \
                    "build/$variant$flavour/tests/$(basename "${source%.c}")"
            fi
        done
    done
fi

if [ "$kind" = mpi ] || [ "$kind" = all ]; then
    for variant in $variants; do
        case $variant in
            asan) counts=$asan_ranks_list ;;
            *) counts=$ranks_list ;;
        esac
        for source in tests/mpi/test_*.c; do
            for ranks in $counts; do
                if selected "$source"; then
                    launch_command "$ranks" "${THREADS:-1}"
                    run_one "$source" "$variant" "$ranks" "${LAUNCH[@]}" \
                        "build/$variant$flavour/tests/$(basename "${source%.c}")"
                fi
            done
        done
    done
fi

if [ "$kind" = system ] || [ "$kind" = all ]; then
    for source in tests/system/*.sh; do
        if selected "$source"; then
            run_one "$source" release - bash "$source"
        fi
    done
fi

failed=${#failures[@]}
if [ $((passed + failed)) -eq 0 ]; then
    echo "no test is named '$pattern'"
fi
# Once more where a reader looks first.
[ "$failed" -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
