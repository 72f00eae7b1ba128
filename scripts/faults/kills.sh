#!/bin/bash
# test: kill -9 of the job or of one rank at random moments, each continued (2 ranks, dropout on)
# seconds: 240
# KILLS=100 in all, FAULT_SEED=1. Every start keeps another of the shares SHARDS="none optimizer"; "gradients parameters" are
# the others among which bits are the same.
set -euo pipefail
# shellcheck source=scripts/faults/common.bash
. "$(dirname "$0")/common.bash"

kills=${KILLS:-100}
read -ra shards <<<"${SHARDS:-none optimizer}"
steps=400
options+=(--train.steps="$steps" --output.checkpoint_every=20 --evaluate.every=100)

# kill_one FOLDER: starts or continues the run and kills it after a random moment, perhaps while it starts or writes. False when
# it was done before.
kill_one() {
    local ranks
    job 2 "$1" --parallel.shard="${shards[RANDOM % ${#shards[@]}]}"
    random_moment 50 1500
    sleep "$(seconds $at_random)"
    mapfile -t ranks < <(ranks_of "$1")
    if ((RANDOM % 2)) || [ ${#ranks[@]} -eq 0 ]; then
        kill -KILL "$job" 2>/dev/null || true
    else
        kill -KILL "${ranks[RANDOM % ${#ranks[@]}]}" 2>/dev/null || true
    fi
    ! end_of "$1"
}

train 2 reference "${options[@]}" --parallel.shard="${shards[0]}"
killed=0
runs=0
while [ "$killed" -lt "$kills" ]; do
    run=run-$runs
    runs=$((runs + 1))
    for _ in {1..10}; do
        if [ "$killed" -eq "$kills" ] || ! kill_one $run; then break; fi
        killed=$((killed + 1))
    done
    none_left $run
    train 2 $run "${options[@]}" --parallel.shard="${shards[0]}"
    same_as reference $run $steps
    rm -r "${TEST_FOLDER:?}/$run"
done
echo "$killed of $killed kills, each continued: bit for bit an undisturbed run ($runs runs of $steps steps)," \
    "metrics without a gap or a double; mpirun had to be ended $launchers_stuck times"
