#!/bin/bash
# Exported models of every kind in Hugging Face's transformers: losses are those of the program, logits those of the NumPy model,
# in both forms of attention, token by token and padded; generated text is the program's; what is saved there can be imported.
#
# Skipped where an interpreter with torch, transformers, h5py and NumPy is missing. PYTHON names it, /usr/bin/python3 unless set.
# time limit: 600 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

interpreter=${PYTHON:-/usr/bin/python3}
for module in torch transformers safetensors h5py numpy; do
    if ! "$interpreter" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$module') is None)"; then
        echo "skipped: $interpreter has no module $module. PYTHON=... names one that has torch, transformers, h5py and numpy"
        exit 0
    fi
done

# Nothing is looked up, and the code of the folders is kept in a place of this test.
export HF_HUB_OFFLINE=1 HF_HOME=$TEST_FOLDER/home TOKENS=$data/validation.h5 OMP_NUM_THREADS=1
check_transformers() { quiet "$interpreter" "$tools"/check_transformers.py "$@"; }

names=()

# prepare_model NAME OPTIONS...: NAME.h5 with parameters of a trained one's size, NAME.losses.h5, NAME.model.
prepare_model() {
    local name=$1 file=$TEST_FOLDER/$1.h5
    shift
    train 1 "$name" --train.steps=1 --model.width=16 --model.context_length=88 "$@"
    cp "$(checkpoint "$name" 1)" "$file"
    quiet python "$tools"/spread_parameters.py "$file"
    quiet "$program" eval --checkpoint="$file" --data="$TOKENS" --sequences=3 --per_token_loss="$TEST_FOLDER/$name.losses.h5"
    quiet "$program" export --checkpoint="$file" --to="$TEST_FOLDER/$name.model"
}

add() {
    names+=("$TEST_FOLDER/$1")
    start prepare_model "$@"
}

test_kinds() {
    local degree near
    add softmax --attention.kind=softmax
    add softmax-normed --attention.kind=softmax --attention.qk_norm=true --attention.gate=data
    add performer --attention.kind=performer --attention.features=24
    add performer-gated --attention.kind=performer --attention.features=24 --attention.gate=constant
    for degree in 2 4 8; do
        add polynomial$degree --attention.kind=polynomial --attention.degree=$degree --attention.gate=data
        for near in exact sketch; do
            add random$degree-$near --attention.sketch=random --attention.degree=$degree --attention.local=$near
        done
    done
    add learned-exact --attention.sketch=learned --attention.local=exact
    add learned-sketch --attention.sketch=learned --attention.local=sketch --attention.far_scale=0.5 --attention.gate=data \
        --attention.sketch_levels=1
    add projection --attention.sketch=projection --attention.degree=6 --attention.scale=1 --attention.denominator_one=0.5
    add gelu --model.feedforward=gelu --model.logit_soft_cap=1.5 --model.rotary_share=0.6
    add window --attention.sketch=random --attention.local=window --attention.far_scale=0.1
    add window-gated --attention.local=window --attention.window_blocks=2 --attention.gate=data --attention.sketch_levels=3 \
        --attention.sketch_expansion=2
    add window-exp --attention.local=window --attention.local_weight=exp --attention.gate=data
    add exact-exp --attention.local_weight=exp --attention.far_scale=0.5 --attention.denominator_one=0.1
    add hybrid --model.layers=5 --attention.pattern=polysketch:random*2,softmax,polysketch:learned,performer \
        --attention.local=window --attention.gate=data --attention.degree=2 --attention.features=24
    add hybrid-projection --model.layers=3 --attention.pattern=polysketch:projection,polynomial,softmax --attention.qk_norm=true
    finish
    "$interpreter" "$tools"/check_transformers.py losses "${names[@]}" || give_up 'other losses or logits'
}

# require_same_text NAME CHECKPOINT PROMPT
require_same_text() {
    printf '%s' "$3" >"$TEST_FOLDER/prompt"
    "$program" generate --checkpoint="$2" --prompt="$3" --tokens=40 --temperature=0 >"$TEST_FOLDER/text" || give_up generate
    quiet "$program" export --checkpoint="$2" --to="$TEST_FOLDER/$1.model"
    check_transformers text "$TEST_FOLDER/$1" "$TEST_FOLDER/prompt" "$TEST_FOLDER/text"
}

# From bytes, and from words with their spaces, of which some are the same.
test_text() {
    local pieces=$TEST_FOLDER/pieces
    train 1 bytes --train.steps=40 --train.learning_rate=0.01 --attention.local=window --attention.gate=data
    require_same_text bytes-text "$(checkpoint bytes 40)" 'the alpha é of '
    mkdir "$pieces"
    {
        printf '<unk>\n</s>\n'
        tr -s ' .\n' '\n' <"$TEST_FOLDER/text.txt" | sort -u | sed '/^$/d; s/^/ /'
        printf ' alpha\n al\n'
    } >"$pieces/words.txt"
    tr -d . <"$TEST_FOLDER/text.txt" | awk -v table="$pieces/words.txt" '
        BEGIN { while ((getline line < table) > 0) id[substr(line, 2)] = count++ }
        { for (i = 1; i <= NF; i++) printf "%d ", id[$i]; print "" }' |
        quiet "$program" prepare --ids --pieces="$pieces/words.txt" --output="$pieces"
    train 1 words --data.train="$pieces/train.h5" --train.steps=40 --train.learning_rate=0.01 --model.vocab_size=32
    require_same_text words-text "$(checkpoint words 40)" ' alpha beta of the'
}

# What transformers saves comes back: all bits of float32, and of bfloat16 what it keeps.
test_saved() {
    check_transformers save "$TEST_FOLDER/window-gated" "$TEST_FOLDER/saved" float32
    quiet "$program" import --from="$TEST_FOLDER/saved.model" --to="$TEST_FOLDER/saved.h5"
    quiet python "$tools"/check_weights.py same "$TEST_FOLDER/window-gated.h5" "$TEST_FOLDER/saved.h5" 0
    check_transformers save "$TEST_FOLDER/window-gated" "$TEST_FOLDER/half" bfloat16
    quiet "$program" import --from="$TEST_FOLDER/half.model" --to="$TEST_FOLDER/half.h5"
    quiet python "$tools"/check_weights.py near "$TEST_FOLDER/window-gated.h5" "$TEST_FOLDER/half.h5"
}

prepare_data
test_kinds
test_text
test_saved
