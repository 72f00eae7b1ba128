#!/bin/bash
# Do two versions of the program compute the same bits? Trains a small model of every kind with both, on several grids of ranks,
# and compares losses, parameters and states of the optimizer bit by bit.
#
#     scripts/compare_versions.sh OTHER_PROGRAM [OPTIONS OF THIS ONE...]
#
# OTHER_PROGRAM is a build of another version, for example in `git worktree add /tmp/other COMMIT`. Prints a line per kind and
# grid as CSV. Exit code 1 when one differs. STEPS=50.
set -euo pipefail
other=$(realpath "$1")
extra=("${@:2}")
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/../tests/system/common.bash"

steps=${STEPS:-50}
kinds=('kind=softmax' 'kind=polynomial' 'kind=polynomial degree=8' 'kind=performer features=32'
    'kind=polysketch sketch=random degree=2 local=exact' 'kind=polysketch sketch=random degree=4 local=exact'
    'kind=polysketch sketch=random degree=8 local=sketch' 'kind=polysketch sketch=learned local=exact'
    'kind=polysketch sketch=learned local=sketch')
grids=('1 1' '2 1' '3 1' '4 2')

# run PROGRAM FOLDER RANKS DATA_RANKS OPTIONS...
run() {
    local folder=$2 ranks=$3 data_ranks=$4
    launch_command "$ranks" 1
    quiet "${LAUNCH[@]}" "$1" train tests/data/tiny.ini --data.train="$data/train.h5" --output.folder="$folder" \
        --parallel.data_ranks="$data_ranks" --train.steps="$steps" --train.schedule=constant --model.dropout=0.1 \
        --model.layers=3 --train.clip_norm=0.5 --output.log_every=1000000 "${@:5}"
}

version() { "$1" --version | awk 'NR == 1 { print $2 }'; }

prepare_data
status=0
echo 'kind,ranks,data_ranks,steps,verdict,this_version,other_version'
for kind in "${kinds[@]}"; do
    options=()
    for word in $kind; do options+=("--attention.$word"); done
    for grid in "${grids[@]}"; do
        read -r ranks data_ranks <<<"$grid"
        rm -rf "$TEST_FOLDER"/{this,other}
        run "$other" "$TEST_FOLDER/other" "$ranks" "$data_ranks" "${options[@]}"
        run "$program" "$TEST_FOLDER/this" "$ranks" "$data_ranks" "${options[@]}" "${extra[@]}"
        verdict=same
        python tests/faults/compare_runs.py "$TEST_FOLDER/other" "$TEST_FOLDER/this" "$steps" >&2 || verdict=different
        [ "$verdict" = same ] || status=1
        echo "$kind,$ranks,$data_ranks,$steps,$verdict,$(version "$program"),$(version "$other")"
    done
done
exit "$status"
