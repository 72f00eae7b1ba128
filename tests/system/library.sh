#!/bin/bash
# The example of the library, built as its users build it, against the shared and the static library: it says what the program
# says, and shows no names but those of its header.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

library=build/release/lib
export PKG_CONFIG_PATH=$library

# names FILE OPTIONS...: what others may be linked with.
names() { nm --defined-only "${@:2}" "$1" | awk 'NF == 3 { print $3 }'; }

check_names() {
    local file=$1 wanted
    shift
    wanted=$(grep -o 'polysketch_[a-z_]*(' include/polysketch.h | tr -d '(' | sort -u)
    [ "$(names "$file" "$@" | sort -u)" = "$(names "$file" "$@" | grep '^polysketch_' | sort -u)" ] ||
        give_up "$file shows: $(names "$file" "$@" | grep -v '^polysketch_' | head)"
    local name
    for name in $wanted; do names "$file" "$@" | grep -qx "$name" || give_up "$file has no $name"; done
}

# complete PROGRAM ARGUMENTS...: as in a shell that knows nothing of MPI.
complete() { env -u OMPI_ALLOW_RUN_AS_ROOT -u OMPI_ALLOW_RUN_AS_ROOT_CONFIRM LD_LIBRARY_PATH="$library" "$@"; }

# build NAME ARGUMENTS...: the example.
build() {
    # shellcheck disable=SC2046,SC2086 # words
    quiet ${CC:-gcc} -std=c99 -Wall -Wextra -Werror $(pkg-config --cflags polysketch) -o "$TEST_FOLDER/$1" examples/complete.c \
        "${@:2}"
}

check_names $library/libpolysketch.so -D
check_names $library/libpolysketch.a -g

# shellcheck disable=SC2046 # words
build shared $(pkg-config --libs polysketch)
# shellcheck disable=SC2046 # words
build static $library/libpolysketch.a $(pkg-config --static --libs polysketch | sed 's/-lpolysketch//')
ldd "$TEST_FOLDER/static" | grep -q libpolysketch && give_up "the static example needs the shared library"

prepare_data
train 1 model --train.steps=20 --train.learning_rate=0.01
file=$(checkpoint model 20)
text='the alpha beta'
printf '{"context": "t", "continuation": "%s"}\n' "${text:1}" >"$TEST_FOLDER/items.jsonl"
"$program" score "$TEST_FOLDER/items.jsonl" --checkpoint="$file" >"$TEST_FOLDER/score.txt"
"$program" generate --checkpoint="$file" --prompt="$text" --tokens=40 --temperature=0 >"$TEST_FOLDER/generate.txt"
for name in shared static; do
    complete "$TEST_FOLDER/$name" "$file" "$text" >"$TEST_FOLDER/$name.txt" || give_up "exit code $? of $name"
    [[ $(head -n 1 "$TEST_FOLDER/$name.txt") == 'loss '*" over $((${#text} - 1)) tokens" ]] ||
        give_up "$name says: $(<"$TEST_FOLDER/$name.txt")"
    awk -v count=$((${#text} - 1)) '
        $1 == "loss" { loss = $2 }
        $1 == "log" { likelihood = $3 }
        END { difference = loss * count + likelihood; exit !(loss > 0 && difference < 1e-4 && difference > -1e-4) }' \
        "$TEST_FOLDER/$name.txt" "$TEST_FOLDER/score.txt" ||
        give_up "$name and score: $(cat "$TEST_FOLDER/$name.txt" "$TEST_FOLDER/score.txt")"
    tail -n +2 "$TEST_FOLDER/$name.txt" | cmp - "$TEST_FOLDER/generate.txt" >&2 ||
        give_up "$name writes another text than generate"
    status=0
    complete "$TEST_FOLDER/$name" "$TEST_FOLDER/missing.h5" "$text" >"$TEST_FOLDER/out" 2>"$TEST_FOLDER/err" || status=$?
    if [ "$status" -ne 1 ] || [ "$(wc -l <"$TEST_FOLDER/err")" -ne 1 ] || [ -s "$TEST_FOLDER/out" ]; then
        give_up "exit code $status: $(cat "$TEST_FOLDER/out" "$TEST_FOLDER/err")"
    fi
    log_says "$TEST_FOLDER/err" 'complete: ' 'no such file'
done

# As it is installed, below another folder than it was built for.
quiet scripts/install.sh install "$program" "$TEST_FOLDER/prefix"
export PKG_CONFIG_PATH=$TEST_FOLDER/prefix/lib/pkgconfig
library=$TEST_FOLDER/prefix/lib
# shellcheck disable=SC2046 # words
build installed $(pkg-config --libs polysketch)
complete "$TEST_FOLDER/installed" "$file" "$text" | cmp - "$TEST_FOLDER/shared.txt" >&2 ||
    give_up 'the installed one says something else'
quiet scripts/install.sh uninstall "$TEST_FOLDER/prefix"
[ -z "$(find "$TEST_FOLDER/prefix" ! -type d)" ] || give_up "left: $(find "$TEST_FOLDER/prefix" ! -type d)"
