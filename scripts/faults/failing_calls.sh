#!/bin/bash
# test: each call that writes to the disk (open, write, fsync, rename, ...) fails in turn
# seconds: 146
# FAILING_EVERY=5: every fifth of them. The fault shim is tests/faults/shims/failing_calls.c.
set -euo pipefail
# shellcheck source=scripts/faults/common.bash
. "$(dirname "$0")/common.bash"

shim=$PWD/build/release/tests/failing_calls.so
options+=(--train.steps=6 --output.checkpoint_every=2)
errors=(28 5) # ENOSPC, EIO

# run_failing FOLDER NUMBER ERRNO: its exit code into $code; what it wrote into FOLDER.out and FOLDER.err.
run_failing() {
    arguments "$1"
    code=0
    env LD_PRELOAD="$shim" FAULT_PATH="$TEST_FOLDER/$1/" FAULT_NUMBER="$2" FAULT_ERRNO="$3" FAULT_COUNT="$TEST_FOLDER/$1.count" \
        OMP_NUM_THREADS=1 "$program" "${arguments[@]}" >"$TEST_FOLDER/$1.out" 2>"$TEST_FOLDER/$1.err" || code=$?
}

# try NUMBER: the run ends in order, every checkpoint under its final name is whole, and the run continues as if nothing had
# happened.
try() {
    local folder=fails-$1 code
    run_failing "$folder" "$1" "${errors[$1 % 2]}"
    [ "$code" -le 1 ] || give_up "call $1: exit code $code: $(cat "$TEST_FOLDER/$folder.err")"
    [ "$code" -eq 0 ] || [ "$(grep -c '^polysketch: ' "$TEST_FOLDER/$folder.err")" -ge 1 ] || give_up "call $1: no word"
    whole_checkpoints "$TEST_FOLDER/$folder" >/dev/null
    train 1 "$folder" "${options[@]}"
    same_as reference "$folder" 6
    echo "$code" >"$TEST_FOLDER/$folder.code"
    rm -r "${TEST_FOLDER:?}/$folder"
}

train 1 reference "${options[@]}"
run_failing counted 0 0
calls=$(<"$TEST_FOLDER/counted.count")
if [ "$code" -ne 0 ] || [ "$calls" -lt 50 ]; then give_up "$calls calls, exit code $code"; fi
tried=0
for ((i = 1; i <= calls; i += ${FAILING_EVERY:-5})); do
    start try "$i"
    tried=$((tried + 1))
done
finish
ended=$(cat "$TEST_FOLDER"/fails-*.code | grep -c 1 || true)
echo "$tried of $calls calls failed, no checkpoint lost; $((tried - ended)) runs went on, $ended ended with a line," \
    "all continued bit for bit"
