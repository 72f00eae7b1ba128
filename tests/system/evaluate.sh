#!/bin/bash
# Evaluation: every token is scored once, also in the last window and in windows that overlap, on any grid of ranks, and in
# agreement with the NumPy model. Where blocks are not part of a model, their length changes nothing.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# evaluate RANKS NAME OPTIONS...: losses per token in $TEST_FOLDER/NAME.h5, what is printed in NAME.txt.
evaluate() {
    local ranks=$1 name=$2
    shift 2
    launch "$ranks" 1 "$program" eval --per_token_loss="$TEST_FOLDER/$name.h5" "$@" >"$TEST_FOLDER/$name.txt" ||
        give_up "eval $* on $ranks ranks"
}

# printed NAME WORD: the number after the word at the start of a line.
printed() {
    awk -v word="$2" '$1 == word { print $2 }' "$TEST_FOLDER/$1.txt"
}

# close NAME LOSS LOSS: two means agree as far as rounding lets a single loss of NAME be (by_numpy has measured that).
close() {
    awk -v allowed="$(<"$TEST_FOLDER/$1.allowed")" -v one="$2" -v other="$3" 'BEGIN {
        difference = one - other; exit !(one > 0 && other > 0 && difference <= allowed && -difference <= allowed) }' ||
        give_up "$1: the losses $2 and $3 differ by more than $(<"$TEST_FOLDER/$1.allowed")"
}

# same NAME NAME: two evaluations printed the same windows, tokens and, but for rounding, losses.
same() {
    [ "$(grep ^windows "$TEST_FOLDER/$1.txt")" = "$(grep ^windows "$TEST_FOLDER/$2.txt")" ] || give_up "windows of $1 and $2"
    [ "$(printed "$1" tokens)" = "$(printed "$2" tokens)" ] || give_up "tokens of $1 and $2"
    close "$1" "$(printed "$1" loss)" "$(printed "$2" loss)"
}

# by_numpy NAME CHECKPOINT TOKENS OPTIONS...: each token against the NumPy model, and the mean that was printed.
by_numpy() {
    local name=$1 checkpoint=$2 tokens=$3
    shift 3
    python "$tools"/numpy_reference.py "$checkpoint" "$tokens" --per_token_loss="$TEST_FOLDER/$name.h5" "$@" \
        >"$TEST_FOLDER/$name.numpy" || give_up "$(cat "$TEST_FOLDER/$name.numpy")"
    sed -n 's/^max abs difference .* of \(.*\) allowed$/\1/p' "$TEST_FOLDER/$name.numpy" >"$TEST_FOLDER/$name.allowed"
    close "$name" "$(printed "$name" loss)" "$(awk '$2 == "loss" { print $3 }' "$TEST_FOLDER/$name.numpy")"
    [ "$(awk '$2 == "loss" { print $5 }' "$TEST_FOLDER/$name.numpy")" = "$(printed "$name" tokens)" ] ||
        give_up "$name: $(cat "$TEST_FOLDER/$name.txt")"
}

# check_windows NAME CHECKPOINT OPTIONS...: the default and another stride, on several grids.
check_windows() {
    local name=$1 file=$2 stride grid
    shift 2
    for stride in 0 17; do
        evaluate 1 "$name-$stride" --checkpoint="$file" --data="$data/validation.h5" --stride=$stride "$@"
        by_numpy "$name-$stride" "$file" "$data/validation.h5" --stride=$stride
        for grid in 2/1 3/1 4/2 3/3; do
            evaluate "${grid%/*}" "$name-$stride-${grid/\//x}" --checkpoint="$file" --data="$data/validation.h5" \
                --stride=$stride --parallel.data_ranks="${grid#*/}" --train.micro_batch_sequences=2 "$@"
            same "$name-$stride" "$name-$stride-${grid/\//x}"
        done
    done
}

# cut TOKENS: the first so many tokens of the validation file, in $TEST_FOLDER/TOKENS.h5.
cut_file() {
    python - "$data/validation.h5" "$TEST_FOLDER/$1.h5" "$1" <<'END'
import shutil, sys, h5py
source, target, count = sys.argv[1:]
shutil.copy(source, target)
with h5py.File(target, "r+") as file:
    tokens = file["tokens"][:int(count)]
    del file["tokens"]
    file.create_dataset("tokens", data=tokens, chunks=True)
END
}

# Shorter than a sequence; as long as one, and as two; a token more. A file of whole sequences leaves nothing unscored.
check_lengths() {
    local file=$1 count
    for count in 2 9 48 49 50 97; do
        cut_file "$count"
        evaluate 1 "cut-$count" --checkpoint="$file" --data="$TEST_FOLDER/$count.h5"
        by_numpy "cut-$count" "$file" "$TEST_FOLDER/$count.h5"
        grep -q "^windows  *$(((count - 2) / 48 + 1)) of 48 tokens, stride 48\$" "$TEST_FOLDER/cut-$count.txt" ||
            give_up "$(cat "$TEST_FOLDER/cut-$count.txt")"
        [ "$(printed "cut-$count" tokens)" = $((count - 1)) ] || give_up "$(cat "$TEST_FOLDER/cut-$count.txt")"
    done
    python - "$TEST_FOLDER/cut-97.h5" <<'END' || give_up "losses of two whole sequences"
import sys, h5py, numpy as np
assert np.isfinite(h5py.File(sys.argv[1])["per_token_loss"][...]).all()
END
}

# check_blocks NAME OPTIONS...: trained with blocks of 16, evaluated with others; linear kinds in stretches too.
check_blocks() {
    local name=$1 stretches ranks block
    shift
    train 1 "$name" "${model[@]}" "$@"
    python "$tools"/spread_parameters.py "$(checkpoint "$name" 2)"
    evaluate 1 "$name" --checkpoint="$(checkpoint "$name" 2)" --data="$data/validation.h5"
    by_numpy "$name" "$(checkpoint "$name" 2)" "$data/validation.h5"
    for stretches in 0 12; do
        [[ $stretches == 0 || $name != softmax && $name != polynomial ]] || continue
        for ranks in 1 3; do
            for block in 4 3; do
                evaluate $ranks "$name-$stretches-$ranks-$block" --checkpoint="$(checkpoint "$name" 2)" \
                    --data="$data/validation.h5" --train.stretch_length=$stretches --attention.block_length=$block
                same "$name" "$name-$stretches-$ranks-$block"
            done
        done
    done
}

model=(--train.steps=2 --model.context_length=48)
prepare_data
train 1 learned "${model[@]}" --data.validation="$data/validation.h5" --evaluate.stride=17
# Training evaluates in the same windows.
evaluate 1 trained --checkpoint="$(checkpoint learned 2)" --data="$data/validation.h5" --stride=17
by_numpy trained "$(checkpoint learned 2)" "$data/validation.h5" --stride=17
close trained "$(printed trained loss)" "$(column loss "$TEST_FOLDER/learned/evaluations.csv")"
[ "$(printed trained tokens)" = "$(column tokens "$TEST_FOLDER/learned/evaluations.csv")" ] || give_up "tokens in training"
python "$tools"/spread_parameters.py "$(checkpoint learned 2)"
train 1 performer "${model[@]}" --attention.kind=performer --attention.features=24

start check_windows learned "$(checkpoint learned 2)"
start check_windows performer "$(checkpoint performer 2)" --train.stretch_length=24 --attention.block_length=8
start check_lengths "$(checkpoint learned 2)"
start check_blocks softmax --attention.kind=softmax
start check_blocks polynomial --attention.kind=polynomial
start check_blocks sketch --attention.local=sketch
start check_blocks random --attention.local=sketch --attention.sketch=random
start check_blocks performer-blocks --attention.kind=performer --attention.features=24
finish
