#!/bin/bash
# What `make bench` runs: attention alone and whole training steps of every kind, on this machine, into results/bench/.
#
#     scripts/bench.sh [--section.key=value ...]      (or: make bench ARGS='...')
#
# Variables: CONTEXTS (comma-separated), RANKS=1, THREADS=all cores. Shapes: width 768, 12 heads, 2 layers, r = 32, one sequence
# per step; a small vocabulary, because the output layer is the same for every kind.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

program=build/release/polysketch
folder=results/bench
contexts=${CONTEXTS:-1024,2048,4096,8192,16384}
ranks=${RANKS:-1}
threads=${THREADS:-$(($(usable_cores) / ranks))}
mkdir -p "$folder"

measure() {
    local what=$1
    shift
    rm -f "$folder/$what.csv"
    launch "$ranks" "$threads" "$program" bench "$what" --contexts="$contexts" --csv="$folder/$what.csv" \
        --model.width=768 --model.heads=12 --model.layers=2 --model.vocab_size=256 --attention.sketch_size=32 \
        --attention.block_length=256 --train.batch_sequences=1 "$@" | tee "$folder/$what.txt"
}

measure attention "$@"
measure step "$@"
echo "tables: $folder/attention.csv, $folder/step.csv"
