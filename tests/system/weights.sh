#!/bin/bash
# Weights that leave as a folder for transformers and come back: the files are what NumPy and json make of them, all numbers
# return bit by bit, on any number of ranks; what cannot be read is refused with nothing half-written.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

check_weights() { quiet python "$tools"/check_weights.py "$@"; }

# there_and_back NAME CHECKPOINT: exported on two ranks, imported on three.
there_and_back() {
    local folder=$TEST_FOLDER/$1.model back=$TEST_FOLDER/$1.back.h5
    quiet launch 2 1 "$program" export --checkpoint="$2" --to="$folder"
    check_weights folder "$folder" "$2"
    quiet launch 3 1 "$program" import --from="$folder" --to="$back"
    check_weights same "$2" "$back"
    quiet "$program" inspect "$back"
}

# check NAME OPTIONS...: a model with parameters of a trained one's size.
check() {
    local name=$1
    shift
    train 1 "$name" --train.steps=1 "$@"
    quiet python "$tools"/spread_parameters.py "$(checkpoint "$name" 1)"
    there_and_back "$name" "$(checkpoint "$name" 1)"
}

# A model is the same before and after: in its losses, in what it writes, and to a run that begins with it.
test_use() {
    local file back=$TEST_FOLDER/first.back.h5 here there
    file=$(checkpoint first 1)
    here=$("$program" eval --checkpoint="$file" --data="$data/validation.h5" | awk '$1 == "loss" { print $2 }')
    there=$("$program" eval --checkpoint="$back" --data="$data/validation.h5" | awk '$1 == "loss" { print $2 }')
    [[ -n $here && $here == "$there" ]] || give_up "losses '$here' and '$there'"
    cmp <("$program" generate --checkpoint="$file" --prompt='the ' --tokens=40) \
        <("$program" generate --checkpoint="$back" --prompt='the ' --tokens=40) >&2 || give_up 'texts differ'
    train 2 continued --attention.sketch=projection --attention.local=window --attention.gate=data \
        --train.init_from="$back" --train.steps=1
    says continued ' 0 new, 0 left'
}

# Earlier files stay unless they are to be replaced; then those that the new export has not go with them.
test_overwrite() {
    local folder=$TEST_FOLDER/first.model file
    file=$(checkpoint first 1)
    require_refusal 'model.safetensors. is there already' export --checkpoint="$file" --to="$folder"
    require_refusal 'first.back.h5. is there already' import --from="$folder" --to="$TEST_FOLDER/first.back.h5"
    quiet "$program" import --from="$folder" --to="$TEST_FOLDER/first.back.h5" --overwrite
    check_weights same "$file" "$TEST_FOLDER/first.back.h5"
    cp -r "$folder" "$TEST_FOLDER/replaced"
    "$program" export --checkpoint="$(checkpoint numbers 1)" --to="$TEST_FOLDER/replaced" --overwrite >"$TEST_FOLDER/replaced.log"
    log_says "$TEST_FOLDER/replaced.log" "pieces.json' did not belong to this model and is removed"
    check_weights folder "$TEST_FOLDER/replaced" "$(checkpoint numbers 1)"
    [ "$(find "$TEST_FOLDER/replaced" -type f | wc -l)" -eq 5 ] || give_up "left: $(ls -A "$TEST_FOLDER/replaced")"
}

# refuse_import WORDS FOLDER: nothing is written.
refuse_import() {
    require_refusal "$1" import --from="$TEST_FOLDER/$2" --to="$TEST_FOLDER/new/never.h5"
    [ ! -e "$TEST_FOLDER/new" ] || give_up "left of '$2': $(ls -AR "$TEST_FOLDER/new")"
}

# refuse_damaged WORDS WHAT
refuse_damaged() {
    check_weights damage "$TEST_FOLDER/first.model" "$TEST_FOLDER/$2" "$2"
    refuse_import "$1" "$2"
}

# refuse_edited WORDS FILE SED_SCRIPT: of a folder in which a line is another.
refuse_edited() {
    rm -rf "$TEST_FOLDER/edited"
    cp -r "$TEST_FOLDER/first.model" "$TEST_FOLDER/edited"
    sed -i "$3" "$TEST_FOLDER/edited/$2"
    refuse_import "$1" edited
}

test_bad_weights() {
    refuse_damaged 'but there are' cut
    refuse_damaged 'no tensor layers.1.attention.out.weight (1 in all)' missing
    refuse_damaged 'does not use: lm_head.weight (1 in all)' surplus
    refuse_damaged 'layers.1.attention.out.weight has the shape (32, 32, 1), by config.json it has (32, 32)' shape
    refuse_damaged 'layers.1.attention.out.weight is of type I32' type
    refuse_damaged 'of the tensor layers.1.attention.out.weight is not finite' infinite
    cp -r "$TEST_FOLDER/first.model" "$TEST_FOLDER/shards"
    mv "$TEST_FOLDER/shards/model.safetensors" "$TEST_FOLDER/shards/model.safetensors.index.json"
    refuse_import 'they are in several files' shards
    rm "$TEST_FOLDER/shards/model.safetensors.index.json"
    refuse_import "model.safetensors': No such file" shards
    cp "$TEST_FOLDER/text.txt" "$TEST_FOLDER/shards/model.safetensors"
    refuse_import 'its header is said to have' shards
}

test_bad_descriptions() {
    refuse_import 'config.json.: No such file' nowhere
    refuse_edited "model_type is 'llama'" config.json 's/"model_type": .*/"model_type": "llama",/'
    refuse_edited 'is no JSON, at line' config.json 's/"hidden_size":/"hidden_size";/'
    refuse_edited 'attention_kind: attention.kind = .flash.' config.json 's/"attention_kind": .*/"attention_kind": "flash",/'
    refuse_edited 'no tensor layers.2.' config.json 's/"num_hidden_layers": .*/"num_hidden_layers": 3,/'
    refuse_edited 'has the shape .* by config.json' config.json 's/"vocab_size": .*/"vocab_size": 300,/'
    refuse_edited 'model.width = 33 is not divisible' config.json 's/"hidden_size": .*/"hidden_size": 33,/'
    refuse_edited 'has no name' pieces.json 's/"name"/"nome"/'
    cp -r "$TEST_FOLDER/first.model" "$TEST_FOLDER/two"
    echo '{}' >"$TEST_FOLDER/two/tokenizer.json"
    refuse_import 'tokenizer.json. cannot be used: .*remove it: the folder has another tokenizer' two
}

# Options that are missing, and folders that cannot be written.
test_bad_arguments() {
    local file
    file=$(checkpoint first 1)
    require_refusal '--checkpoint=FILE is missing' export --to="$TEST_FOLDER/new"
    require_refusal '--to=FOLDER is missing' export --checkpoint="$file"
    require_refusal '--from=FOLDER is missing' import --to="$TEST_FOLDER/new.h5"
    require_refusal '--to=FILE.h5 is missing' import --from="$TEST_FOLDER/first.model"
    require_refusal 'text.txt. should be a folder' export --checkpoint="$file" --to="$TEST_FOLDER/text.txt"
    # Without mpirun, which needs larger files.
    ! (ulimit -f 120 && "$program" export --checkpoint="$file" --to="$TEST_FOLDER/new" >"$TEST_FOLDER/full.txt" 2>&1) ||
        give_up 'a disk without room'
    log_says "$TEST_FOLDER/full.txt" "new/model.safetensors': File too large"
    [ ! -e "$TEST_FOLDER/new" ] || give_up "left of a full disk: $(ls -A "$TEST_FOLDER/new")"
}

prepare_data
for ((i = 0; i < 40; i++)); do echo 0 1 2 3 4 5 6 5 4 3 2 1 0; done |
    quiet "$program" prepare --ids --vocab_size=7 --output="$TEST_FOLDER/ids"
quiet "$program" prepare --input="$TEST_FOLDER/text.txt" --output="$TEST_FOLDER/end" --end_of_document=auto
start check first --attention.sketch=projection --attention.local=window --attention.gate=data
start check numbers --attention.kind=performer --data.train="$TEST_FOLDER/ids/train.h5"
start check ended --attention.sketch=random --attention.degree=8 --data.train="$TEST_FOLDER/end/train.h5"
start check hybrid --model.layers=4 --attention.pattern=polysketch*2,softmax,polynomial --attention.qk_norm=true \
    --attention.far_scale=0.1 --model.logit_soft_cap=5 --model.feedforward=gelu
finish
start test_use
start test_overwrite
finish
test_bad_weights
test_bad_descriptions
test_bad_arguments
