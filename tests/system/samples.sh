#!/bin/bash
# Texts that a model writes while it trains are those of `polysketch generate` from the checkpoints of their steps, on any number
# of ranks, and change nothing; what cannot be written is refused.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# expect FOLDER OPTIONS...: samples.txt of the run is what generate writes at steps 2 and 4.
expect() {
    local folder=$1 step
    shift
    for step in 2 4; do
        echo "---- step $step"
        "$program" generate --checkpoint="$(checkpoint "$folder" $step)" --tokens=20 --seed=7 "$@"
    done >"$TEST_FOLDER/$folder.expected"
    cmp "$TEST_FOLDER/$folder.expected" "$TEST_FOLDER/$folder/samples.txt" >&2 || give_up "$folder: generate writes another text"
}

options=(--train.steps=4 --output.checkpoint_every=2 --output.keep=0)
sampled=("${options[@]}" --sample.every=2 --sample.tokens=20 --sample.seed=7)

test_ranks() {
    local ranks
    for ranks in 1 3; do
        train "$ranks" "plain-$ranks" "${options[@]}"
        train "$ranks" "prompt-$ranks" "${sampled[@]}" --sample.prompt='the alpha' --parallel.shard=optimizer
        expect "prompt-$ranks" --prompt='the alpha'
        require_equal_losses "plain-$ranks" "prompt-$ranks"
        says "prompt-$ranks" 'sample at step 2 | the alpha' 'sample at step 4 | the alpha'
    done
    [ ! -e "$TEST_FOLDER/plain-1/samples.txt" ] || give_up 'a sample that nobody asked for'
}

# Without a prompt, the first 32 tokens of the validation data, or else of those for training; the log has one line of it.
test_first_tokens() {
    train 2 validation "${sampled[@]}" --data.validation="$data/validation.h5" --attention.kind=softmax
    python -c "
import h5py, sys
sys.stdout.buffer.write(h5py.File('$data/validation.h5')['tokens'][:32].tobytes())" >"$TEST_FOLDER/first"
    expect validation --prompt_file="$TEST_FOLDER/first"
    train 2 training "${sampled[@]}" --parallel.shard=parameters
    head -c 32 "$TEST_FOLDER/text.txt" >"$TEST_FOLDER/first-of-text"
    expect training --prompt_file="$TEST_FOLDER/first-of-text"
    [ "$(grep -ac '^sample at step' "$TEST_FOLDER/training/train.log")" -eq 2 ] || give_up 'not two lines'
}

# Tokens without pieces are numbers; a prompt would have to be cut into them.
test_numbers() {
    local numbers=$TEST_FOLDER/numbers.h5
    python - "$data/train.h5" "$numbers" <<'END'
import sys
import h5py
with h5py.File(sys.argv[1]) as source, h5py.File(sys.argv[2], "w") as file:
    file.attrs.update({"format": "polysketch-tokens", "format_version": 1, "tokenizer": "mine", "vocab_size": 256})
    file["tokens"] = source["tokens"][...]
END
    train 2 numbers "${sampled[@]}" --data.train="$numbers"
    grep -q "^$(head -c 4 "$TEST_FOLDER/text.txt" | od -An -v -tu1 | xargs) " "$TEST_FOLDER/numbers/samples.txt" ||
        give_up "no numbers: $(<"$TEST_FOLDER/numbers/samples.txt")"
    require_refusal 'sample.prompt .*no table of pieces' train tests/data/tiny.ini --data.train="$numbers" --sample.every=1 \
        --sample.prompt=the --output.folder="$TEST_FOLDER/refused"
}

test_refusal() {
    require_refusal 'sample.every = 1, .*is no text' train tests/data/tiny.ini --data.source=recall --data.items=4 \
        --sample.every=1 --output.folder="$TEST_FOLDER/recall"
}

prepare_data
start test_ranks
start test_first_tokens
finish
start test_numbers
finish
test_refusal
