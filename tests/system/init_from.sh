#!/bin/bash
# A run that begins with the weights of another: the same model predicts the same, another takes what fits and says what does not,
# on any number of ranks; and it is its own run from then on.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# loss_of CHECKPOINT OPTIONS...: of the validation file.
loss_of() {
    local checkpoint=$1
    shift
    OMP_NUM_THREADS=1 "$program" eval --checkpoint="$checkpoint" --data="$data/validation.h5" "$@" |
        awk '$1 == "loss" { print $2 }'
}

# same_tensors FILE FILE PATTERN: those whose name has the pattern are the same bits, and there are some.
same_tensors() {
    quiet python - "$@" <<'END'
import sys
import h5py
one, other, pattern = sys.argv[1:]
with h5py.File(one) as one, h5py.File(other) as other:
    names = [name for name in other["parameters"] if pattern in name]
    assert names, pattern
    for name in names:
        assert one["parameters"][name][...].tobytes() == other["parameters"][name][...].tobytes(), name
END
}

# Without any tensor of its own: the validation loss is the same, at another context length too.
test_same_model() {
    local there here
    train 1 same --train.init_from="$source" --train.seed=2 --train.optimizer=muon --model.context_length=32 --train.steps=0
    says same " 0 new, 0 left"
    same_tensors "$source" "$(checkpoint same 0)" .
    there=$(loss_of "$source" --model.context_length=32)
    here=$(loss_of "$(checkpoint same 0)")
    [[ -n $there && $there == "$here" ]] || give_up "the same weights have losses '$there' and '$here'"
    grep -qx "init_from = $source" "$TEST_FOLDER/same/config.ini" || give_up "config.ini does not say where the run began"
    [ "$("$program" inspect "$(checkpoint same 0)" | grep -cF "init_from = $source")" -eq 1 ] ||
        give_up "the checkpoint does not say where the run began"
}

# Another kind and a layer more; on three ranks the same bits as on one.
test_other_kind() {
    local ranks options=(--attention.kind=performer --model.layers=3 --train.init_from="$source")
    for ranks in 1 3; do
        train $ranks kind-$ranks "${options[@]}" --train.steps=0
        says kind-$ranks "20 tensors taken, 11 new, 40 left" "layers 0 to 1: attention.performer.projection" \
            "attention.query_norm.weight, .bias" "attention.kind = performer (there polysketch)" "model.layers = 3 (there 2)"
    done
    train 1 kind-fresh --attention.kind=performer --model.layers=3 --train.steps=0
    same_tensors "$(checkpoint kind-1 0)" "$(checkpoint kind-3 0)" .
    same_tensors "$(checkpoint kind-fresh 0)" "$(checkpoint kind-1 0)" layers.2.
    same_tensors "$(checkpoint kind-fresh 0)" "$(checkpoint kind-1 0)" performer
    same_tensors "$source" "$(checkpoint kind-1 0)" layers.1.attention.qkv
}

# The file is read once: the run goes on without it, whether or not the option is given again, and the record stays.
test_own_run() {
    local lost=$TEST_FOLDER/lost.h5
    cp "$source" "$lost"
    train 1 own --train.init_from="$lost" --train.steps=2
    rm "$lost"
    train 1 own --train.init_from="$lost" --train.steps=3
    train 1 own --train.steps=4
    grep -qx "init_from =  ; here $lost" "$TEST_FOLDER/own/config.ini" || give_up "a run forgot where it began"
    [ "$("$program" inspect "$(checkpoint own 4)" | grep -cF "init_from = $lost")" -eq 1 ] ||
        give_up "a checkpoint forgot where its run began"
    [ "$(grep -c "tensors taken" "$TEST_FOLDER/own/train.log")" -eq 1 ] || give_up "the file was read more than once"
    [ "$(column step "$TEST_FOLDER/own/metrics.csv" | paste -sd ,)" = 1,2,3,4 ] || give_up "the steps are not 1 to 4"
}

# damage CHECKPOINT: another number in one of its tensors.
damage() {
    quiet python -c 'import h5py, sys; h5py.File(sys.argv[1], "r+")["parameters/final_norm.weight"][0] = 7' "$1"
}

# A run that begins anew over a damaged checkpoint begins as it is asked now, not as that one did; and all that is damaged stays.
test_damaged_beginning() {
    local file
    train 1 anew --train.init_from="$source" --train.steps=0
    file=$(checkpoint anew 0)
    damage "$file"
    train 1 anew --overwrite --train.steps=0
    [ "$(grep -c "tensors taken" "$TEST_FOLDER/anew/train.log")" -eq 1 ] || give_up "weights that nobody asked for"
    damage "$file"
    train 1 anew --overwrite --train.init_from="$source" --train.steps=0
    [ "$(grep -c "tensors taken" "$TEST_FOLDER/anew/train.log")" -eq 2 ] || give_up "weights that were asked for are not taken"
    [ "$("$program" inspect "$file" | grep -cF "init_from = $source")" -eq 1 ] || give_up "it does not say where it began"
}

# Weights beyond reason spoil the very first step: no learning rate is to blame for that.
test_spoilt_weights() {
    local file=$TEST_FOLDER/spoilt.h5 code=0
    cp "$source" "$file"
    quiet python -c 'import h5py, sys, numpy as np
with h5py.File(sys.argv[1], "r+") as file:
    for name in ("final_norm.weight", "token_embedding.weight"):
        weights = file["parameters"][name]
        weights[...] = 1e38 * (-1.0) ** np.arange(weights.size).reshape(weights.shape)
        del weights.attrs["xxh3"]' "$file"
    OMP_NUM_THREADS=1 "$program" train tests/data/tiny.ini --data.train="$data/train.h5" --output.folder="$TEST_FOLDER/spoilt" \
        --train.init_from="$file" --train.steps=9 --train.max_skipped_steps=2 >/dev/null 2>"$file.err" || code=$?
    [ "$code" -eq 1 ] || give_up "weights of 1e38: exit code $code"
    grep -q "3 steps in a row could not be used. The first of all is among them.*train.init_from" "$file.err" ||
        give_up "not the cause: $(<"$file.err")"
}

prepare_data
train 1 source --train.steps=6
source=$(checkpoint source 6)
start test_same_model
start test_other_kind
start test_own_run
start test_damaged_beginning
start test_spoilt_weights
finish
