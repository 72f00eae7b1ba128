#!/bin/bash
# test: NaN in one gradient on one rank; one changed bit in a gradient of one rank (3 ranks)
# seconds: 11
set -euo pipefail
# shellcheck source=scripts/faults/common.bash
. "$(dirname "$0")/common.bash"

shim=$PWD/build/release/tests/faulty_sums.so
options+=(--train.steps=30 --output.checkpoint_every=10)

# spoilt FOLDER KIND RANK FIRST LAST: the run with spoilt sums; its exit code into $code.
spoilt() {
    code=0
    arguments "$1"
    launch_command 3 1
    "${LAUNCH[@]}" env LD_PRELOAD="$shim" FAULT_KIND="$2" FAULT_RANK="$3" FAULT_FIRST="$4" FAULT_LAST="$5" \
        "$program" "${arguments[@]}" >"$TEST_FOLDER/$1.out" 2>"$TEST_FOLDER/$1.err" || code=$?
}

# said FILE WORDS: what it should have said.
said() { grep -q "$2" "$TEST_FOLDER/$1" || give_up "no word of '$2' in $1: $(tail -n 3 "$TEST_FOLDER/$1")"; }

train 3 reference "${options[@]}"

spoilt once nan 1 5 5
[ "$code" -eq 0 ] || give_up "exit code $code after one NaN: $(<"$TEST_FOLDER/once.err")"
[ "$(column skipped "$TEST_FOLDER/once/metrics.csv" | tr -d '\n')" = 000010000000000000000000000000 ] ||
    give_up "not step 5 alone is skipped"
said once.out 'step 5 is skipped'

spoilt always nan 2 15 1000
[ "$code" -eq 1 ] || give_up "exit code $code after many NaN"
said always.err '11 steps in a row could not be used.*the last checkpoint is of step 14'
train 3 always "${options[@]}"
same_as reference always 30

spoilt drifted bit 2 13 13
[ "$code" -eq 1 ] || give_up "exit code $code with other parameters on a rank"
said drifted.err 'of rank 2 are not those of the other ranks'
train 3 drifted "${options[@]}"
same_as reference drifted 30
echo "one NaN: step 5 skipped alone; NaN for ever: ended after 11, continued from before;" \
    "other bits: rank 2 named, continued from before"
