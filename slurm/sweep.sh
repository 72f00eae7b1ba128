#!/usr/bin/env bash
# Many runs that differ in some options: a job array with one task for each line of a sweep file, and a job after it that makes a
# table and a picture of all of them. From the top folder of polysketch:
#
#   slurm/sweep.sh [options of sbatch] slurm/sweep.sbatch SWEEP.txt FILE.ini [--section.key=value ...]
#   slurm/sweep.sh --ntasks=8 slurm/sweep.sbatch configs/sweep.txt configs/default.ini --train.steps=300
#
# A line of the file is `NAME | section.key=value ...`. All options are those of the run NAME, in FOLDER/NAME, where FOLDER is
# --output.folder, or results/SWEEP. The table is FOLDER/sweep.csv and sweep.txt, the picture sweep.png; scripts/job_tables.py
# makes them at any time. The same command again goes on with runs that are not finished. --array=0-9%2 among the options of
# sbatch chooses runs, or how many are under way at a time. Prints the numbers of the array and of the job after it.
set -euo pipefail
# shellcheck source=slurm/common.bash
. "$(dirname "$0")/common.bash"

help_if_asked "$@"
split_at_script "$@"
[[ ${#after[@]} -ge 2 && -e ${after[1]} ]] || fail "give a sweep file and a configuration that exist. $script --help explains"
read_sweep "${after[0]}"
folder=$(sweep_folder "${after[@]}")

# The tasks read the file when they start, which may be tomorrow: it may be edited meanwhile, the copy is not.
mkdir -p "$folder"
lines=$folder/lines-$(sha256sum <"${after[0]}" | head -c 8).txt
cp -- "${after[0]}" "$lines.$$" && mv -- "$lines.$$" "$lines"

array=("--array=0-$((${#names[@]} - 1))") others=()
for option in "${before[@]}"; do
    case $option in
        --array=*) array=("$option") ;;
        --array | -a) fail "write --array=LIST in one word" ;;
        *) others+=("$option") ;;
    esac
done
runs=$(sbatch --parsable "${others[@]}" "${array[@]}" "$job_script" "$lines" "${after[@]:1}" --output.folder="$folder")
runs=${runs%%;*}

# The job after it has the same account, partition and so on, but one task. It also runs when some runs have failed.
table=$(sbatch --parsable "${others[@]}" --dependency="afterany:$runs" --job-name=polysketch-table --nodes=1 --ntasks=1 \
    --ntasks-per-node=1 --cpus-per-task=1 --time=10 --output="$folder/table.out" --open-mode=truncate \
    --wrap="$(printf 'exec scripts/job_tables.py sweep %q %q' "$folder" "$lines")") || {
    scancel "$runs"
    fail "sbatch refused the job of the table, so none is submitted"
}
printf '%s\n' "$runs" "${table%%;*}"
