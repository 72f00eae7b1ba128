#!/bin/bash
# The whole way once, on one machine: corpus, token files, training of configs/default.ini on two ranks, text from the trained
# model, picture of the loss. What is already there is not made again; a run that was stopped goes on where it was.
#
#     scripts/run_default.sh [--section.key=value ...]      (or: make run ARGS='...')
#
# Variables: RUN=default (the run's folder is results/$RUN), CONFIG=configs/default.ini, RANKS=2, THREADS=1 (per rank).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

run=results/${RUN:-default}
config=${CONFIG:-configs/default.ini}
ranks=${RANKS:-2}
threads=${THREADS:-1}
program=build/release/polysketch
corpus=build/corpus/kjv
data=build/data/kjv

[ -x "$program" ] || {
    echo "run_default.sh: there is no $program. Try: make" >&2
    exit 1
}

scripts/make_corpus.sh "$corpus"
if [ ! -e "$data/train.h5" ] || [ ! -e "$data/validation.h5" ]; then
    "$program" prepare --input="$corpus" --output="$data" --overwrite
fi

launch "$ranks" "$threads" "$program" train "$config" --output.folder="$run" "$@"

# Eight digits: the order of the names is that of the steps.
checkpoint=$(find "$run/checkpoints" -name 'step-*.h5' 2>/dev/null | sort | tail -n 1 || true)
[ -n "$checkpoint" ] || {
    echo "run_default.sh: there is no checkpoint in $run/checkpoints" >&2
    exit 1
}
echo
echo "text from $checkpoint:"
"$program" generate --checkpoint="$checkpoint" --prompt='And God said' --tokens=400 --temperature=0.8 --seed=1 |
    tee "$run/sample.txt"
scripts/plots.sh "$run" >/dev/null

cat <<END

checkpoint   $checkpoint
metrics      $run/metrics.csv, $run/evaluations.csv
text         $run/sample.txt
pictures     $run/loss.png, $run/steps.png, $run/attention.png, and the same as .svg
END
