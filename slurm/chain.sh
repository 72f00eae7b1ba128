#!/usr/bin/env bash
# A long run as a chain of jobs, each of which waits for the one before it; for sites that do not requeue jobs, or to see the
# whole chain in the queue. From the top folder of polysketch:
#
#   slurm/chain.sh JOBS [options of sbatch] slurm/train.sbatch FILE.ini [--section.key=value ...]
#   slurm/chain.sh 10 --nodes=2 --ntasks-per-node=8 slurm/train.sbatch configs/x.ini --train.steps=1000
#
# Each job saves five minutes before its time limit, and the next one goes on from there, as it does when a rank, a node or the
# job was killed. When the run is finished, or an error ends it, the jobs that still wait are cancelled. Prints the numbers of the
# jobs, a line each; `scancel` with all of them ends the chain.
set -euo pipefail
# shellcheck source=slurm/common.bash
. "$(dirname "$0")/common.bash"

help_if_asked "$@"
[[ $1 =~ ^[1-9][0-9]{0,2}$ ]] || fail "'$1' is not a number of jobs, 1 to 999. $script --help explains"
jobs=$1
split_at_script "${@:2}"

# Jobs of one chain know each other by this word, which is also their comment.
POLYSKETCH_CHAIN=chain-$(date +%Y%m%dT%H%M%S)-$$
export POLYSKETCH_CHAIN
submitted=()
for option in "${before[@]}"; do
    [[ $option != --export && $option != --export=* ]] || fail "leave out --export: the jobs know their chain by a variable"
done

# All jobs or none.
give_up() {
    [[ ${#submitted[@]} -eq 0 ]] || scancel "${submitted[@]}"
    fail "sbatch refused job $((${#submitted[@]} + 1)) of $jobs, so none is submitted"
}

for ((job = 1; job <= jobs; job++)); do
    # The first waits until all stand in the queue: it may end, and with it the chain, while others are being submitted.
    waits=--hold
    [[ ${#submitted[@]} -eq 0 ]] || waits=--dependency=afterany:${submitted[-1]}
    number=$(sbatch --parsable "${before[@]}" --no-requeue --comment="$POLYSKETCH_CHAIN" "$waits" "$job_script" "${after[@]}") ||
        give_up
    submitted+=("${number%%;*}")
done
scontrol release "${submitted[0]}"
printf '%s\n' "${submitted[@]}"
