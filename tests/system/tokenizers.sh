#!/bin/bash
# Texts cut by the tokenizers of other programs: token files have the tokens that Hugging Face's tokenizers, spm_encode and the
# kept list of tests/data have; the tokenizer stays with data, checkpoints, exported and imported models; another one is refused.
#
# What needs them is skipped where PYTHON (/usr/bin/python3 unless set) has no tokenizers, transformers or sentencepiece, or where
# spm_train and spm_encode are missing.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

interpreter=${PYTHON:-/usr/bin/python3}
kept=tests/data/tokenizer.json
export HF_HUB_OFFLINE=1 HF_HOME=$TEST_FOLDER/home

# has_module NAME FOR_WHAT: false with a word about it.
has_module() {
    "$interpreter" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)" && return
    echo "skipped: $2: $interpreter has no module $1. PYTHON=... names one that has it"
    return 1
}

# prepare FOLDER OPTIONS...: prepares into $TEST_FOLDER/FOLDER, all for training; what it says is in $TEST_FOLDER/FOLDER.log.
prepare() {
    local folder=$1
    shift
    "$program" prepare --output="$TEST_FOLDER/$folder" --validation_fraction=0 "$@" >"$TEST_FOLDER/$folder.log" 2>&1 ||
        give_up "prepare $*: $(<"$TEST_FOLDER/$folder.log")"
}

# tokens_of FOLDER: a line for each document of its train.h5.
tokens_of() {
    python - "$TEST_FOLDER/$1/train.h5" <<'END'
import sys
import h5py
with h5py.File(sys.argv[1]) as file:
    tokens, starts = file["tokens"][...].tolist(), file["documents"][...].tolist()
for start, end in zip(starts, starts[1:] + [None]):
    print(*tokens[start:end])
END
}

# require_tokens FOLDER FILE: its documents are the lines of the file; those without tokens are left out.
require_tokens() {
    cmp <(tokens_of "$1") <(grep . "$2") >&2 || give_up "$1 has other tokens than $2"
}

# What stands in the token file, what else says a vocabulary, and what does not go together.
test_prepare() {
    mkdir "$TEST_FOLDER/texts"
    write_text 300 >"$TEST_FOLDER/texts/a"
    printf 'the alpha beta' >"$TEST_FOLDER/texts/b"
    prepare kept --input="$TEST_FOLDER/texts" --tokenizer=$kept --end_of_document=auto
    log_says "$TEST_FOLDER/kept.log" "tokenizer 'data' (byte-level BPE" '2 documents' 'vocabulary 404 (data)'
    [ "$(tokens_of kept | tail -n 1)" = "$(sed -n 's/.*"the alpha beta", "ids": \[\(.*\)\].*/\1, 0/p' \
        tests/data/tokenizer_texts.jsonl | tr -d ,)" ] || give_up "tokens: $(tokens_of kept | tail -n 1)"
    quiet python - "$TEST_FOLDER/kept/train.h5" $kept <<'END'
import sys
import h5py
with h5py.File(sys.argv[1]) as file, open(sys.argv[2], "rb") as kept:
    assert file["tokenizer/file"][...].tobytes() == kept.read(), "another file is kept"
    assert file["tokenizer"].attrs["file_name"] in ("tokenizer.json", b"tokenizer.json")
    assert len(file["tokenizer/file"].attrs["xxh3"]) == 16
END
    "$program" inspect "$TEST_FOLDER/kept/train.h5" >"$TEST_FOLDER/inspect.log"
    log_says "$TEST_FOLDER/inspect.log" 'kept as its tokenizer.json (byte-level BPE'
    "$program" inspect --json "$TEST_FOLDER/kept/train.h5" | python -c '
import json, sys
facts = json.load(sys.stdin)
assert facts["tokenizer_file"] == "tokenizer.json" and len(facts["tokenizer_xxh3"]) == 16, facts' ||
        give_up 'inspect --json'

    # On one thread or three, and the numbers of another program with their tokenizer: the same file.
    OMP_NUM_THREADS=1 prepare one --input="$TEST_FOLDER/texts" --tokenizer=$kept --end_of_document=auto
    OMP_NUM_THREADS=3 prepare three --input="$TEST_FOLDER/texts" --tokenizer=$kept --end_of_document=auto
    prepare ids --ids --tokenizer=$kept < <(tokens_of kept)
    for folder in one three ids; do
        cmp "$TEST_FOLDER/kept/train.h5" "$TEST_FOLDER/$folder/train.h5" >&2 || give_up "$folder differs"
    done
    require_refusal 'one of them' prepare --ids --tokenizer=$kept --vocab_size=404 --output="$TEST_FOLDER/new"
    require_refusal 'is no tokenizer that is known here.*--pieces' prepare --input="$TEST_FOLDER/texts" \
        --tokenizer="$TEST_FOLDER/texts/a" --output="$TEST_FOLDER/new"
    sed 's/"type":"NFC"/"type":"Lowercase"/' $kept >"$TEST_FOLDER/lower.json"
    require_refusal 'normalizer Lowercase is not known here' prepare --input="$TEST_FOLDER/texts" --output="$TEST_FOLDER/new" \
        --tokenizer="$TEST_FOLDER/lower.json"
    [ ! -e "$TEST_FOLDER/new" ] || give_up "left: $(ls -A "$TEST_FOLDER/new")"
}

# A model of it, on several ranks: it continues, writes, scores, leaves and comes back; other data are refused.
test_model() {
    local file back=$TEST_FOLDER/back.h5 edited=$TEST_FOLDER/edited.json ranks
    for ranks in 1 2 3; do
        train $ranks "run-$ranks" --data.train="$TEST_FOLDER/kept/train.h5" --train.steps=1 --sample.every=1 \
            --sample.prompt='the café' --sample.tokens=5 --train.batch_sequences=6 --model.vocab_size=416
    done
    file=$(checkpoint run-2 1)
    grep -aq '^the caf' "$TEST_FOLDER/run-3/samples.txt" || give_up "sample: $(<"$TEST_FOLDER/run-3/samples.txt")"
    "$program" generate --checkpoint="$file" --prompt='don–t  ' --tokens=9 >"$TEST_FOLDER/text"
    grep -aq '^don–t  ' "$TEST_FOLDER/text" || give_up "text: $(<"$TEST_FOLDER/text")"
    echo '{"context": "the alpha ", "continuation": "beta"}' >"$TEST_FOLDER/items"
    quiet launch 2 1 "$program" score --checkpoint="$file" "$TEST_FOLDER/items"

    quiet launch 2 1 "$program" export --checkpoint="$file" --to="$TEST_FOLDER/model"
    cmp $kept "$TEST_FOLDER/model/tokenizer.json" >&2 || give_up 'another tokenizer.json'
    [ ! -e "$TEST_FOLDER/model/tokenization_polysketch.py" ] || give_up 'a class that nothing needs'
    quiet "$program" import --from="$TEST_FOLDER/model" --to="$back"
    quiet "$program" export --checkpoint="$back" --to="$TEST_FOLDER/again"
    cmp $kept "$TEST_FOLDER/again/tokenizer.json" >&2 || give_up 'another tokenizer.json after import'
    quiet "$program" export --checkpoint="$file" --to="$TEST_FOLDER/again" --overwrite
    train 1 tuned --data.train="$TEST_FOLDER/kept/train.h5" --train.init_from="$back" --model.vocab_size=416 --train.steps=1

    # The same rules in another file go on; other rules do not.
    python -c 'import json, sys; json.dump(json.load(open(sys.argv[1])) | {"decoder": None}, open(sys.argv[2], "w"), indent=1)' \
        $kept "$edited"
    prepare rewritten --input="$TEST_FOLDER/texts" --tokenizer="$edited" --end_of_document=auto
    train 1 run-1 --data.train="$TEST_FOLDER/rewritten/train.h5" --train.steps=2 --train.batch_sequences=6 --model.vocab_size=416
    sed -i 's/"NFC"/"NFD"/' "$edited"
    prepare other --input="$TEST_FOLDER/texts" --tokenizer="$edited" --end_of_document=auto
    require_refusal "trained with tokenizer 'data' (tokenizer.json, xxh3 .*made with 'edited.json' (tokenizer.json, xxh3" \
        train tests/data/tiny.ini --output.folder="$TEST_FOLDER/run-2" --data.train="$TEST_FOLDER/other/train.h5" \
        --train.batch_sequences=6 --model.vocab_size=416 --train.steps=2
    quiet "$program" eval --checkpoint="$file" --data="$TEST_FOLDER/kept/train.h5" --sequences=1
}

# likeliest CHECKPOINT PROMPT_FILE
likeliest() { "$program" generate --checkpoint="$1" --prompt_file="$2" --tokens=20 --temperature=0; }

# The likeliest text behind a prompt is what comes behind its token numbers, which are those of the package.
test_prompt() {
    local folder=$TEST_FOLDER/prompt
    mkdir "$folder"
    train 1 plain --data.train="$TEST_FOLDER/kept/train.h5" --train.steps=1 --train.batch_sequences=6
    quiet python - "$(checkpoint plain 1)" "$folder" <<'END'
import json, shutil, sys
import h5py
checkpoint, folder = sys.argv[1:]
with open("tests/data/tokenizer_texts.jsonl", encoding="utf-8") as lines:
    line = json.loads(lines.readlines()[4])
with open(folder + "/text", "w", encoding="utf-8", newline="") as file:
    file.write(line["text"])
with open(folder + "/ids", "w") as file:
    print(*line["ids"], file=file)
shutil.copy(checkpoint, folder + "/numbers.h5")
with h5py.File(folder + "/numbers.h5", "r+") as file:
    del file["tokenizer"]
END
    likeliest "$(checkpoint plain 1)" "$folder/text" >"$folder/said"
    likeliest "$folder/numbers.h5" "$folder/ids" >"$folder/numbers"
    quiet python - "$(checkpoint plain 1)" "$folder" <<'END'
import sys
import h5py
with h5py.File(sys.argv[1]) as file:
    text, ends = file["tokenizer/bytes"][...].tobytes(), [0, *file["tokenizer/ends"][...].tolist()]
folder = sys.argv[2]
read = lambda name: open(folder + "/" + name, "rb").read()
tokens = [int(token) for token in read("numbers").split()]
count = len(read("ids").split())
expected = read("text") + b"".join(text[ends[i] : ends[i + 1]] for i in tokens[count:])
assert len(tokens) == count + 20, tokens
assert read("said").rstrip(b"\n") == expected.rstrip(b"\n"), (read("said"), expected)
END
}

# Beside the package, on texts with what is hard in texts.
test_json() {
    local kind folder=$TEST_FOLDER/json
    has_module tokenizers 'tokens of the package' || return 0
    mkdir "$folder"
    write_text 3000 >"$folder/text"
    quiet "$interpreter" $tools/check_tokenizers.py json "$folder" docs/*.md src/*/README.md "$folder/text"
    for kind in gpt2 prefix digits llama3 qwen removed; do
        prepare "json-$kind" --input="$folder/documents" --tokenizer="$folder/$kind.json"
        require_tokens "json-$kind" "$folder/$kind.ids"
    done
    has_module transformers 'the AutoTokenizer of exported models' || return 0
    for kind in prefix qwen; do
        train 1 "model-$kind" --data.train="$TEST_FOLDER/json-$kind/train.h5" --train.steps=0 --output.checkpoint_at_start=true
        quiet "$program" export --checkpoint="$(checkpoint "model-$kind" 0)" --to="$folder/$kind.model"
        quiet "$interpreter" $tools/check_tokenizers.py auto "$folder/$kind.model" "$folder" "$folder/$kind.ids"
        quiet "$interpreter" $tools/check_tokenizers.py saved "$folder/$kind.model" "$folder/$kind.model"
        quiet "$program" import --from="$folder/$kind.model" --to="$folder/$kind.h5"
    done
    train 1 tuned-qwen --data.train="$TEST_FOLDER/json-qwen/train.h5" --train.init_from="$folder/qwen.h5" --train.steps=0
}

# Beside spm_encode, which cuts line by line.
test_sentencepiece() {
    local kind folder=$TEST_FOLDER/spm options=()
    if "$program" --version | grep -q 'no SentencePiece'; then
        echo 'skipped: SentencePiece: the program was built without'
        return
    fi
    if ! command -v spm_train >/dev/null || ! command -v spm_encode >/dev/null; then
        echo 'skipped: SentencePiece: no spm_train and spm_encode (Debian: sentencepiece)'
        return
    fi
    mkdir -p "$folder/documents"
    { cat docs/*.md; write_text 2000; } | grep . >"$folder/text"
    {
        sed -n '1~7p' "$folder/text" | head -n 200
        printf '%s\n' 'don–t  two   spaces 日本語 é é 😀 ½ ﬁ <s> </s> ▁x' 'x'
    } >"$folder/lines"
    awk -v folder="$folder/documents" '
        { file = sprintf("%s/%04d", folder, NR); printf "%s", $0 >file; close(file) }' "$folder/lines"
    for kind in unigram bpe; do
        options=()
        [ $kind = unigram ] ||
            options=(--byte_fallback=true --normalization_rule_name=identity --remove_extra_whitespaces=false)
        quiet spm_train --input="$folder/text" --model_prefix="$folder/$kind" --vocab_size=900 --model_type=$kind \
            --num_threads=1 --minloglevel=2 "${options[@]}"
        spm_encode --model="$folder/$kind.model" --output_format=id <"$folder/lines" >"$folder/$kind.ids"
        prepare "spm-$kind" --input="$folder/documents" --tokenizer="$folder/$kind.model"
        require_tokens "spm-$kind" "$folder/$kind.ids"
        train 1 "model-$kind" --data.train="$TEST_FOLDER/spm-$kind/train.h5" --train.steps=1
        "$program" generate --checkpoint="$(checkpoint "model-$kind" 1)" --prompt='the alpha' --tokens=9 >"$folder/said"
        grep -aq '^the alpha' "$folder/said" || give_up "text: $(<"$folder/said")"
        quiet "$program" export --checkpoint="$(checkpoint "model-$kind" 1)" --to="$folder/$kind.hf"
        quiet "$program" import --from="$folder/$kind.hf" --to="$folder/$kind.h5"
        cmp "$folder/$kind.model" "$folder/$kind.hf/tokenizer.model" >&2 || give_up 'another tokenizer.model'
    done
    require_refusal "tokenizer 'unigram.model' (tokenizer.model, xxh3 .* with 'bpe.model' (tokenizer.model" train \
        tests/data/tiny.ini --data.train="$TEST_FOLDER/spm-bpe/train.h5" --output.folder="$TEST_FOLDER/model-unigram" \
        --train.steps=2
    local what='the AutoTokenizer of SentencePiece'
    if has_module transformers "$what" && has_module sentencepiece "$what"; then
        for kind in unigram bpe; do
            quiet "$interpreter" $tools/check_tokenizers.py auto "$folder/$kind.hf" "$folder" "$folder/$kind.ids"
            quiet "$interpreter" $tools/check_tokenizers.py saved "$folder/$kind.hf" "$folder/$kind.hf"
            cmp "$folder/$kind.model" "$folder/$kind.hf/tokenizer.model" >&2 || give_up 'another tokenizer.model is saved'
        done
    fi
}

test_prepare
start test_model
start test_prompt
start test_json
start test_sentencepiece
finish
