#!/bin/bash
# Runs the fuzzers of build/fuzz/tests (make fuzz), two at a time, and prints a line for each.
#
#     scripts/fuzz.sh [options|token_file|checkpoint|weights|tokenizer ...]
#
# FUZZ_SECONDS=300 is the time of each, FUZZ_SEED=1 its random seed. Inputs that crash or take longer than five seconds are kept
# in build/fuzz/found/NAME and run once more, to see whose they are: the first frame of the stack that is in the HDF5 library or
# in a file of ours decides. Exit code 1 when one is ours; those of the library are counted apart.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

seconds=${FUZZ_SECONDS:-300}
names=("$@")
[ $# -gt 0 ] || names=(options token_file checkpoint weights tokenizer)
work=$PWD/build/fuzz
# The files that are read: in memory where that is possible.
TMPDIR=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
export ASAN_OPTIONS="allocator_may_return_null=1:handle_abort=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
export LSAN_OPTIONS="suppressions=$PWD/tests/leaks.supp:print_suppressions=0:${LSAN_OPTIONS:-}"

# make_corpora: anew, so that each run starts from the same.
make_corpora() {
    rm -rf "$work/seeds" "$work/corpora" "$work/found"
    mkdir -p "$work/seeds" "$work/corpora" "$work/found"
    ASAN_OPTIONS="detect_leaks=0:$ASAN_OPTIONS" build/asan/tests/make_seeds "$work/seeds"
    /usr/bin/python3 tests/fuzz/make_corpora.py "$work/seeds" "$work/corpora"
}

# run_fuzzer NAME: for the given time, starting again after every crash with what it has learned.
run_fuzzer() {
    local found=$work/found/$1 end=$((SECONDS + seconds)) seed=${FUZZ_SEED:-1}
    mkdir -p "$found"
    : >"$work/$1.log"
    while [ "$SECONDS" -lt "$end" ]; do
        timeout --kill-after=10 $((end - SECONDS + 60)) "$work/tests/fuzz_$1" -timeout=5 -rss_limit_mb=3000 -max_len=100000 \
            -seed="$seed" -max_total_time=$((end - SECONDS)) -print_final_stats=1 -artifact_prefix="$found/" \
            "$work/corpora/$1" >>"$work/$1.log" 2>&1 || true
        seed=$((seed + 1))
    done

}

# whose FUZZER INPUT: prints "library" or "ours" for an input that crashed, hung or leaked, "alone" when it does not in a process
# of its own: then what the library did to its memory before is the cause.
whose() {
    local log status=0
    log=$(timeout --signal=ABRT 20 "$1" "$2" 2>&1) || status=$?
    if [ "$status" -eq 0 ]; then
        echo alone
        return
    fi
    awk '
        /^ *#[0-9]+ 0x/ && /libhdf5/ { print "library"; decided = 1; exit }
        /^ *#[0-9]+ 0x/ && /\/(src|io|mpi|tests)\/[a-z0-9_\/]*\.[ch]:[0-9]/ { print "ours"; decided = 1; exit }
        END { if (!decided) print "ours" }' <<<"$log"
}

# report NAME: the line of a fuzzer; false when something found is ours.
report() {
    local executions input ours=0 library=0 alone=0
    executions=$(awk '/^stat::number_of_executed_units/ { sum += $2 } END { print sum + 0 }' "$work/$1.log")
    for input in "$work/found/$1"/*; do
        [ -e "$input" ] || continue
        case $(whose "$work/tests/fuzz_$1" "$input") in
            library) library=$((library + 1)) ;;
            alone) alone=$((alone + 1)) ;;
            *)
                ours=$((ours + 1))
                echo "    ours: $input"
                ;;
        esac
    done
    printf '%-12s %8s executions, %d crashes or hangs in ours, %d in the HDF5 library, %d not again in a process of its own\n' \
        "$1" "$executions" "$ours" "$library" "$alone"
    [ "$ours" -eq 0 ] && [ "$executions" -gt 0 ]
}

make_corpora
status=0
for name in "${names[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
    run_fuzzer "$name" &
done
wait
for name in "${names[@]}"; do report "$name" || status=1; done
exit "$status"
