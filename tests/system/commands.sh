#!/bin/bash
# What is asked on the command line is answered: help wherever it is asked for, and a line about options that are given twice.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# answers WORDS ARGUMENTS...: without an error, and in a way that has the words.
answers() {
    local words=$1 output
    shift
    output=$("$program" "$@" 2>&1 </dev/null) || give_up "exit code $? of polysketch $*: $output"
    [[ $output == *"$words"* ]] || give_up "polysketch $* does not say '$words': $output"
}

test_help() {
    local name word
    for word in -h --help help ''; do answers 'Usage: polysketch SUBCOMMAND' ${word:+"$word"}; done
    for name in prepare train eval generate score inspect plan bench; do
        for word in -h --help; do answers 'Example:' "$name" "$word"; done
        answers 'Example:' help "$name"
    done
    answers 'Example:' train no_such_file.ini -h
    answers 'Example:' bench step --csv=x.csv --help
}

test_given_twice() {
    local file=$TEST_FOLDER/twice.ini
    printf '[model]\nlayers = 1\nvocab_size = 256\n' >"$file"
    answers "warning: --model.width is given as '32' and then as '64': the last one counts" plan "$file" \
        --model.width=32 --model.heads=2 --model.width=64
    ! "$program" plan "$file" --model.width=32 --model.width=32 | grep warning >&2 || give_up 'a warning about the same value'
    ! "$program" plan "$file" --model.vocab_size=300 | grep warning >&2 || give_up 'a warning about what is in a file'
}

test_help
test_given_twice
