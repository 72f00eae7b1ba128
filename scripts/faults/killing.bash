# shellcheck shell=bash
# What the rows of killed runs share, with all that common.bash has. A row sets `shards`, of which every start of a run keeps
# another (parallel.shard). A run has KILL_STEPS=400.
# shellcheck source=scripts/faults/common.bash
. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

steps=${KILL_STEPS:-400}
options+=(--train.steps="$steps" --output.checkpoint_every=20 --evaluate.every=100)
shards=(none)
latest=0 # milliseconds after which a start may be killed
killed_code=137 # of a launcher that SIGKILL ended, or one of whose ranks

# undisturbed_run: "reference", which says how long a run takes on this machine.
undisturbed_run() {
    local start=${EPOCHREALTIME//./}
    train 2 reference "${options[@]}"
    latest=$(((${EPOCHREALTIME//./} - start) / 1000))
}

# any_shard: one of them, into $shard.
any_shard() { shard=${shards[RANDOM % ${#shards[@]}]}; }

# kill_one FOLDER: starts or continues the run and kills it after a random moment, perhaps while it starts or writes. False when
# it was done before. A start that ends by itself in any other way ends the row: the next one would hide it.
kill_one() {
    local ranks shard code=0
    any_shard
    job 2 "$1" --parallel.shard="$shard"
    random_moment 50 $latest
    sleep "$(seconds $at_random)"
    mapfile -t ranks < <(ranks_of "$1")
    if ((RANDOM % 2)) || [ ${#ranks[@]} -eq 0 ]; then
        kill -KILL "$job" 2>/dev/null || true
    else
        kill -KILL "${ranks[RANDOM % ${#ranks[@]}]}" 2>/dev/null || true
    fi
    end_of "$1" || code=$?
    case $code in
        0) return 1 ;;
        "$killed_code") ;;
        *) give_up "exit code $code of a start of $1: $(tail -n 30 "$TEST_FOLDER/$1.log")" ;;
    esac
}

# kill_runs KILLS: so many in all, ten of a run at most, which then ends as the reference did; what there is to say goes into
# `kill_figure`.
kill_runs() {
    local killed=0 runs=0 run shard
    while [ "$killed" -lt "$1" ]; do
        run=run-$runs
        runs=$((runs + 1))
        for _ in {1..10}; do
            if [ "$killed" -eq "$1" ] || ! kill_one $run; then break; fi
            killed=$((killed + 1))
        done
        none_left $run
        any_shard
        train 2 $run "${options[@]}" --parallel.shard="$shard"
        same_as reference $run $steps
        rm -r "${TEST_FOLDER:?}/$run"
    done
    kill_figure="$killed of $killed kills, each continued: bit for bit an undisturbed run ($runs runs of $steps steps)"
}
