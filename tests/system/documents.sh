#!/bin/bash
# train.document_mask: losses token by token and gradients are those of the NumPy model, for every kind, on any grid and in
# stretches; documents said by /documents or by the token that ends them; runs continue bit by bit; what does not say them is
# refused.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# with_documents SOURCE.h5 TARGET.h5 HOW: a document ends at two of seven blanks or so; said as starts, or by the token that ends
# them (end).
with_documents() {
    python - "$@" <<'PYTHON'
import shutil, sys
import h5py
import numpy as np
source, target, how = sys.argv[1:]
shutil.copy(source, target)
with h5py.File(target, "r+") as file:
    if "documents" in file:
        del file["documents"]
    tokens = file["tokens"][...]
    ends = np.flatnonzero(tokens == ord(" "))
    ends = ends[ends % 7 < 2]
    tokens[ends] = 1
    del file["tokens"]
    file.create_dataset("tokens", data=tokens, chunks=True)
    starts = ends[ends + 1 < len(tokens)] + 1
    assert len(starts) > 10
    if how == "starts":
        file["documents"] = np.concatenate(([0], starts)).astype(np.uint64)
    elif how == "end":
        file.attrs["end_of_document"] = 1
PYTHON
}

# evaluate RANKS NAME CHECKPOINT DATA OPTIONS...: losses per token in $TEST_FOLDER/NAME.h5, what is printed in NAME.txt.
evaluate() {
    local ranks=$1 name=$2
    launch "$ranks" 1 "$program" eval --checkpoint="$3" --data="$4" --per_token_loss="$TEST_FOLDER/$name.h5" "${@:5}" \
        >"$TEST_FOLDER/$name.txt" || give_up "eval ${*:2} on $ranks ranks"
}

# by_numpy NAME CHECKPOINT DATA OPTIONS...
by_numpy() {
    quiet python "$tools"/numpy_reference.py "$2" "$3" --per_token_loss="$TEST_FOLDER/$1.h5" "${@:4}"
}

# check NAME OPTIONS...: trained on two ranks, evaluated on three, and on one by the token that ends documents.
check() {
    local name=$1 file
    shift
    train 2 "$name" "${model[@]}" "$@"
    file=$(checkpoint "$name" 2)
    quiet python "$tools"/spread_parameters.py "$file"
    evaluate 3 "$name" "$file" "$TEST_FOLDER/starts.h5"
    by_numpy "$name" "$file" "$TEST_FOLDER/starts.h5"
    evaluate 1 "$name-end" "$file" "$TEST_FOLDER/end.h5" --train.micro_batch_sequences=3
    by_numpy "$name-end" "$file" "$TEST_FOLDER/starts.h5"
    grep -q "^documents  *$documents, none" "$TEST_FOLDER/$name-end.txt" || give_up "$(cat "$TEST_FOLDER/$name-end.txt")"
}

# check_gradient NAME OPTIONS...: from a file that is one sequence.
check_gradient() {
    local name=$1 options
    shift
    options=(--data.train="$TEST_FOLDER/sequence.h5" --train.clip_norm=0 --train.batch_sequences=2 --model.width=16
        --model.context_length=60 --attention.block_length=8 --train.document_mask=true --output.checkpoint_at_start=true)
    train 1 "$name" "${options[@]}" "$@" --train.steps=0
    quiet python "$tools"/spread_parameters.py "$(checkpoint "$name" 0)"
    train 2 "$name" "${options[@]}" "$@" --train.steps=1
    quiet python "$tools"/check_gradient.py "$(checkpoint "$name" 0)" "$(checkpoint "$name" 1)" "$TEST_FOLDER/sequence.h5"
}

# refuse WORDS ARGUMENTS...: no run folder either.
refuse() {
    require_refusal "$@"
    [ ! -e "$TEST_FOLDER/refused" ] || give_up "a run folder after $*"
}

check_refusals() {
    local tiny=(train tests/data/tiny.ini --output.folder="$TEST_FOLDER/refused" --train.document_mask=true)
    refuse "neither /documents nor" "${tiny[@]}" --data.train="$TEST_FOLDER/silent.h5"
    refuse "silent.h5' does not say" "${tiny[@]}" --data.train="$TEST_FOLDER/starts.h5" --data.validation="$TEST_FOLDER/silent.h5"
    refuse "data.source = copying" "${tiny[@]}" --data.source=copying
    refuse "train.document_mask = false" eval --checkpoint="$(checkpoint learned 2)" --data="$TEST_FOLDER/silent.h5"
}

# The mask of a run is that of its evaluations, unless eval says otherwise.
check_choice() {
    local file
    file=$(checkpoint learned 2)
    evaluate 1 unmasked "$file" "$TEST_FOLDER/silent.h5" --train.document_mask=false
    by_numpy unmasked "$file" "$TEST_FOLDER/silent.h5" --document_mask=false
    if cmp -s "$TEST_FOLDER/unmasked.h5" "$TEST_FOLDER/learned.h5"; then give_up "the mask changes nothing"; fi
    train 1 plain --train.steps=2 --model.width=16 --model.context_length=96
    quiet python "$tools"/spread_parameters.py "$(checkpoint plain 2)"
    evaluate 2 masked "$(checkpoint plain 2)" "$TEST_FOLDER/starts.h5" --train.document_mask=true --stride=40
    by_numpy masked "$(checkpoint plain 2)" "$TEST_FOLDER/starts.h5" --document_mask=true --stride=40
}

# Evaluations of a run heed documents too: their loss and what heads attend with.
check_evaluations() {
    local file loss
    train 2 evaluated "${model[@]}" --data.validation="$TEST_FOLDER/starts.h5" --attention.local=window --attention.gate=data
    file=$(checkpoint evaluated 2)
    quiet python "$tools"/numpy_reference.py "$file" "$TEST_FOLDER/starts.h5" \
        --attention="$TEST_FOLDER/evaluated/attention.csv"
    evaluate 2 evaluated "$file" "$TEST_FOLDER/starts.h5" --train.micro_batch_sequences=4
    by_numpy evaluated "$file" "$TEST_FOLDER/starts.h5"
    loss=$(awk '$1 == "loss" { print $2 }' "$TEST_FOLDER/evaluated.txt")
    [ "$loss" = "$(printf '%.9g' "$(column loss "$TEST_FOLDER/evaluated/evaluations.csv")")" ] ||
        give_up "loss $loss in eval, $(column loss "$TEST_FOLDER/evaluated/evaluations.csv") in training"
}

# Stopped and continued: the same bits.
check_resume() {
    local options=("${model[@]}" --attention.local=window --attention.gate=data --train.schedule=constant)
    train 2 whole "${options[@]}" --train.steps=4
    train 2 parts "${options[@]}"
    train 2 parts "${options[@]}" --train.steps=4
    quiet h5diff "$(checkpoint whole 4)" "$(checkpoint parts 4)" /parameters
}

prepare_data
with_documents "$data/train.h5" "$TEST_FOLDER/train.h5" starts
for how in starts end none; do with_documents "$data/validation.h5" "$TEST_FOLDER/$how.h5" $how; done
mv "$TEST_FOLDER/none.h5" "$TEST_FOLDER/silent.h5"
documents=$(python -c 'import h5py, sys; print(len(h5py.File(sys.argv[1])["documents"]))' "$TEST_FOLDER/starts.h5")
python - "$TEST_FOLDER/starts.h5" "$TEST_FOLDER/sequence.h5" <<'PYTHON'
import sys, h5py, numpy as np
with h5py.File(sys.argv[1]) as source, h5py.File(sys.argv[2], "w") as file:
    file.attrs.update({"format": "polysketch-tokens", "format_version": 1, "tokenizer": "letters", "vocab_size": 128})
    file["tokens"] = source["tokens"][:61]
    file["documents"] = np.array([0, 3, 21, 22, 48], np.uint64)
PYTHON

# 96 tokens are six blocks of 16, two for each of three ranks.
model=(--train.steps=2 --model.width=16 --model.context_length=96 --data.train="$TEST_FOLDER/train.h5"
    --train.document_mask=true)
check learned
start check softmax --attention.kind=softmax --attention.gate=data
start check polynomial --attention.kind=polynomial --train.recompute=layer
start check performer --attention.kind=performer --attention.features=24 --train.stretch_length=48
start check random --attention.sketch=random --attention.local=sketch --attention.gate=constant --parallel.scan=chain
start check window --attention.local=window --attention.window_blocks=2 --attention.gate=data --attention.far_scale=0.3
start check window-exp --attention.local=window --attention.local_weight=exp --train.stretch_length=48 \
    --attention.denominator_one=0.1
start check projection --attention.sketch=projection --attention.block_length=4 --attention.gate=data \
    --train.stretch_length=32 --train.micro_batch_sequences=2
start check hybrid --model.layers=3 --attention.pattern=polysketch:random,softmax,performer --attention.features=24
start check_gradient gradient-softmax --attention.kind=softmax --attention.gate=data
start check_gradient gradient-learned
start check_gradient gradient-window --attention.local=window --attention.gate=data --train.stretch_length=32 \
    --attention.far_scale=0.3
start check_refusals
start check_choice
start check_evaluations
start check_resume
finish
