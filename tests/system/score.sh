#!/bin/bash
# Log likelihoods of continuations are sums of the losses per token that eval writes, and the answers follow from them, on any
# number of ranks; what is greedy is what generate writes at temperature 0.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# score RANKS ITEMS NAME OPTIONS...: samples in NAME.jsonl, what is printed in NAME.txt, below $TEST_FOLDER.
score() {
    local ranks=$1 items=$2 name=$3
    shift 3
    launch "$ranks" 1 "$program" score "$items" --checkpoint="$file" --samples="$TEST_FOLDER/$name.jsonl" "$@" \
        >"$TEST_FOLDER/$name.txt" || give_up "score $items on $ranks ranks"
}

# check_kind NAME OPTIONS...: a model, and all texts by eval, each in a sequence of its own.
check_kind() {
    local name=$1 folder=$TEST_FOLDER/$1-texts file text ranks length
    shift
    train 1 "$name" --train.steps=20 --train.learning_rate=0.01 "$@"
    file=$(checkpoint "$name" 20)
    mkdir "$folder"
    python "$tools"/check_score.py make "$data/validation.h5" "$folder" 64 >"$folder/lengths" || give_up "no items"
    while read -r text length; do
        quiet "$program" eval --checkpoint="$file" --data="$folder/text-$text.h5" --model.context_length="$length" \
            --per_token_loss="$folder/text-$text.losses.h5"
    done <"$folder/lengths"
    for ranks in 1 3; do
        score "$ranks" "$folder/items.jsonl" "$name-$ranks"
        log_says "$TEST_FOLDER/$name-$ranks.txt" 'shortened        3 texts' 'questions        3' 'continuations    3'
        cp "$TEST_FOLDER/$name-$ranks.txt" "$folder/summary.txt"
        quiet python "$tools"/check_score.py check "$folder" "$TEST_FOLDER/$name-$ranks.jsonl"
    done
}

# greedy NAME LINE: True or False, of a continuation.
greedy() { python -c 'import json, sys; print(json.loads(open(sys.argv[1]).readlines()[int(sys.argv[2])])["resps"][0][0][1])' \
    "$TEST_FOLDER/$1.jsonl" "$2"; }

check_greedy() {
    local file text
    file=$(checkpoint sketch 20)
    text=$("$program" generate --checkpoint="$file" --prompt='the alpha' --tokens=9 --temperature=0)
    python - "$text" >"$TEST_FOLDER/greedy-items.jsonl" <<'END_OF_PYTHON'
import json, sys
text = sys.argv[1]
end = "y" if text[-1] == "x" else "x"
for written in text, text[:-1] + end:
    print(json.dumps({"context": written[:9], "continuation": written[9:]}))
END_OF_PYTHON
    score 1 "$TEST_FOLDER/greedy-items.jsonl" greedy
    [ "$(greedy greedy 0)" = True ] || give_up "what generate writes is not greedy: $(<"$TEST_FOLDER/greedy.jsonl")"
    [ "$(greedy greedy 1)" = False ] || give_up "another end is greedy: $(<"$TEST_FOLDER/greedy.jsonl")"
    log_says "$TEST_FOLDER/greedy.txt" 'greedy           0.5'
}

# A text without a context needs a token before it, which a tokenizer with one that ends documents has.
check_start() {
    local file from
    quiet "$program" prepare --input="$TEST_FOLDER/text.txt" --output="$TEST_FOLDER/ends" --end_of_document=auto
    train 1 ends --data.train="$TEST_FOLDER/ends/train.h5" --train.steps=2
    printf '{"context": "", "continuation": "the"}\n' >"$TEST_FOLDER/start-items.jsonl"
    file=$(checkpoint ends 2)
    score 1 "$TEST_FOLDER/start-items.jsonl" start
    score 1 "$TEST_FOLDER/start-items.jsonl" start-256 --start=256
    score 1 "$TEST_FOLDER/start-items.jsonl" start-65 --start=65
    cmp "$TEST_FOLDER/start.jsonl" "$TEST_FOLDER/start-256.jsonl" >&2 || give_up "the start is not token 256"
    ! cmp -s "$TEST_FOLDER/start.jsonl" "$TEST_FOLDER/start-65.jsonl" || give_up "--start does nothing"
    from=$(checkpoint sketch 20)
    printf '{"context": "", "continuation": "the"}\n' >"$TEST_FOLDER/none.jsonl"
    require_refusal "line 1: the context is empty.*--start=TOKEN" score "$TEST_FOLDER/none.jsonl" --checkpoint="$from"
}

check_refusals() {
    local from line words
    from=$(checkpoint sketch 20)
    while IFS='|' read -r line words; do
        printf '{"context": "a", "continuation": "b"}\n\n%s\n' "$line" >"$TEST_FOLDER/refused.jsonl"
        require_refusal "refused.jsonl': line 3.*$words" score "$TEST_FOLDER/refused.jsonl" --checkpoint="$from"
    done <<'END_OF_LINES'
{"context": "a"|no JSON
{"context": "a"}|neither .*continuation
{"query": "a", "choices": ["b", "c"]}|"gold" must be
{"query": "a", "choices": ["b", "c"], "gold": 2}|"gold" must be
{"query": "a", "choices": ["b", 3], "gold": 0}|choice 1 is no string
{"context": "a", "continuation": ""}|continuation is empty
END_OF_LINES
    printf '{"context": "a", "continuation": "%0100d"}\n' 1 >"$TEST_FOLDER/refused.jsonl"
    require_refusal "continuation has 100 tokens, more than the context of 64" score "$TEST_FOLDER/refused.jsonl" \
        --checkpoint="$from"
    require_refusal "which items" score --checkpoint="$from"
    require_refusal "cannot read items.*missing.jsonl" score "$TEST_FOLDER/missing.jsonl" --checkpoint="$from"
    require_refusal "would replace what is read" score "$TEST_FOLDER/none.jsonl" --checkpoint="$from" \
        --samples="$TEST_FOLDER/none.jsonl"
}

prepare_data
check_kind sketch
start check_kind window --attention.local=window --attention.gate=data
start check_kind softmax --attention.kind=softmax
finish
check_greedy
check_start
check_refusals
