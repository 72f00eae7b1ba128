#!/bin/bash
# Tests of recall as sources: what is asked and how it is answered agrees with NumPy; losses and accuracy do not depend on the
# grid of ranks or on stretches; runs continue bit by bit; and a small model learns to recall.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

declare -A sizes=(
    [copying]="--data.items=4 --data.source_vocab=8" [induction]="--data.source_vocab=8"
    [recall]="--data.items=4 --data.source_vocab=12" [needle]="--model.context_length=128"
)

# run RANKS SOURCE FOLDER [OPTIONS...]: trains on a source of small sizes. $data is read by needle alone.
run() {
    local ranks=$1 source=$2 folder=$3
    shift 3
    # shellcheck disable=SC2086 # several options
    train "$ranks" "$folder" --data.source="$source" ${sizes[$source]} --evaluate.sequences=20 \
        --train.schedule=constant "$@"
}

# evaluate RANKS NAME CHECKPOINT [OPTIONS...]: what is printed in NAME.txt, losses and tokens in NAME.h5.
evaluate() {
    local ranks=$1 name=$2 file=$3
    shift 3
    launch "$ranks" 1 "$program" eval --checkpoint="$file" --per_token_loss="$TEST_FOLDER/$name.h5" "$@" \
        >"$TEST_FOLDER/$name.txt" || give_up "eval $* on $ranks ranks"
}

# answered NAME: accuracy and whole sequences that were printed.
answered() {
    awk '$1 == "accuracy" { a = $2 } $1 == "sequences" { print "accuracy", a, "sequences", $3 }' "$TEST_FOLDER/$1.txt"
}

# require_between WHAT NUMBER LOW HIGH
require_between() {
    awk -v number="$2" -v low="$3" -v high="$4" 'BEGIN { exit !(number >= low && number <= high) }' ||
        give_up "$1 is $2, not between $3 and $4"
}

# same_tokens NAME NAME: two evaluations were of the same sequences, bit by bit.
same_tokens() {
    quiet h5diff "$TEST_FOLDER/$1.h5" "$TEST_FOLDER/$2.h5" /inputs
    quiet h5diff "$TEST_FOLDER/$1.h5" "$TEST_FOLDER/$2.h5" /targets
}

# as_trained NAME FOLDER: the evaluation at the end of training said the same.
as_trained() {
    local words
    words=$(paste -d ' ' <(column accuracy "$TEST_FOLDER/$2/evaluations.csv") \
        <(column sequences_right "$TEST_FOLDER/$2/evaluations.csv") | tail -n 1)
    awk -v printed="$(answered "$1")" -v trained="$words" 'BEGIN { split(printed, p); split(trained, t)
        exit !(p[2] - t[1] < 1e-5 && t[1] - p[2] < 1e-5 && p[4] - t[2] < 1e-5 && t[2] - p[4] < 1e-5) }' ||
        give_up "$1: printed $(answered "$1"), in training $words"
}

# Targets, losses and accuracy against NumPy; the same sequences on other grids, where accuracy may move by the rounding of two
# equal logits, which these seeds do not have.
check_answers() {
    local source=$1 items=4 alphabet=8 file needs=()
    [ "$source" != recall ] || alphabet=12
    [ "$source" != needle ] || needs=(--data="$data/train.h5")
    run 2 "$source" "$source-2"
    file=$(checkpoint "$source-2" 5)
    require_between "loss of the first step" "$(column loss "$TEST_FOLDER/$source-2/metrics.csv" | head -n 1)" 1.5 6
    evaluate 1 "$source" "$file" --sequences=20 "${needs[@]}"
    as_trained "$source" "$source-2"
    quiet python "$tools"/spread_parameters.py "$file"
    evaluate 1 "$source" "$file" --sequences=20 "${needs[@]}"
    python "$tools"/check_recall.py "$file" "$TEST_FOLDER/$source.h5" "$source" $items $alphabet \
        >"$TEST_FOLDER/$source.numpy" || give_up "$source: NumPy"
    [ "numpy $(answered "$source")" = "$(<"$TEST_FOLDER/$source.numpy")" ] ||
        give_up "$source: $(answered "$source") and $(<"$TEST_FOLDER/$source.numpy")"
    [ "$source" != needle ] || [ "$(grep -c '^ *[0-9]* to ' "$TEST_FOLDER/needle.txt")" = 10 ] || give_up "no depths"
    evaluate 4 "$source-4" "$file" --sequences=20 --parallel.data_ranks=2 --train.stretch_length=32 \
        --train.micro_batch_sequences=3 "${needs[@]}"
    same_tokens "$source" "$source-4"
    [ "$(answered "$source")" = "$(answered "$source-4")" ] || give_up "$source: accuracy on 4 ranks"
}

# Losses of training on grids of ranks, and in stretches.
check_grids() {
    local source=$1 grid ranks data_ranks
    run 1 "$source" "$source-grid" --train.steps=3
    # shellcheck disable=SC2086 # several options
    train_moved 1 "$source-grid" 3 --data.source="$source" ${sizes[$source]} --evaluate.sequences=20 --train.schedule=constant
    for grid in 2/1 3/1 4/1 4/2; do
        ranks=${grid%/*} data_ranks=${grid#*/}
        run "$ranks" "$source" "$source-$ranks-$data_ranks" --train.steps=3 --parallel.data_ranks="$data_ranks"
        require_close "$source-grid" "$source-$ranks-$data_ranks" "$source-grid"
    done
    run 2 "$source" "$source-stretches" --train.steps=3 --train.stretch_length=32 --train.micro_batch_sequences=2
    require_close "$source-grid" "$source-stretches" "$source-grid"
}

# Stopped and continued, also from tables that have no column for accuracy yet.
check_continued() {
    local source=$1 table
    run 2 "$source" "$source-whole" --train.steps=6 --evaluate.every=3
    run 2 "$source" "$source-parts" --train.steps=3 --evaluate.every=3
    cut -d , -f 1-6 "$TEST_FOLDER/$source-parts/evaluations.csv" >"$TEST_FOLDER/$source.csv"
    cp "$TEST_FOLDER/$source.csv" "$TEST_FOLDER/$source-parts/evaluations.csv"
    rm "$TEST_FOLDER/$source-parts/metrics.h5"
    quiet launch 2 1 "$program" train "$TEST_FOLDER/$source-parts" --train.steps=6
    for table in parameters optimizer; do
        quiet h5diff "$(checkpoint "$source-whole" 6)" "$(checkpoint "$source-parts" 6)" /$table
    done
    for table in metrics.csv evaluations.csv; do
        require_equal_losses "$source-whole" "$source-parts" "$table"
    done
    [ "$(column accuracy "$TEST_FOLDER/$source-parts/evaluations.csv" | head -n 1)" = nan ] || give_up "no accuracy was nan"
    [ "$(column accuracy "$TEST_FOLDER/$source-parts/evaluations.csv" | tail -n 1)" = \
        "$(column accuracy "$TEST_FOLDER/$source-whole/evaluations.csv" | tail -n 1)" ] || give_up "accuracy of $source-parts"
}

# learn SOURCE OPTIONS...: a model of two layers, which an induction head needs, answers one in eight by chance, then nearly all.
learn() {
    local source=$1 steps
    shift
    for steps in 0 250; do
        quiet launch 1 2 "$program" train tests/data/tiny.ini --data.source="$source" \
            --output.folder="$TEST_FOLDER/learned-$source" --output.log_every=100 --output.checkpoint_at_start=true \
            --attention.kind=softmax --train.optimizer=muon --train.batch_sequences=64 --train.warmup_steps=20 \
            --train.steps=$steps "$@"
    done
    evaluate 1 "$source-start" "$(checkpoint "learned-$source" 0)"
    require_between "accuracy before training" "$(answered "$source-start" | cut -d ' ' -f 2)" 0 0.3
    require_between "accuracy after training" \
        "$(column accuracy "$TEST_FOLDER/learned-$source/evaluations.csv" | tail -n 1)" 0.95 1
}

check_learning() {
    learn recall --data.items=4 --data.source_vocab=16 --model.context_length=32 --model.width=64 --train.learning_rate=0.01
    learn induction --data.source_vocab=8 --model.context_length=24
    evaluate 2 longer "$(checkpoint learned-induction 250)" --model.context_length=64
    grep -q '^windows  *256 of 64 tokens' "$TEST_FOLDER/longer.txt" || give_up "$(<"$TEST_FOLDER/longer.txt")"
}

# refused WORDS COMMAND...: it ends with exit code 1 and a line that has the words.
refused() {
    local words=$1 output status=0
    shift
    output=$("$@" 2>&1) || status=$?
    [[ $status == 1 && $output == *"$words"* ]] || give_up "exit code $status of $*: $output"
}

check_refused() {
    local file
    run 1 copying refused --train.steps=1
    file=$(checkpoint refused 1)
    refused "model.vocab_size = 10 is too small" "$program" eval --checkpoint="$file" --data.source=induction \
        --data.source_vocab=10
    refused "reads no file" "$program" eval --checkpoint="$file" --data="$data/train.h5"
    refused "--data=TOKENS is missing" "$program" eval --checkpoint="$file" --data.source=file
    refused "copying|induction" "$program" eval --checkpoint="$file" --data.source=needles
    refused "whole sequences" "$program" eval --checkpoint="$file" --stride=3
    refused "data.train is not set" "$program" train tests/data/tiny.ini --data.source=needle
    quiet "$program" plan tests/data/tiny.ini --data.source=recall --ranks=2
    quiet "$program" plan tests/data/tiny.ini --data.source=needle --model.context_length=4096
}

prepare_data
for source in copying induction recall needle; do
    start check_answers "$source"
done
start check_grids recall
start check_continued needle
start check_learning
start check_refused
finish
