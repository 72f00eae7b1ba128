#!/bin/bash
# Text comes out of checkpoints as the options ask: from bytes and from pieces, also from a model that has learned nothing;
# from many prompts at once, up to a stop text, and from the state of a prompt that was read another time.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# write_after FILE CHECKPOINT OPTIONS...: 40 tokens after a prompt, into $TEST_FOLDER/FILE.
write_after() {
    local file=$TEST_FOLDER/$1 from=$2
    shift 2
    "$program" generate --checkpoint="$from" --tokens=40 "$@" >"$file" || give_up "generate --checkpoint=$from $*"
}

# write FILE CHECKPOINT PROMPT OPTIONS...
write() { write_after "$1" "$2" --prompt="$3" "${@:4}"; }

same() { cmp "$TEST_FOLDER/$1" "$TEST_FOLDER/$2" >&2 || give_up "$1 and $2 are different texts"; }
different() { ! cmp -s "$TEST_FOLDER/$1" "$TEST_FOLDER/$2" || give_up "$1 and $2 are the same text"; }

# require_bytes FILE PROMPT: the prompt, 40 bytes more, and a new line.
require_bytes() {
    local size prompt=$2
    size=$(stat -c %s "$TEST_FOLDER/$1")
    [ "$(head -c ${#prompt} "$TEST_FOLDER/$1")" = "$prompt" ] || give_up "$1 does not start with '$prompt'"
    [ "$size" -eq $((${#prompt} + 41)) ] || give_up "$1 has $size bytes"
}

# The draws follow from the seed alone; temperature 0 and the likeliest of one token leave no choice.
test_options() {
    local file
    file=$(checkpoint bytes 20)
    write seed1 "$file" 'the ' --seed=1 --temperature=1
    write seed1-again "$file" 'the ' --seed=1 --temperature=1
    write seed2 "$file" 'the ' --seed=2 --temperature=1
    write cold "$file" 'the ' --temperature=0
    write cold2 "$file" 'the ' --temperature=0 --seed=2
    write one "$file" 'the ' --top_k=1 --seed=3
    write nucleus "$file" 'the ' --top_p=0.000001 --seed=4
    require_bytes seed1 'the '
    require_bytes cold 'the '
    same seed1 seed1-again
    different seed1 seed2
    same cold cold2
    same cold one
    same cold nucleus
}

# The prompt from a file, longer than the context of training, longer than other options may be, with a zero byte; several
# ranks speak once; a line about speed is on stderr.
test_prompts() {
    local file prompt
    file=$(checkpoint bytes 20)
    prompt=$(head -c 100 "$TEST_FOLDER/text.txt" | tr '\n' ' ')
    printf '%s' "$prompt" >"$TEST_FOLDER/prompt.txt"
    write long "$file" "$prompt"
    require_bytes long "$prompt"
    write_after long-file "$file" --prompt_file="$TEST_FOLDER/prompt.txt"
    same long long-file
    write longer "$file" "$(head -c 1000 "$TEST_FOLDER/text.txt")"
    require_bytes longer "$(head -c 1000 "$TEST_FOLDER/text.txt")"
    printf 'the \0 beta' >"$TEST_FOLDER/zero.txt"
    write_after zero "$file" --prompt_file="$TEST_FOLDER/zero.txt"
    cmp -n 10 "$TEST_FOLDER/zero" "$TEST_FOLDER/zero.txt" >&2 || give_up "a prompt ends at its zero byte"
    launch 2 1 "$program" generate --checkpoint="$file" --prompt="$prompt" --tokens=40 --timing \
        >"$TEST_FOLDER/ranks" 2>"$TEST_FOLDER/timing" || give_up "generate on two ranks"
    same long ranks
    if ! grep -q '40 tokens from position 100' "$TEST_FOLDER/timing" || [ "$(wc -l <"$TEST_FOLDER/timing")" -ne 1 ]; then
        give_up "--timing says: $(cat "$TEST_FOLDER/timing")"
    fi
}

# Softmax keeps keys and values instead of a state; and a model that was never trained has an opinion too.
test_untrained() {
    train 1 softmax --attention.kind=softmax --train.steps=0 --output.checkpoint_at_start=true
    write untrained "$(checkpoint softmax 0)" 'the ' --temperature=0
    write untrained-again "$(checkpoint softmax 0)" 'the ' --temperature=0
    require_bytes untrained 'the '
    same untrained untrained-again
}

# Words with their spaces as tokens; what is printed consists of them.
test_pieces() {
    local pieces=$TEST_FOLDER/pieces words
    mkdir "$pieces"
    {
        printf '<unk>\t0\n'
        tr -s ' .\n' '\n' <"$TEST_FOLDER/text.txt" | sort -u | sed '/^$/d; s/^/\xe2\x96\x81/; s/$/\t-1.5/'
    } >"$pieces/words.vocab"
    tr -d . <"$TEST_FOLDER/text.txt" | awk -v table="$pieces/words.vocab" '
        BEGIN { while ((getline line < table) > 0) { split(line, part, "\t"); id[substr(part[1], 4)] = count++ } }
        { for (i = 1; i <= NF; i++) printf "%d ", id[$i]; print "" }' |
        quiet "$program" prepare --ids --pieces="$pieces/words.vocab" --output="$pieces" --validation_fraction=0.2
    train 2 words --data.train="$pieces/train.h5" --train.steps=3
    "$program" eval --checkpoint="$(checkpoint words 3)" --data="$pieces/validation.h5" >"$TEST_FOLDER/eval"
    grep -qE '^bits per byte +[0-9]\.[0-9]+$' "$TEST_FOLDER/eval" || give_up "eval says: $(cat "$TEST_FOLDER/eval")"
    write words-text "$(checkpoint words 3)" ' alpha beta'
    words=$(sed 's/<unk>/ unknown/g' "$TEST_FOLDER/words-text")
    [[ $words == ' alpha beta '* ]] || give_up "not after the prompt: $words"
    [ "$(wc -w <<<"$words")" -eq 42 ] || give_up "not 42 words: $words"
    for word in $words; do
        [ "$word" = unknown ] || grep -qP "\xe2\x96\x81$word\t" "$pieces/words.vocab" || give_up "no piece: $word"
    done
}

# What follows a prompt ends before the stop text, wherever tokens end.
test_stop() {
    local file text stop
    file=$(checkpoint bytes 20)
    write stop-without "$file" 'the ' --temperature=0
    text=$(<"$TEST_FOLDER/stop-without")
    text=${text#the }
    for stop in "${text:7:1}" "${text:10:3}" "${text:20:9}"; do
        write stopped "$file" 'the ' --temperature=0 --stop="$stop"
        printf 'the %s\n' "${text%%"$stop"*}" >"$TEST_FOLDER/expected"
        same stopped expected
    done
    write not-stopped "$file" 'the ' --temperature=0 --stop='no such text'
    same not-stopped stop-without
}

# Each line is continued as it would be alone, whatever stands beside it and however many at a time.
test_many() {
    local file number=0 prompt at_once
    file=$(checkpoint bytes 20)
    printf '%s\n' 'the ' 'alpha and beta' 'g' 'to zeta eta in theta gamma of delta and epsilon' 'é' >"$TEST_FOLDER/prompts.txt"
    write_after many "$file" --prompts="$TEST_FOLDER/prompts.txt" --temperature=0 --stop='.'
    while read -r prompt; do
        write "alone-$((number++))" "$file" "$prompt" --temperature=0 --stop='.'
    done <"$TEST_FOLDER/prompts.txt"
    write alone-0 "$file" 'the ' --temperature=0 --stop='.' # with its blank
    quiet python - "$TEST_FOLDER" <<'END'
import json, sys
folder = sys.argv[1]
prompts = open(f"{folder}/prompts.txt", encoding="utf-8").read().split("\n")[:-1]
lines = [json.loads(line) for line in open(f"{folder}/many", encoding="utf-8")]
assert [line["prompt"] for line in lines] == prompts, lines
for number, line in enumerate(lines):
    alone = open(f"{folder}/alone-{number}", encoding="utf-8", errors="replace").read()
    assert line["prompt"] + line["text"] + "\n" == alone, (line, alone)
    assert line["finish"] == ("length" if line["tokens"] == 40 else "stop"), line
END
    for at_once in 1 2 16; do
        write_after "drawn-$at_once" "$file" --prompts="$TEST_FOLDER/prompts.txt" --at_once=$at_once --temperature=1 --seed=5
    done
    same drawn-1 drawn-2
    same drawn-1 drawn-16
    launch 2 1 "$program" generate --checkpoint="$file" --tokens=40 --prompts="$TEST_FOLDER/prompts.txt" --temperature=1 \
        --seed=5 >"$TEST_FOLDER/drawn-ranks" || give_up "generate --prompts on two ranks"
    same drawn-1 drawn-ranks
}

# after WORDS FILE OTHER: what is in FILE, behind these words, is what is in OTHER.
after() {
    printf '%s' "$1" | cat - "$TEST_FOLDER/$2" | cmp - "$TEST_FOLDER/$3" >&2 || give_up "$2 does not go on as $3"
}

# check_state NAME OPTIONS...: a prompt that is read in two runs, or in one whose text is written in another.
check_state() {
    local name=$1 file state=$TEST_FOLDER/$1.state.h5 prompt rest='and to the '
    shift
    train 1 "$name" --train.steps=2 "$@"
    file=$(checkpoint "$name" 2)
    prompt=$(head -c 150 "$TEST_FOLDER/text.txt" | tr '\n' ' ')
    write "$name-whole" "$file" "$prompt$rest" --temperature=1
    write "$name-first" "$file" "$prompt" --temperature=1
    "$program" generate --checkpoint="$file" --prompt="$prompt" --tokens=0 --save_state="$state" >"$TEST_FOLDER/$name-read"
    printf '%s\n' "$prompt" >"$TEST_FOLDER/expected-$name"
    same "$name-read" "expected-$name"
    write_after "$name-rest" "$file" --load_state="$state" --temperature=1
    after "$prompt" "$name-rest" "$name-first"
    launch 2 1 "$program" generate --checkpoint="$file" --tokens=40 --load_state="$state" --prompt="$rest" --temperature=1 \
        --save_state="$state.2" >"$TEST_FOLDER/$name-rest" || give_up "generate --load_state on two ranks"
    after "$prompt" "$name-rest" "$name-whole"
    write_after "$name-rest" "$file" --load_state="$state.2" --temperature=1
    after "$prompt$rest" "$name-rest" "$name-whole"
    "$program" inspect "$state" >"$TEST_FOLDER/inspected" || give_up "inspect $state"
    grep -qF "polysketch-state, version 1" "$TEST_FOLDER/inspected" || give_up "inspect says: $(<"$TEST_FOLDER/inspected")"
    quiet python - "$state" 150 <<'END'
import sys, h5py, numpy as np
with h5py.File(sys.argv[1]) as file:
    assert file.attrs["position"] == int(sys.argv[2]) and file["logits"].shape == (256,)
    parts = [part for layer in ("layers.0", "layers.1") for part in file[layer].values()]
    assert parts and all(np.isfinite(part[:]).all() and "xxh3" in part.attrs for part in parts)
END
}

# A state of another model, and one that is damaged.
test_other_states() {
    local state=$TEST_FOLDER/window.state.h5
    require_refusal 'is the state of another model.*Use the checkpoint' generate --checkpoint="$(checkpoint softmax-state 2)" \
        --load_state="$state" --prompt=a
    train 1 other-scale --train.steps=2 --attention.local=window --attention.gate=data --attention.scale=0.1
    require_refusal 'is the state of another model' generate --checkpoint="$(checkpoint other-scale 2)" --load_state="$state" \
        --prompt=a
    cp "$state" "$state.bad"
    quiet python - "$state.bad" <<'END'
import sys, h5py
with h5py.File(sys.argv[1], "r+") as file:
    file["layers.1/near_values"][0, 3, 2] += 1
END
    require_refusal 'is damaged: the values of layers.1/near_values' generate --checkpoint="$(checkpoint window 2)" \
        --load_state="$state.bad" --prompt=a
}

prepare_data
start check_state window --attention.local=window --attention.gate=data
start check_state softmax-state --attention.kind=softmax --attention.gate=data
start check_state learned --attention.sketch=learned
start test_untrained
start test_pieces
train 2 bytes --train.steps=20 --train.learning_rate=0.01
start test_options
start test_prompts
start test_stop
start test_many
finish
test_other_states
