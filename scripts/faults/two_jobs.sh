#!/bin/bash
# test: two jobs started in one folder at the same time
# PAIRS=50, ten pairs at a time.
set -euo pipefail
# shellcheck source=scripts/faults/common.bash
. "$(dirname "$0")/common.bash"

pairs=${PAIRS:-50}
steps=600
at_once=10
options+=(--train.steps="$steps" --output.checkpoint_every=100)

# one_of_two FOLDER: one job trains, the other is refused with one line that says by whom.
one_of_two() {
    local folder=$1 code=0 other=0 log=$TEST_FOLDER/$1
    arguments "$folder"
    OMP_NUM_THREADS=1 "$program" "${arguments[@]}" >"$log.0.out" 2>"$log.0.err" &
    OMP_NUM_THREADS=1 "$program" "${arguments[@]}" >"$log.1.out" 2>"$log.1.err" || code=$?
    wait $! || other=$?
    [ $((code + other)) -eq 1 ] || give_up "$folder: exit codes $code and $other: $(cat "$log".?.err)"
    cat "$log".?.err | grep -q "lock' is held by process" || give_up "$folder: $(cat "$log".?.err)"
    [ "$(cat "$log".?.err | wc -l)" -eq 1 ] || give_up "$folder: more than a line: $(cat "$log".?.err)"
    same_as reference "$folder" $steps
    [ ! -e "$log/lock" ] || give_up "$folder: the lock is left"
    rm -r "$log"
}

train 1 reference "${options[@]}"
for ((i = 0; i < pairs; i++)); do start one_of_two pair-$i; done
finish
echo "$pairs of $pairs times one trained and one was refused, nothing lost"
