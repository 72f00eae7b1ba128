#!/bin/bash
# Measures the time of a step on one rank by phase, for simulate/run.sh --profile=FILE. To be run on a quiet machine; what the
# machine was and did stands in the first lines of the file.
#
#     simulate/profile.sh FILE [options of polysketch bench step and of the program]     OMP_NUM_THREADS: threads of the rank
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2; exit 2; }
file=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

load_before=$(cut -d ' ' -f 1-3 /proc/loadavg)
build/release/polysketch bench step "$@" --profile="$work/profile.csv" --csv="$work/rows.csv"
{
    echo "# simulate/profile.sh FILE $*"
    echo "# $(date -u +%Y-%m-%d), $(lscpu | sed -n 's/^Model name: *//p'), $(nproc) cores for this process"
    echo "# load of the machine before $load_before, after $(cut -d ' ' -f 1-3 /proc/loadavg)" \
        '(1, 5 and 15 minutes, this rank counted)'
    # What sgemm reached beside the steps says how much of the cores other programs had.
    awk -F , 'NR == 1 { for (i = 1; i <= NF; i++) place[$i] = i; next }
        { rate = $place["sgemm_gflops"]; printf "# sgemm beside the steps: %s GF/s; steps reached %s of that\n", rate,
          $place["fraction_of_peak"] }' "$work/rows.csv"
    cat "$work/profile.csv"
} >"$file.part"
mv "$file.part" "$file"
