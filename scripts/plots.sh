#!/bin/bash
# Draws all that a run folder has tables for, as PNG and SVG: loss, throughput, gradient norm and learning rate, what its heads
# attend with; how far back, and the loss by position, where `polysketch eval` has left attention_distance.csv and losses per
# token.
#
#     scripts/plots.sh RUN_FOLDER        (or: make plots RUN=RUN_FOLDER)
set -euo pipefail
scripts=$(dirname "$0")
run=${1:-}
run=${run%/}
if [ $# -ne 1 ] || [ ! -d "$run" ]; then
    echo "plots.sh: which run? Usage: scripts/plots.sh RUN_FOLDER, or make plots RUN=RUN_FOLDER" >&2
    exit 1
fi

# has_rows TABLE: more than the names of its columns.
has_rows() { [ -r "$run/$1" ] && [ "$(head -n 2 "$run/$1" | wc -l)" -gt 1 ]; }

pictures=(loss steps)
if has_rows attention.csv; then pictures+=(attention); fi
if has_rows attention_distance.csv; then pictures+=(distance); fi
if compgen -G "$run/losses*.h5" >/dev/null; then pictures+=(position); fi
for picture in "${pictures[@]}"; do
    "$scripts/plot_$picture.sh" "$run"
    echo "$run/$picture.png, $run/$picture.svg"
done
