#!/bin/bash
# The gradients agree with differences of the loss, seen from outside: a training file of one sequence, a checkpoint before
# the only step and one after it.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# write_sequence TOKENS: $TEST_FOLDER/sequence.h5.
write_sequence() {
    python - "$TEST_FOLDER/text.txt" "$1" "$TEST_FOLDER/sequence.h5" <<'END'
import sys
import h5py
import numpy as np
text, count, path = sys.argv[1:]
with h5py.File(path, "w") as file:
    file.attrs.update({"format": "polysketch-tokens", "format_version": 1, "tokenizer": "letters", "vocab_size": 128})
    file["tokens"] = np.frombuffer(open(text, "rb").read(int(count)), np.uint8)
END
}

# check NAME OPTIONS...: step 0 is written, its parameters are made large enough to matter, and the run continues from it.
check() {
    local name=$1 options
    shift
    options=(--data.train="$TEST_FOLDER/sequence.h5" --train.clip_norm=0 --train.batch_sequences=2 --model.width=16
        --model.context_length=20 --attention.block_length=8 --train.micro_batch_sequences=1
        --output.checkpoint_at_start=true "$@")
    train 1 "$name" "${options[@]}" --train.steps=0
    quiet python "$tools"/spread_parameters.py "$(checkpoint "$name" 0)"
    train 2 "$name" "${options[@]}" --train.steps=1
    quiet python "$tools"/check_gradient.py "$(checkpoint "$name" 0)" "$(checkpoint "$name" 1)" "$TEST_FOLDER/sequence.h5"
}

prepare_data
write_sequence 21

start check softmax --attention.kind=softmax --model.feedforward=gelu
start check softmax-normed --attention.kind=softmax --attention.qk_norm=true
start check polynomial --attention.kind=polynomial
start check performer --attention.kind=performer --attention.features=24
start check random-exact --attention.sketch=random
start check learned-exact
start check objective --model.logit_soft_cap=1.5 --train.z_loss=0.1 --train.label_smoothing=0.2
start check learned-sketch --attention.local=sketch --attention.sketch_levels=3 --attention.sketch_expansion=2 \
    --train.recompute=layer
start check window --attention.block_length=4 --attention.local=window --attention.gate=data --attention.far_scale=0.2
start check window-exp --attention.block_length=4 --attention.local=window --attention.local_weight=exp --attention.gate=data \
    --attention.sketch_levels=1
start check softmax-gated --attention.kind=softmax --attention.gate=data
start check projection-exact --attention.sketch=projection
start check projection-sketch --attention.sketch=projection --attention.local=sketch --train.recompute=attention
finish
