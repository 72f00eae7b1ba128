#!/bin/bash
# test: SIGTERM to a rank, SIGUSR1 to mpirun, the file STOP, a time limit: at random moments, each continued
# seconds: 80
# STOPS=20 of each sort, FAULT_SEED=1.
set -euo pipefail
# shellcheck source=scripts/faults/common.bash
. "$(dirname "$0")/common.bash"

stops=${STOPS:-20}
steps=1000000
options+=(--train.steps="$steps" --evaluate.every=50)

# began FOLDER: waits until the job has its folder, long after it began to listen to signals.
began() {
    until [ -e "$TEST_FOLDER/$1/lock" ]; do
        kill -0 "$job" 2>/dev/null || give_up "$1 ended by itself: $(shows "$1" 2>&1)"
        sleep 0.02
    done
}

# stop_one FOLDER HOW: starts or continues the run and stops it, which must end it with exit code 85.
stop_one() {
    local folder=$1 how=$2 code=0 ranks more=()
    random_moment 20 500
    [ "$how" != time ] || more=(--output.stop_after_minutes="0.0$((1 + RANDOM % 2))")
    rm -f "$TEST_FOLDER/$folder/STOP"
    job 2 "$folder" "${more[@]}"
    began "$folder"
    sleep "$(seconds $at_random)"
    case $how in
        term)
            mapfile -t ranks < <(ranks_of "$folder")
            kill -TERM "${ranks[RANDOM % ${#ranks[@]}]}"
            ;;
        usr1) kill -USR1 "$job" ;;
        file) touch "$TEST_FOLDER/$folder/STOP" ;;
    esac
    wait "$job" || code=$?
    [ "$code" -eq 85 ] || give_up "$folder: exit code $code instead of 85 after $how: $(shows "$folder" 2>&1)"
}

for how in term usr1 file time; do
    for ((i = 0; i < stops; i++)); do stop_one $how $how; done
    rm -f "$TEST_FOLDER/$how/STOP"
    last=$(newest $how)
    # The undisturbed run of as many steps; the evaluations of a stopped run may be the next one's to make.
    train 2 reference-$how "${options[@]}" --train.steps="$last"
    train 2 $how "${options[@]}" --train.steps="$last"
    same_as reference-$how $how "$last"
done
echo "$((4 * stops)) of $((4 * stops)) ended with exit code 85, and bit for bit as an undisturbed run"
