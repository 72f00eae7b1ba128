#!/bin/bash
# Makes one of the tables of results/quality: approximation, text, recall, length or time. results/quality/README.md says what is
# in them. What is in a table already is not computed again, and what was cut off goes on.
#
#     scripts/quality.sh TABLE [--only PATTERNS] [--seeds LIST] [--smoke]
#     scripts/quality.sh --smoke                                (or: make quality-smoke)    all tables
#
# --only runs the models whose names match, such as 'long-*,softmax', --seeds those seeds alone. --smoke tries the whole with tiny
# models in a scratch folder.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

tables=(approximation text recall length time)
python=/usr/bin/python3
program=build/release/polysketch
results=results/quality
export QUALITY_RUNS=build/quality

fail() {
    echo "quality.sh: $1" >&2
    exit 1
}

# king_james: the token files of `make run`.
king_james() {
    scripts/make_corpus.sh build/corpus/kjv
    [ -e build/data/kjv/validation.h5 ] || "$program" prepare --input=build/corpus/kjv --output=build/data/kjv --overwrite
}

# approximation OPTION...: the sketches of NumPy, on vectors of a model trained with the exact kernel among others.
approximation() {
    local run=$QUALITY_RUNS/approximation/polynomial-4 steps=600
    [ ! -e "$results/approximation.csv" ] || {
        echo 'approximation: done before'
        return
    }
    [ -z "$smoke" ] || steps=4
    king_james
    OMP_NUM_THREADS=1 "$program" train configs/paper.ini --attention.kind=polynomial --train.steps="$steps" \
        --train.warmup_steps=$((steps / 12)) --output.log_every=100 --output.folder="$run"
    "$python" scripts/quality/approximation.py "$results/approximation.csv" --tokens=build/data/kjv/validation.h5 \
        --checkpoint="$(find "$run/checkpoints" -name 'step-*.h5' | sort | tail -n 1)" "$@"
}

# trained TABLE OPTION...
trained() {
    if [ -n "$smoke" ]; then king_james; else scripts/make_books.sh; fi || return 1
    "$python" scripts/quality/run_table.py "$1" --output "$results" "${@:2}"
}

[ $# -gt 0 ] || fail 'usage: scripts/quality.sh TABLE [--only PATTERNS] [--seeds LIST] [--smoke]'
[ -x "$program" ] || fail "there is no $program. Try: make"
status=0
if [ "$*" = --smoke ]; then
    for table in "${tables[@]}"; do
        scripts/quality.sh "$table" --smoke || status=1
    done
    exit "$status"
fi

smoke=
if [[ " $* " == *' --smoke '* ]]; then
    smoke=1
    QUALITY_RUNS=$(mktemp -d)
    trap 'rm -rf "$QUALITY_RUNS"' EXIT
    results=$QUALITY_RUNS/results
fi
mkdir -p "$results"
case $1 in
    approximation) approximation "${@:2}" ;;
    text | recall | length) trained "$@" || status=1 ;; # what did work is drawn
    time)
        trained "$@" || status=1
        "$python" scripts/quality/latency.py "$results/latency.csv" ${smoke:+--smoke} || status=1
        ;;
    *) fail "there is no table '$1'; there are ${tables[*]}" ;;
esac
"$python" scripts/quality/plot.py "$results"
exit "$status"
