# shellcheck shell=bash
# What the rows of the stages of parallel.shard share: try_stage STAGE.
#
# On two ranks, whose sums have two terms, and without clipping, which would bring in the last digit of a norm, all stages give
# the same bits but for that norm. So a run may change from any to any and must end as one that kept copies.
# shellcheck source=scripts/faults/killing.bash
. "$(dirname "${BASH_SOURCE[0]}")/killing.bash"

options+=(--train.clip_norm=0)
norm_slack=1e-12

# cut_newest FILE, flip_newest FILE: what is done to a checkpoint.
cut_newest() { truncate -s $(($(stat -c %s "$1") * 2 / 3)) "$1"; }
flip_newest() {
    quiet python - "$1" <<'END'
import os
import sys
with open(sys.argv[1], "r+b") as file:
    middle = os.path.getsize(sys.argv[1]) // 2
    byte = os.pread(file.fileno(), 1, middle)
    os.pwrite(file.fileno(), bytes([byte[0] ^ 4]), middle)
END
}

# short_run FOLDER STEPS STAGE: starts or continues a run with a checkpoint every two steps.
short_run() {
    train 2 "$1" "${options[@]}" --train.steps="$2" --output.checkpoint_every=2 --evaluate.every=2 --parallel.shard="$3"
}

# warnings_of FOLDER: of all its starts, with RUN for the folder, so that those of two folders are the same words.
warnings_of() { grep '^warning: ' "$TEST_FOLDER/$1/train.log" | sed "s|$TEST_FOLDER/$1|RUN|g"; }

# damaged_run HOW STAGE: the newest checkpoint of a stage is damaged, which copies and the stage find alike: it is set aside, and
# the run goes on from the one before, to the same end.
damaged_run() {
    local how=$1 stage=$2 reader
    for reader in none "$stage"; do
        cp -r "$TEST_FOLDER/short" "$TEST_FOLDER/$how-$reader"
        "$how" "$(checkpoint "$how-$reader" 4)"
        short_run "$how-$reader" 6 "$reader"
        same_as short-whole "$how-$reader" 6
    done
    says "$how-$stage" 'step-00000004.h5.damaged' 'step-00000002.h5: step 2'
    diff <(warnings_of "$how-none") <(warnings_of "$how-$stage") >&2 || give_up "$how: other words with $stage"
}

# try_stage STAGE: STAGE_KILLS=12 kills, and damage to what the stage has written.
try_stage() {
    local stage=$1 how
    shards=("$stage" "$stage" none optimizer gradients parameters)
    undisturbed_run
    kill_runs "${STAGE_KILLS:-12}"
    short_run short 4 "$stage"
    cp -r "$TEST_FOLDER/short" "$TEST_FOLDER/short-whole"
    short_run short-whole 6 none
    for how in cut_newest flip_newest; do damaged_run $how "$stage"; done
    echo "$kill_figure, by this stage and by others; a cut and a flipped checkpoint set aside in the words of copies," \
        "the one before used; mpirun had to be ended $launchers_stuck times"
}
