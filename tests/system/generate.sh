#!/bin/bash
# Text comes out of checkpoints as the options ask: from bytes and from pieces, also from a model that has learned nothing.
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

prepare_data
start test_untrained
start test_pieces
train 2 bytes --train.steps=20 --train.learning_rate=0.01
start test_options
start test_prompts
finish
