#!/bin/bash
# The files are what docs/format.md says to programs that are not ours, and theirs are read here; inspect, eval and plan agree
# about them.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# Any tool of HDF5 can read what we write.
test_tools() {
    local file
    for file in "$data/train.h5" "$data/validation.h5" "$final" "$TEST_FOLDER/run/metrics.h5"; do
        quiet h5dump -H "$file"
        quiet h5ls -r "$file"
    done
    h5ls -r "$final" | grep -qE '^/parameters/token_embedding.weight Dataset \{256, 32\}' || give_up "h5ls of $final"
    h5ls -r "$TEST_FOLDER/run/metrics.h5" | grep -qE '^/steps/loss +Dataset \{3/Inf\}' || give_up "h5ls of the metrics"
    h5dump -a /format "$final" | grep -q polysketch-checkpoint || give_up "h5dump of $final"
}

test_h5py() {
    quiet python - "$data/train.h5" "$TEST_FOLDER/text.txt" "$final" "$TEST_FOLDER/run/metrics.h5" <<'END'
import sys
import h5py
import numpy as np
tokens, text, checkpoint, metrics = sys.argv[1:]
def word(value):
    return value.decode() if isinstance(value, bytes) else value
with h5py.File(tokens) as file:
    data = file["tokens"]
    assert word(file.attrs["format"]) == "polysketch-tokens" and file.attrs["format_version"] == 1
    assert word(file.attrs["tokenizer"]) == "bytes" and file.attrs["vocab_size"] == 256
    assert data.dtype == np.uint8 and data.chunks
    assert open(text, "rb").read().startswith(data[...].tobytes())
    assert [bytes(piece) for piece in file["pieces"][...]] == [bytes([i]) for i in range(256)]
    assert file["tokenizer/bytes"][...].tobytes() == bytes(range(256))
    assert file["documents"].dtype == np.uint64 and file["documents"][...].tolist() == [0] and file["documents"].chunks
    assert file["tokenizer/ends"][...].tolist() == list(range(1, 257))
with h5py.File(checkpoint) as file:
    assert word(file.attrs["format"]) == "polysketch-checkpoint" and file.attrs["format_version"] == 1
    assert file.attrs["step"] == 3 and file.attrs["tokens_seen"] == 3 * 4 * 48
    assert set(file["optimizer/m"]) == set(file["optimizer/v"]) == set(file["parameters"])
    options = file["config"].attrs
    assert word(options["attention.kind"]) == "polysketch" and options["attention.scale"] == 0.25
    assert options["model.vocab_size"] == 256 and options["model.feedforward_width"] == 80
    assert options["train.learning_rate"] == 0.003 and options["output.checkpoint_at_start"] == 0
with h5py.File(metrics) as file:
    steps = file["steps"]
    assert list(steps["step"]) == [1, 2, 3] and {len(column) for column in steps.values()} == {3}
    assert {"loss", "learning_rate", "gradient_norm", "seconds", "tokens_per_second"} <= set(steps)
    assert list(file["evaluations/step"]) == [3]
    # What programs draw unasked that know NeXus.
    assert word(file.attrs["NX_class"]) == "NXentry" and word(file.attrs["default"]) == "steps"
    for name, signal in (("steps", "loss"), ("evaluations", "loss"), ("attention", "sketched_share")):
        attributes = {key: word(value) for key, value in file[name].attrs.items()}
        assert attributes == {"NX_class": "NXdata", "signal": signal, "axes": "step"}, attributes
        assert file[name][signal].shape == file[name]["step"].shape
END
}

# require_words FILE WORDS...: inspect prints each of them.
require_words() {
    local file=$1 word output
    shift
    output=$("$program" inspect "$file") || give_up "inspect $file"
    for word in "$@"; do
        grep -qE -e "$word" <<<"$output" || give_up "inspect $file does not say '$word': $output"
    done
}

test_inspect() {
    require_words "$final" 'step +3' 'kind = polysketch' 'layers.1.feedforward.out.weight +\(32, 80\)' 'are finite'
    require_words "$data/train.h5" 'stored as uint8' 'vocabulary +256' 'tokenizer +bytes' 'documents +1, of' 'as text +"'
    require_words "$TEST_FOLDER/run/metrics.h5" '/steps/loss +3' '/evaluations/perplexity +1'
}

# Made by others: no chunks, no pieces, no attribute more than needed, of each type.
test_foreign_tokens() {
    local type foreign=$TEST_FOLDER/foreign
    mkdir "$foreign"
    python - "$data/train.h5" "$foreign" <<'END'
import sys
import h5py
import numpy as np
source, folder = sys.argv[1:]
with h5py.File(source) as file:
    tokens = file["tokens"][...]
for name in ("uint8", "uint16", "uint32"):
    with h5py.File(f"{folder}/{name}.h5", "w") as file:
        file.attrs.update({"format": "polysketch-tokens", "format_version": 1, "tokenizer": "mine", "vocab_size": 256})
        file["tokens"] = tokens.astype(name)
END
    for type in uint8 uint16 uint32; do
        require_words "$foreign/$type.h5" "stored as $type" 'tokenizer +mine \(no pieces\)'
        train 2 "from-$type" --data.train="$foreign/$type.h5" "${model[@]}"
        require_equal_losses run "from-$type" # made by h5py
    done
}

# One chunk of 40 MB is kept in memory, of two each sequence would unpack one.
test_large_chunks() {
    local chunks=$TEST_FOLDER/chunks
    mkdir "$chunks"
    python - "$chunks" <<'END'
import sys
import h5py
import numpy as np
for name, count in (("one", 40_000_000), ("two", 40_000_001)):
    with h5py.File(f"{sys.argv[1]}/{name}.h5", "w") as file:
        file.attrs.update({"format": "polysketch-tokens", "format_version": 1, "tokenizer": "mine", "vocab_size": 256})
        file.create_dataset("tokens", data=np.zeros(count, np.uint8), chunks=(40_000_000,), compression="gzip")
END
    require_words "$chunks/two.h5" 'warning: .*two.h5.* chunks of 40.0 MB' 'h5repack -l tokens:CHUNK='
    require_words "$chunks/one.h5" 'one.h5.* chunks of 40.0 MB; each rank keeps one in memory'
    "$program" inspect "$chunks/one.h5" | grep -q warning && give_up "one chunk of 40 MB is called slow"
    quiet h5repack -l tokens:CHUNK=1048576 "$chunks/two.h5" "$chunks/new.h5"
    "$program" inspect "$chunks/new.h5" | grep -q "in chunks" && give_up "the remedy for large chunks does not help"
    require_words "$chunks/new.h5" 'tokens +40000001'
}

# eval_loss RANKS OPTIONS...: the loss to six digits.
eval_loss() {
    local ranks=$1
    shift
    launch "$ranks" 1 "$program" eval --checkpoint="$final" --data="$data/validation.h5" "$@" |
        awk '$1 == "loss" { printf "%.5f\n", $2 }'
}

# The same for any number of ranks; the last validation of training; and for sequences longer than the model was trained on.
test_eval() {
    local one four trained
    one=$(eval_loss 1)
    four=$(eval_loss 4 --parallel.data_ranks=2)
    trained=$(printf '%.5f' "$(column loss "$TEST_FOLDER/run/evaluations.csv")")
    [[ $one == [1-9].* && $one == "$four" && $one == "$trained" ]] || give_up "loss $one, $four on 4 ranks, $trained in training"
    one=$(eval_loss 1 --model.context_length=200)
    four=$(eval_loss 4 --model.context_length=200)
    [[ $one == [1-9].* && $one == "$four" ]] || give_up "loss $one, but $four on 4 ranks, for 200 tokens"
}

# Matrices of heads are tensors of three dimensions, and so are their states: width 32, 2 heads.
test_stacks() {
    local stacks name=layers.1.attention.sketch.projection.key.weight
    train 3 stacks "${model[@]}" --attention.sketch=projection --attention.sketch_size=5
    stacks=$(checkpoint stacks 3)
    require_words "$stacks" "$name +\(2, 5, 16\) +trained" 'are finite'
    [ "$(h5ls -r "$stacks" | grep -cE "/$name Dataset \{2, 5, 16\}")" = 3 ] || give_up "h5ls: $(h5ls -r "$stacks")"
    check_plan "$stacks" --attention.sketch=projection --attention.sketch_size=5
}

# check_plan CHECKPOINT OPTIONS...: the parameters of the plan are those of the checkpoint.
check_plan() {
    local counted planned
    counted=$(python -c "import h5py, sys; print(sum(data.size for data in h5py.File(sys.argv[1])['parameters'].values()))" "$1")
    planned=$("$program" plan tests/data/tiny.ini --model.vocab_size=256 "${@:2}" | awk '/all trained/ { print $3 }')
    [ "$counted" = "$planned" ] || give_up "plan counts $planned parameters, the checkpoint $1 has $counted"
}

# For a job that cannot run here: nothing is started.
test_plan() {
    local job=(--ranks=512 --model.context_length=1048576)
    check_plan "$final" "${job[@]}"
    "$program" plan tests/data/tiny.ini --model.vocab_size=256 "${job[@]}" >"$TEST_FOLDER/plan"
    grep -q 'plan for 512 ranks = 1 data x 512 sequence' "$TEST_FOLDER/plan" || give_up "$(cat "$TEST_FOLDER/plan")"
    grep -qE '^ +total +[0-9.]+ [kMG]B' "$TEST_FOLDER/plan" || give_up "$(cat "$TEST_FOLDER/plan")"
}

final=$(checkpoint run 3)
model=(--train.steps=3 --model.context_length=48)
prepare_data
train 2 run "${model[@]}" --data.validation="$data/validation.h5"
start test_tools
start test_h5py
start test_inspect
start test_foreign_tokens
start test_eval
start test_plan
start test_stacks
start test_large_chunks
finish
