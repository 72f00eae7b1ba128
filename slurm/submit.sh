#!/usr/bin/env bash
# Submits a training job of the size that `polysketch plan --slurm` works out from its configuration: nodes, tasks, cores, memory
# and time. From the top folder of polysketch (or: make submit CONFIG=FILE.ini RANKS=64 ARGS=... SBATCH_ARGS=...):
#
#   slurm/submit.sh [options of plan] FILE.ini [--section.key=value ...] [-- options of sbatch]
#   slurm/submit.sh --ranks=64 --threads=2 --tokens_per_second=200000 configs/x.ini --train.steps=1000 -- --partition=long
#
# --ranks is else as many as fill a node, --threads 1. Cores and memory of a node are those of the smallest in the partition, as
# Slurm has them, unless slurm/site.env says otherwise. Prints what is asked for, lets `sbatch --test-only` check it, and submits
# slurm/train.sbatch. Options of sbatch win over what plan says.
set -euo pipefail
# shellcheck source=slurm/common.bash
. "$(dirname "$0")/common.bash"

help_if_asked "$@"
load_site
find_binary

# Options without a section are those of `plan` alone.
sizes=() training=() asked=()
for option in "$@"; do
    [[ $option != -p && $option != --partition ]] || fail "write --partition=NAME in one word"
done
while [[ $# -gt 0 && $1 != -- ]]; do
    if [[ $1 == --* && ${1%%=*} != *.* ]]; then sizes+=("$1"); else training+=("$1"); fi
    shift
done
[[ $# -eq 0 ]] || asked=("${@:2}")

# value_of NAME WORDS...: of the last --NAME=VALUE, if there is one.
value_of() {
    local value='' word
    for word in "${@:2}"; do [[ $word != "--$1="* ]] || value=${word#*=}; done
    echo "$value"
}

# add_size NAME VALUE: where it was not given.
add_size() {
    [[ -n $(value_of "$1" "${sizes[@]}") ]] || sizes+=("--$1=$2")
}

# find_nodes: cores and megabytes of the smallest node of the partition, the one asked for or the default one, into $cores and
# $megabytes.
find_nodes() {
    local partition
    partition=$(value_of partition "--partition=${SBATCH_PARTITION:-}" "${asked[@]}")
    [[ -n $partition ]] || partition=$(sinfo --noheader --format=%P | awk -F '*' 'NF > 1 { print $1 }')
    read -r cores megabytes < <(sinfo --noheader --format='%c %m' ${partition:+--partition="$partition"} | tr -d + |
        awk 'NR == 1 || $1 < cores { cores = $1 } NR == 1 || $2 < megabytes { megabytes = $2 } END { print cores, megabytes }')
    [[ -n $cores ]] || fail "sinfo knows no nodes, of the partition '$partition' at least"
}

[[ ${#training[@]} -gt 0 && -e ${training[0]} ]] || fail "no configuration '${training[0]:-}' in $PWD. $script --help explains"
find_nodes
add_size threads 1
add_size cores_per_node "${POLYSKETCH_CORES_PER_NODE:-$cores}"
add_size gigabytes_per_node "${POLYSKETCH_GIGABYTES_PER_NODE:-$((megabytes / 1000)).$((megabytes % 1000 / 100))}"
cores=$(value_of cores_per_node "${sizes[@]}") threads=$(value_of threads "${sizes[@]}")
[[ $cores =~ ^[0-9]+$ && $threads =~ ^[1-9][0-9]*$ ]] || fail "'$cores' cores of a node and '$threads' threads are not numbers"
add_size ranks $((cores < threads ? 1 : cores / threads))

head=$("$binary" plan --slurm "${sizes[@]}" "${training[@]}") || exit 2
printf '%s\n' "$head"
mapfile -t options < <(sed -n 's/^#SBATCH //p' <<<"$head")
command=("${options[@]}" "${asked[@]}" slurm/train.sbatch "${training[@]}")
sbatch --test-only "${command[@]}" || fail "Slurm does not accept this. Options of sbatch after -- win over the lines above"
sbatch "${command[@]}"
