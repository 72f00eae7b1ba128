#!/bin/bash
# What each head attends with and how far back, as the run folder and eval tell it: the shares, gates and distances of the NumPy
# model, on any grid of ranks; and pictures of them.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# check NAME RANKS OPTIONS...: a run of two steps is given parameters large enough to matter, and continued by a step that changes
# none of them: its last evaluation is of windows that overlap, the last of them short.
check() {
    local name=$1 ranks=$2
    shift 2
    local options=(--data.validation="$data/validation.h5" --model.width=16 --model.context_length=88 --evaluate.stride=60 "$@")
    train "$ranks" "$name" --train.steps=2 "${options[@]}"
    quiet python "$tools"/spread_parameters.py "$(checkpoint "$name" 2)"
    train "$ranks" "$name" --train.steps=3 --train.learning_rate=0 "${options[@]}"
    evaluate "$ranks" "$name" --attention_distance="$TEST_FOLDER/$name/attention_distance.csv"
    quiet python "$tools"/numpy_reference.py "$(checkpoint "$name" 3)" "$data/validation.h5" --stride=60 \
        --attention="$TEST_FOLDER/$name/attention.csv" --attention_distance="$TEST_FOLDER/$name/attention_distance.csv"
}

# evaluate RANKS NAME OPTIONS...: with overlapping windows.
evaluate() {
    quiet launch "$1" 1 "$program" eval --checkpoint="$(checkpoint "$2" 3)" --data="$data/validation.h5" --stride=60 "${@:3}"
}

# require_words NAME WORDS: the last evaluation of the log says them; "-": neither sketches nor gates.
require_words() {
    local line
    line=$(grep 'validation at step 3' "$TEST_FOLDER/$1/train.log")
    if [ "$2" = - ]; then
        ! grep -qE 'sketched|gates' <<<"$line" || give_up "$1: $line"
    else
        grep -qE -e "$2" <<<"$line" || give_up "$1 does not say '$2': $line"
    fi
}

# eval_table NAME: the lines that eval prints about layers.
eval_table() {
    "$program" eval --checkpoint="$(checkpoint "$1" 3)" --data="$data/validation.h5" --stride=60 | sed -n '/^layer/,$p'
}

# The table of eval is that of the run folder: the mean over the heads of each layer.
test_eval() {
    local expected
    expected=$(awk -F, '$1 == 3 { sum[$2] += 50 * $5 } END { for (i = 0; i < 3; i++) printf "%.1f\n", sum[i] }' \
        "$TEST_FOLDER/hybrid/attention.csv")
    [ "$(eval_table hybrid | awk 'NR > 1 { print $4 }')" = "$expected" ] ||
        give_up "sketched $expected, but eval says: $(eval_table hybrid)"
    eval_table gated | grep -qE 'gates [0-9.]+ to [0-9.]+ tokens' || give_up "$(eval_table gated)"
    [ -z "$(eval_table softmax)" ] || give_up "eval about softmax: $(eval_table softmax)"
}

# Distances leave the losses as they are. Of each layer eval says the mean over its heads, as text and as JSON.
test_distances() {
    local expected name
    for name in hybrid stretches; do
        evaluate 1 "$name" --per_token_loss="$TEST_FOLDER/plain.h5"
        evaluate 1 "$name" --per_token_loss="$TEST_FOLDER/measured.h5" --attention_distance="$TEST_FOLDER/again.csv"
        cmp "$TEST_FOLDER/plain.h5" "$TEST_FOLDER/measured.h5" >&2 || give_up "$name: other losses with distances"
    done
    expected=$(awk -F, 'NR > 1 { sum[$1] += $4 / 2 } END { for (i = 0; i < 3; i++) printf "%.1f\n", sum[i] }' \
        "$TEST_FOLDER/hybrid/attention_distance.csv")
    "$program" eval --checkpoint="$(checkpoint hybrid 3)" --data="$data/validation.h5" --stride=60 \
        --attention_distance="$TEST_FOLDER/again.csv" >"$TEST_FOLDER/eval.txt"
    [ "$(sed -n '/mean distance/,$p' "$TEST_FOLDER/eval.txt" | awk 'NR > 1 { print $2 }')" = "$expected" ] ||
        give_up "distances $expected, but eval says: $(cat "$TEST_FOLDER/eval.txt")"
    "$program" eval --checkpoint="$(checkpoint hybrid 3)" --data="$data/validation.h5" --stride=60 --json \
        --attention_distance="$TEST_FOLDER/again.csv" >"$TEST_FOLDER/eval.json"
    [ "$(python -c 'import json, sys; [print("%.1f" % one["mean_distance"]) for one in json.load(sys.stdin)["distances"]]' \
        <"$TEST_FOLDER/eval.json")" = "$expected" ] || give_up "distances $expected: $(cat "$TEST_FOLDER/eval.json")"
}

test_picture() {
    command -v gnuplot >/dev/null || return 0
    quiet scripts/plot_attention.sh "$TEST_FOLDER/gated"
    quiet scripts/plot_attention.sh "$TEST_FOLDER/softmax" "$TEST_FOLDER/softmax.png"
    quiet scripts/plot_distance.sh "$TEST_FOLDER/hybrid" "$TEST_FOLDER/hybrid.svg"
    grep -q 'equal weights' "$TEST_FOLDER/hybrid.svg" || give_up "no picture of distances"
    if [ ! -s "$TEST_FOLDER/gated/attention.png" ] || [ ! -s "$TEST_FOLDER/softmax.png" ]; then give_up "no picture"; fi
    ! scripts/plot_attention.sh "$TEST_FOLDER" 2>"$TEST_FOLDER/message" || give_up "a picture of nothing"
    grep -q 'attention.csv' "$TEST_FOLDER/message" || give_up "no cause: $(cat "$TEST_FOLDER/message")"
    ! scripts/plot_distance.sh "$TEST_FOLDER" 2>"$TEST_FOLDER/message" || give_up "a picture of no distances"
    grep -q 'eval --attention_distance=' "$TEST_FOLDER/message" || give_up "no remedy: $(cat "$TEST_FOLDER/message")"
}

prepare_data
start check softmax 2 --attention.kind=softmax
start check polynomial 3 --attention.kind=polynomial --attention.gate=constant
start check performer 2 --attention.kind=performer --attention.features=24 --attention.gate=data
start check exact 1 --attention.sketch=random
start check sketch 2 --attention.local=sketch
start check gated 3 --attention.local=window --attention.local_weight=exp --attention.gate=data
start check hybrid 4 --parallel.data_ranks=2 --model.layers=3 --attention.pattern=polysketch:random,softmax,polysketch:learned \
    --attention.local=window --attention.window_blocks=2 --attention.far_scale=0.3
start check stretches 1 --attention.local_weight=exp --train.stretch_length=32
finish
for name in softmax sketch; do require_words "$name" -; done
for name in exact hybrid stretches; do require_words "$name" 'sketched [0-9]+ %'; done
for name in polynomial performer; do require_words "$name" 'gates [0-9.]+ to [0-9.]+ tokens'; done
require_words gated 'sketched [0-9]+ % \| gates [0-9.]+ to [0-9.]+ tokens'
test_eval
test_distances
test_picture
