#!/bin/bash
# Training on several files (data.train = a.h5:0.7,b.h5:0.3): the same on any grid of ranks and when a run continues, with
# documents too; what is said of it; what is refused.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# run RANKS NAME OPTIONS...: four steps of four sequences unless the options say more.
run() {
    train "$1" "$2" --data.train="$mix" --train.steps=4 --train.schedule=constant "${@:3}"
}

check_grids() {
    local grid
    run 1 one
    train_moved 1 one 4 --data.train="$mix" --train.schedule=constant
    for grid in 2/1 3/1 4/2; do
        run "${grid%/*}" "grid-${grid/\//-}" --parallel.data_ranks="${grid#*/}"
        require_close one "grid-${grid/\//-}" one
    done
}

check_resume() {
    run 2 whole
    run 2 parts --train.steps=2
    run 2 parts
    require_equal_losses whole parts
    quiet h5diff "$(checkpoint whole 4)" "$(checkpoint parts 4)" /parameters
    run 2 other --data.train="$TEST_FOLDER/b.h5:0.5,$data/train.h5:0.5" --train.steps=2
    run 2 other
    grep -q 'warning: data.train is not what the checkpoint was trained on' "$TEST_FOLDER/other/train.log" ||
        give_up 'other shares are not noticed'
}

# What is said, here with documents.
check_shares() {
    local log=$TEST_FOLDER/documents/train.log
    run 2 documents --train.document_mask=true
    grep -qF "data: 75.00 % of the sequences from '$data/train.h5'" "$log" || give_up "$(cat "$log")"
    grep -qF "data: 25.00 % of the sequences from '$TEST_FOLDER/b.h5'" "$log" || give_up "$(cat "$log")"
    grep -q "^documents: 3 in data.train" "$log" || give_up "$(cat "$log")"
    quiet "$program" plan tests/data/tiny.ini --data.train="$mix"
}

# refuse WORDS OPTIONS...
refuse() {
    require_refusal "$1" train tests/data/tiny.ini --output.folder="$TEST_FOLDER/refused" "${@:2}"
}

prepare_data
tr aeiou uoiea <"$TEST_FOLDER/text.txt" >"$TEST_FOLDER/b.txt"
printf '%s\n' --- 'the last words' >>"$TEST_FOLDER/b.txt"
quiet "$program" prepare --input="$TEST_FOLDER/b.txt" --output="$TEST_FOLDER/b" --document_separator=--- --validation_fraction=0
mv "$TEST_FOLDER/b/train.h5" "$TEST_FOLDER/b.h5"
mix=$data/train.h5:3,$TEST_FOLDER/b.h5:1

check_grids
start check_resume
start check_shares
finish
refuse "'lots' is no weight" --data.train="$data/train.h5:lots"
refuse 'are one file' --data.train="$data/train.h5,$data/train.h5"
refuse 'takes its text from one' --data.train="$mix" --data.source=needle
refuse 'has .* tokens; a sequence' --data.train="$mix,$data/validation.h5:0.1" --model.context_length=500
