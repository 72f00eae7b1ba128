#!/bin/bash
# The loss of every token agrees with the NumPy model of numpy_reference.py, for each kind of attention: trained on two ranks,
# given parameters large enough to matter, and evaluated on three.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# compare NAME EVAL_OPTIONS...: evaluates the checkpoint of this name as it is, and with other parameters.
compare() {
    local name=$1 file losses
    shift
    file=$(checkpoint "$name" 2)
    losses=$TEST_FOLDER/$name.losses.h5
    quiet python "$tools"/spread_parameters.py "$file"
    quiet launch 3 1 "$program" eval --checkpoint="$file" --data="$data/validation.h5" --per_token_loss="$losses" "$@"
    quiet python "$tools"/numpy_reference.py "$file" "$data/validation.h5" --per_token_loss="$losses"
}

# check NAME OPTIONS...: 40 tokens are two blocks of 16 and half of one.
check() {
    local name=$1
    shift
    train 2 "$name" --train.steps=2 --model.width=16 --model.context_length=40 "$@"
    compare "$name"
}

prepare_data
start quiet python "$tools"/numpy_reference.py --self_test

start check softmax --attention.kind=softmax
start check softmax-normed --attention.kind=softmax --attention.qk_norm=true
start check performer --attention.kind=performer --attention.features=24
for degree in 2 4 8; do
    start check polynomial$degree --attention.kind=polynomial --attention.degree=$degree
    for local in exact sketch; do
        start check random$degree-$local --attention.sketch=random --attention.degree=$degree --attention.local=$local
    done
done
start check learned-exact --attention.sketch=learned --attention.local=exact
start check learned-sketch --attention.sketch=learned --attention.local=sketch --attention.sketch_levels=1
start check projection-exact --attention.sketch=projection --attention.local=exact --attention.degree=6
start check projection-sketch --attention.sketch=projection --attention.local=sketch --attention.sketch_size=24
start check gelu --model.feedforward=gelu --attention.scale=1 --attention.denominator_one=0.5
start check soft-cap --model.logit_soft_cap=1.5
start check rotary-share --model.rotary_share=0.6
start check stretches --model.context_length=96 --train.stretch_length=48
start check whole-blocks --model.context_length=48 --model.heads=1 --model.layers=1 --parallel.scan=iexscan

# Layers of different kinds, and sketches.
start check hybrid --model.layers=4 --attention.pattern=polysketch*2,softmax,polynomial
start check hybrid-projection --model.layers=3 --attention.pattern=polysketch:projection,softmax,polysketch:learned
start check hybrid-sketches --model.layers=3 --attention.pattern=polysketch:random,performer,polysketch:learned \
    --attention.features=24 --attention.degree=2 --attention.local=sketch

# Windows, exponentials and gates: 88 tokens are five blocks and a half, two of them or more on each of two ranks.
more=(--model.context_length=88)
start check window-random "${more[@]}" --attention.sketch=random --attention.local=window --attention.far_scale=0.1
start check window-gated "${more[@]}" --attention.local=window --attention.window_blocks=2 --attention.gate=data \
    --attention.sketch_levels=3 --attention.sketch_expansion=2
start check window-exp "${more[@]}" --attention.local=window --attention.local_weight=exp --attention.gate=data
start check exact-exp "${more[@]}" --attention.local_weight=exp --attention.far_scale=0.5 --attention.denominator_one=0.1
for kind in softmax polynomial performer; do
    start check $kind-gated --attention.kind=$kind --attention.gate=data
done
start check sketch-constant --attention.local=sketch --attention.gate=constant
start check hybrid-gated "${more[@]}" --model.layers=3 --attention.pattern=polysketch:random,softmax,polysketch:learned \
    --attention.local=window --attention.gate=data
start check hybrid-normed --model.layers=3 --attention.pattern=polysketch,softmax,performer --attention.features=24 \
    --attention.qk_norm=true

# Ranks with sequences of their own, and micro-batches that do not divide their number.
finish
train 2 grid --train.steps=2 --model.width=16 --model.context_length=40 --parallel.data_ranks=2
compare grid --parallel.data_ranks=3 --train.micro_batch_sequences=2
