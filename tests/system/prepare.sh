#!/bin/bash
# prepare uses what it accepts whole, says what it leaves out, refuses the rest with its place, and leaves earlier data alone.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# prepare FOLDER OPTIONS...: prepares into $TEST_FOLDER/FOLDER; what it says is in $TEST_FOLDER/FOLDER.log.
prepare() {
    local folder=$1
    shift
    "$program" prepare --output="$TEST_FOLDER/$folder" "$@" >"$TEST_FOLDER/$folder.log" 2>&1 ||
        give_up "prepare $*: $(<"$TEST_FOLDER/$folder.log")"
}

# prepare_says FOLDER WORDS...: what `prepare` printed.
prepare_says() {
    log_says "$TEST_FOLDER/$1.log" "${@:2}"
}

# refuse WORDS OPTIONS...: into a new folder, of which nothing is left; standard input is that of the caller.
refuse() {
    local words=$1 message word list
    shift
    message=$("$program" prepare --output="$TEST_FOLDER/refused/deep//er/" "$@" 2>&1 >"$TEST_FOLDER/refused.out") &&
        give_up "accepted: $*"
    [ "$(wc -l <<<"$message")" -eq 1 ] || give_up "not one line: $message"
    IFS='|' read -ra list <<<"$words"
    for word in "${list[@]}"; do grep -qF -e "$word" <<<"$message" || give_up "no '$word' in: $message"; done
    [ ! -e "$TEST_FOLDER/refused" ] || give_up "something is left: $(find "$TEST_FOLDER/refused")"
}

# holds FOLDER FILE EXPRESSION: of the tokens and starts of documents of FILE, a Python expression that is true.
holds() {
    python - "$TEST_FOLDER/$1/$2.h5" "$3" <<'END' || give_up "$1/$2.h5: not $3"
import sys
import h5py
with h5py.File(sys.argv[1]) as file:
    tokens, documents = file["tokens"][...].tolist(), file["documents"][...].tolist()
    vocab_size, tokenizer = int(file.attrs["vocab_size"]), file.attrs["tokenizer"]
    tokenizer = tokenizer if isinstance(tokenizer, bytes) else tokenizer.encode()
    text = "".join(chr(token) if token < 256 else "#" for token in tokens)
sys.exit(not eval(sys.argv[2]))
END
}

inputs=$TEST_FOLDER/inputs
mkdir "$inputs"
write_text 1000 >"$inputs/text.txt"
words=$(wc -c <"$inputs/text.txt")

test_texts() {
    # A separator at the end, a last document of one byte, empty ones
    { cat "$inputs/text.txt"; printf -- '---\n\n'; } >"$inputs/ends.txt"
    prepare ends --input="$inputs/ends.txt" --document_separator=---
    prepare_says ends "left out: 1 document without text" "validation: 4.99 % of the tokens, 1 document; the last" \
        "are cut off for it"
    mkdir "$inputs/tiny"
    cp "$inputs/text.txt" "$inputs/tiny/"
    printf x >"$inputs/tiny/x"
    touch "$inputs/tiny/.hidden" "$inputs/tiny/text.txt~" "$inputs/tiny/z"
    prepare tiny --input="$inputs/tiny"
    prepare_says tiny "1 name that begins with '.'" "1 name that ends with '~'" "left out: 1 document without text" "2 documents"
    holds tiny validation 'text[-1] == "x" and len(documents) == 2'
    prepare whole --input="$inputs/tiny" --validation_fraction=0
    prepare_says whole "validation: none"
    holds whole train "len(tokens) == $words + 1 and documents == [0, $words]"
    [ ! -e "$TEST_FOLDER/whole/validation.h5" ] || give_up "a file for no validation"

    # A token that ends documents
    printf 'one\n---\ntwo and more\n---\nthree\n' >"$inputs/three.txt"
    prepare ended --input="$inputs/three.txt" --document_separator=--- --end_of_document=auto --validation_fraction=0
    holds ended train 'text == "one\n#two and more\n#three\n#" and documents == [0, 5, 19] and vocab_size == 257'
    prepare long --input="$inputs/text.txt" --end_of_document=auto
    holds long validation 'text[-1] == "#" and tokenizer == b"bytes+end" and len(documents) == 1'
    holds long train '"#" not in text and len(documents) == 1'
    train 1 long-run --data.train="$TEST_FOLDER/long/train.h5" --train.steps=1
    "$program" eval --checkpoint="$(checkpoint long-run 1)" --data="$TEST_FOLDER/long/validation.h5" >"$TEST_FOLDER/long-eval"
    grep -qE '^bits per byte +[0-9]+\.[0-9]+$' "$TEST_FOLDER/long-eval" || give_up "eval says: $(<"$TEST_FOLDER/long-eval")"
    prepare ten --input="$inputs/three.txt" --document_separator=--- --end_of_document=10 --validation_fraction=0
    holds ten train 'vocab_size == 256 and documents == [0, 4, 17] and text == "one\ntwo and more\nthree\n"'

    refuse "no line is equal to|leave it out" --input="$inputs/three.txt" --document_separator='-+-'
    refuse "but for blanks this one is: '$inputs/three.txt':2" --input="$inputs/three.txt" --document_separator=' ---'
    refuse "vocabulary has tokens 0 to 255|or 256" --input="$inputs/three.txt" --end_of_document=257
    refuse "neither auto nor the number" --input="$inputs/three.txt" --end_of_document=end
    printf x >"$inputs/x"
    refuse "1 tokens are too few" --input="$inputs/x"
}

test_earlier_files() {
    local sum
    prepare kept --input="$inputs/text.txt"
    sum=$(sha256sum "$TEST_FOLDER"/kept/*)
    for fraction in 0.1 0; do
        "$program" prepare --input="$inputs/text.txt" --output="$TEST_FOLDER/kept" --validation_fraction=$fraction \
            >"$TEST_FOLDER/kept.log" 2>&1 && give_up "earlier data are replaced"
        prepare_says kept "kept/train.h5' is there already" "--overwrite"
        sha256sum --quiet --check <<<"$sum" >&2 || give_up "earlier data are changed"
    done
    prepare kept --input="$inputs/text.txt" --overwrite --validation_fraction=0
    prepare_says kept "validation.h5: the earlier one is removed"
    [ "$(ls "$TEST_FOLDER/kept")" = train.h5 ] || give_up "there is more than train.h5: $(ls "$TEST_FOLDER/kept")"
    mkdir "$TEST_FOLDER/folder" "$TEST_FOLDER/folder/train.h5"
    "$program" prepare --input="$inputs/text.txt" --output="$TEST_FOLDER/folder" --overwrite >"$TEST_FOLDER/folder.log" 2>&1 &&
        give_up "a folder is replaced"
    prepare_says folder "is no file"
    mkdir "$TEST_FOLDER/own"
    cp "$inputs/text.txt" "$TEST_FOLDER/own/"
    "$program" prepare --input="$TEST_FOLDER/own" --output="$TEST_FOLDER/own/" >"$TEST_FOLDER/own.log" 2>&1 &&
        give_up "into the input"
    prepare_says own "Choose a folder outside"
    [ "$(ls "$TEST_FOLDER/own")" = text.txt ] || give_up "something new in the input"
}

test_ids() {
    local pieces=$inputs/pieces.txt
    printf 'a\nb\n</s>\n' >"$pieces"
    # Many numbers, line ends of both sorts, no end of the last line, blank lines
    awk 'BEGIN { for (line = 1; line <= 2000; line++) {
            printf "0 1\t"
            for (i = 0; i <= line % 40; i++) printf "1 "
            printf "\r\n\n" }
        printf "1 2" }' >"$inputs/ids"
    prepare ids --ids --pieces="$pieces" --end_of_document=auto --validation_fraction=0 <"$inputs/ids"
    prepare_says ids "left out: 2000 documents without tokens" "2001 documents"
    holds ids train 'len(documents) == 2001 and all(tokens[start - 1] == 2 for start in documents) and tokens.count(2) == 2001'
    holds ids train 'tokens[:5] == [0, 1, 1, 1, 2] and tokens[-3:] == [2, 1, 2]'
    prepare numbers --ids --vocab_size=100000 <<<'99999 5 0 7'
    holds numbers train 'tokens == [99999, 5] and vocab_size == 100000'

    refuse "line 2: '1\\x00'|no token number" --ids --pieces="$pieces" < <(printf '0 1\n1\0 1\n')
    refuse "line 1: '-1'" --ids --pieces="$pieces" <<<'0 -1'
    refuse "line 1: token 99999999999999999999999, but|0 to 2" --ids --pieces="$pieces" <<<'0 99999999999999999999999'
    refuse "line 3: token 3, but" --ids --pieces="$pieces" < <(printf '0\n1\n3')
    refuse "no token numbers" --ids --pieces="$pieces" </dev/null
    refuse "standard input: Is a directory" --ids --pieces="$pieces" <"$TEST_FOLDER"
    refuse "it is a folder|--pieces" --ids --pieces="$TEST_FOLDER" <<<'0 1'
    refuse "needs the vocabulary" --ids <<<'0 1'
    refuse "0 pieces are one of" --ids --vocab_size=9 --end_of_document=auto <<<'0 1'
    refuse "are for texts" --ids --vocab_size=9 --utf8 <<<'0 1'
}

# Token files of other programs: the same tokens in each form.
test_token_files() {
    local folder=$inputs/foreign name gpt=(--vocab_size=50257 --validation_fraction=0)
    mkdir "$folder"
    python - "$folder" <<'END'
import sys
import numpy as np
folder = sys.argv[1]
tokens = np.random.default_rng(1).integers(0, 50256, 300_000)
tokens[[0, 1000, 1001, 299_000]] = 50256
for kind in ("u2", "u4", ">u2", "<u4", "i4", ">i8", "u8"):
    np.save(f"{folder}/{kind.strip('<>')}{'-big' if kind[0] == '>' else ''}.npy", tokens.astype(kind))
for version in ((2, 0), (3, 0)):
    with open(f"{folder}/v{version[0]}.npy", "wb") as file:
        np.lib.format.write_array(file, tokens.astype("u2"), version)
def llmc(name, magic, version, kind, count):
    header = np.zeros(256, "<i4")
    header[:3] = magic, version, count
    open(f"{folder}/{name}", "wb").write(header.tobytes() + tokens.astype(kind).tobytes())
llmc("gpt2.bin", 20240520, 1, "<u2", len(tokens))
llmc("llama3.bin", 20240801, 7, "<u4", len(tokens))
llmc("count.bad", 20240520, 1, "<u2", len(tokens) + 1)
llmc("version.bad", 20240520, 2, "<u2", len(tokens))
tokens.astype("<u2").tofile(f"{folder}/nano.bin")
tokens.astype("<u4").tofile(f"{folder}/raw")
np.save(f"{folder}/real.bad", tokens.astype("f4")); np.save(f"{folder}/square.bad", tokens.reshape(2, -1))
high = tokens.copy(); high[200_000] = -7; np.save(f"{folder}/high.bad", high)
open(f"{folder}/cut.bad", "wb").write(open(f"{folder}/u2.npy", "rb").read()[:-3])
open(f"{folder}/odd.bin", "wb").write(b"\0" * 7)
END
    prepare npy --tokens="$folder/u2.npy" "${gpt[@]}"
    holds npy train 'len(tokens) == 300_000 and documents == [0] and vocab_size == 50257'
    for name in u4.npy u2-big.npy i4.npy i8-big.npy u8.npy v2.npy v3.npy gpt2.bin llama3.bin nano.bin; do
        prepare "from-$name" --tokens="$folder/$name" "${gpt[@]}"
        cmp "$TEST_FOLDER/npy/train.h5" "$TEST_FOLDER/from-$name/train.h5" >&2 || give_up "$name gives other tokens"
    done
    prepare raw --tokens="$folder/raw" --token_format=raw32 "${gpt[@]}"
    cmp "$TEST_FOLDER/npy/train.h5" "$TEST_FOLDER/raw/train.h5" >&2 || give_up "raw32 gives other tokens"
    prepare documents --tokens="$folder/gpt2.bin,$folder/u2.npy" --end_of_document=50256 "${gpt[@]}"
    prepare_says documents "gpt2.bin: llmc, 300000 tokens of 2 bytes" "u2.npy: npy, 300000 tokens" "6 documents"
    holds documents train 'documents == [0, 1001, 299_001, 300_001, 301_002, 599_002] and len(tokens) == 600_002'
    prepare twice --tokens="$folder/u2.npy,$folder/../foreign/u2.npy" "${gpt[@]}"
    prepare_says twice "left out: 1 name of what is read already"
    cmp "$TEST_FOLDER/npy/train.h5" "$TEST_FOLDER/twice/train.h5" >&2 || give_up "a file that is named twice is read twice"
    prepare parts --tokens="$folder/u2.npy" --vocab_size=50257
    prepare_says parts "validation: 5 % of the tokens, 1 document"

    refuse "count.bad|300001 tokens of 2 bytes" --tokens="$folder/count.bad" "${gpt[@]}"
    refuse "version.bad|20240520 and 2" --tokens="$folder/version.bad" "${gpt[@]}"
    refuse "real.bad.npy|'<f4'|uint32" --tokens="$folder/real.bad.npy" "${gpt[@]}"
    refuse "square.bad.npy|one dimension|reshape" --tokens="$folder/square.bad.npy" "${gpt[@]}"
    refuse "high.bad.npy|token 200000 is -7|0 to 50256" --tokens="$folder/high.bad.npy" "${gpt[@]}"
    refuse "cut.bad|Copy it again" --tokens="$folder/cut.bad" "${gpt[@]}"
    refuse "odd.bin|7 bytes" --tokens="$folder/odd.bin" "${gpt[@]}"
    refuse "cannot be seen|raw32" --tokens="$folder/raw" "${gpt[@]}"
    refuse "cannot be seen|raw32" --tokens="$folder/nano.bin" --vocab_size=70000
    refuse "no NumPy file" --tokens="$folder/nano.bin" --token_format=npy "${gpt[@]}"
    refuse "vocabulary has tokens 0 to 99" --tokens="$folder/nano.bin" --vocab_size=100
    refuse "one of them" --tokens="$folder/nano.bin" --vocab_size=100 --pieces=x
    refuse "Give one of them" --tokens="$folder/nano.bin" --input=x
    refuse "is that of --tokens" --input="$inputs/text.txt" --token_format=npy
}

# A file that cannot grow: what a full disk looks like. One line, and no file is left.
test_full_disk() {
    local full=$TEST_FOLDER/full
    head -c 600000 /dev/urandom >"$inputs/random"
    od -An -v -tu1 "$inputs/random" >"$inputs/random.ids"
    for options in "--input=$inputs/random" "--ids --vocab_size=256"; do
        # shellcheck disable=SC2086
        (ulimit -f 300; "$program" prepare --output="$full" $options) <"$inputs/random.ids" >"$full.log" 2>"$full.err" &&
            give_up "written beyond the limit: $options"
        [ "$(wc -l <"$full.err")" -eq 1 ] || give_up "not one line: $(<"$full.err")"
        grep -q "File too large. Free some space" "$full.err" || give_up "says: $(<"$full.err")"
        [ -z "$(find "$full" -type f 2>/dev/null)" ] || give_up "left: $(find "$full" -type f)"
    done
}

start test_texts
start test_earlier_files
start test_ids
start test_token_files
start test_full_disk
finish
