#!/bin/bash
# test: two jobs started in one folder at the same time
# seconds: 85
# PAIRS=50, sixteen pairs at a time.
set -euo pipefail
# shellcheck source=scripts/faults/common.bash
. "$(dirname "$0")/common.bash"

pairs=${PAIRS:-50}
at_once=16
options+=(--data.validation= --output.checkpoint_every=100 --output.keep=0)
longest=8000 # steps, more than a job makes until the other one is refused

# one_of_two FOLDER: one job trains, the other is refused with one line that says by whom. Then the first is stopped, and goes on
# to the next checkpoint of the reference.
one_of_two() {
    local folder=$1 code=0 log=$TEST_FOLDER/$1 jobs=() refused trains last
    arguments "$folder" --train.steps=1000000
    for i in 0 1; do
        OMP_NUM_THREADS=1 "$program" "${arguments[@]}" >"$log.$i.out" 2>"$log.$i.err" &
        jobs+=($!)
    done
    wait -n -p refused "${jobs[@]}" || code=$?
    [ "$code" -eq 1 ] || give_up "$folder: exit code $code: $(cat "$log".?.err)"
    cat "$log".?.err | grep -q "lock' is held by process" || give_up "$folder: $(cat "$log".?.err)"
    [ "$(cat "$log".?.err | wc -l)" -eq 1 ] || give_up "$folder: more than a line: $(cat "$log".?.err)"
    trains=${jobs[0]}
    [ "$trains" != "$refused" ] || trains=${jobs[1]}
    code=0
    kill -USR1 "$trains"
    wait "$trains" || code=$?
    [ "$code" -eq 85 ] || give_up "$folder: exit code $code of the job that trained: $(cat "$log".?.err)"
    last=$((($(newest "$folder") / 100 + 1) * 100))
    train 1 "$folder" "${options[@]}" --train.steps=$last
    same_as reference "$folder" $last
    [ ! -e "$log/lock" ] || give_up "$folder: the lock is left"
    rm -r "$log"
}

train 1 reference "${options[@]}" --train.steps=$longest
for ((i = 0; i < pairs; i++)); do start one_of_two pair-$i; done
finish
echo "$pairs of $pairs times one trained and one was refused, nothing lost"
