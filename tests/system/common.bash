# shellcheck shell=bash
# What the system tests share. Each of them starts with:  . "$(dirname "$0")/common.bash"
#
# Afterwards the current folder is the root of the repository, $program the program and $TEST_FOLDER a folder for files:
# that of scripts/run_tests.sh, or a temporary one. PROGRAM=... tries another program than build/release/polysketch.
export LC_ALL=C
export PYTHONDONTWRITEBYTECODE=1

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

# Two jobs run at a time, beside whatever else the machine does: ranks that wait give up their core.
export OMPI_MCA_mpi_yield_when_idle=1 OMP_WAIT_POLICY=passive
# All ranks are on this machine. Looking for networks would take most of the time of these tests.
export OMPI_MCA_pml="${OMPI_MCA_pml:-ob1}" OMPI_MCA_btl="${OMPI_MCA_btl:-self,vader}"

program=$(realpath "${PROGRAM:-build/release/polysketch}")
tools=tests/system
if [ -z "${TEST_FOLDER:-}" ]; then
    TEST_FOLDER=$(mktemp -d)
    trap 'rm -rf "$TEST_FOLDER"' EXIT
fi
data=$TEST_FOLDER/data

# give_up WORDS...: the test fails with this explanation.
give_up() {
    echo "FAILED: $*" >&2
    exit 1
}

# quiet COMMAND...: runs it and shows what it wrote only when it fails, which ends the test.
quiet() {
    local status=0 output
    output=$("$@" 2>&1) || status=$?
    if [ "$status" -ne 0 ]; then
        printf '%s\n' "$output" >&2
        give_up "exit code $status of: $*"
    fi
}

running=()
at_once=2

# start COMMAND...: runs it in the background, no more than $at_once at a time. When one fails the test ends, at the latest in
# `finish`.
start() {
    [ ${#running[@]} -lt $at_once ] || wait_for_oldest
    "$@" &
    running+=($!)
}

wait_for_oldest() {
    wait "${running[0]}" || exit 1
    running=("${running[@]:1}")
}

# finish: waits for all that was started.
finish() {
    while [ ${#running[@]} -gt 0 ]; do wait_for_oldest; done
}

# python ARGUMENTS...: the interpreter that has h5py, whatever else is on the path.
python() {
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 /usr/bin/python3 "$@"
}

# write_text WORDS: so many words of a small language, the same ones every time, on standard output.
write_text() {
    awk -v words="$1" 'BEGIN {
        count = split("the alpha beta gamma of delta and epsilon to zeta eta in theta", list, " ")
        for (x = 7; words > 0; words--) {
            x = (x * 1103515245 + 12345) % 2147483648
            printf "%s%s", list[int(x / 65536) % count + 1], words % 12 == 1 ? ".\n" : " "
        }
    }'
}

# prepare_data: $data/train.h5 with some 5000 tokens and $data/validation.h5 with some 300.
prepare_data() {
    write_text 1200 >"$TEST_FOLDER/text.txt"
    quiet "$program" prepare --input="$TEST_FOLDER/text.txt" --output="$data" --validation_fraction=0.06
}

# train RANKS FOLDER [OPTIONS...]: trains the model of tests/data/tiny.ini, one thread a rank; FOLDER is below $TEST_FOLDER.
train() {
    local ranks=$1 folder=$2
    shift 2
    quiet launch "$ranks" 1 "$program" train tests/data/tiny.ini --data.train="$data/train.h5" \
        --output.folder="$TEST_FOLDER/$folder" "$@"
}

# checkpoint FOLDER STEP: its path.
checkpoint() {
    printf '%s/%s/checkpoints/step-%08d.h5' "$TEST_FOLDER" "$1" "$2"
}

# column NAME FILE.csv: the values of a column, one a line.
column() {
    awk -F , -v name="$1" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) place = i; if (!place) exit 1; next }
        { print $place }' "$2" || give_up "$2 has no column $1"
}

# log_says FILE WORDS...: each of them is in a line of it.
log_says() {
    local log=$1 words
    shift
    for words in "$@"; do
        grep -qF -e "$words" "$log" || give_up "no '$words' in $log: $(<"$log")"
    done
}

# says FOLDER WORDS...: the run in this folder, in its log.
says() {
    log_says "$TEST_FOLDER/$1/train.log" "${@:2}"
}

# require_equal_losses FOLDER OTHER_FOLDER [TABLE]: of two runs, bit by bit; in metrics.csv, or another table.
require_equal_losses() {
    local table=${3:-metrics.csv}
    cmp <(column loss "$TEST_FOLDER/$1/$table") <(column loss "$TEST_FOLDER/$2/$table") >&2 ||
        give_up "$1 and $2 have different losses in $table"
}

# require_refusal WORDS ARGUMENTS...: on two ranks the program ends with exit code 1 and says one line of its own, which has these
# words.
require_refusal() {
    local words=$1 output=$TEST_FOLDER/refused.$BASHPID.txt status=0 # tests may run side by side
    shift
    launch 2 1 "$program" "$@" >"$output" 2>&1 || status=$?
    [ "$status" -eq 1 ] || give_up "exit code $status of $*: $(cat "$output")"
    [ "$(grep -c '^polysketch: ' "$output")" -eq 1 ] || give_up "one line: $(cat "$output")"
    grep -q "^polysketch: .*$words" "$output" || give_up "no '$words': $(cat "$output")"
}

draws="1 2 3"

# train_moved RANKS FOLDER STEPS [OPTIONS...]: as `train`, from initial parameters that were moved by one unit in the last
# place, once for each of $draws: FOLDER-moved-1 and so on. Other ways to do the same may differ a few times as much as these.
train_moved() {
    local ranks=$1 folder=$2 steps=$3 draw
    shift 3
    for draw in $draws; do
        train "$ranks" "$folder-moved-$draw" "$@" --output.checkpoint_at_start=true --train.steps=0
        quiet python "$tools"/move_parameters.py "$(checkpoint "$folder-moved-$draw" 0)" "$draw"
        train "$ranks" "$folder-moved-$draw" "$@" --output.checkpoint_at_start=true --train.steps="$steps"
    done
}

# require_close FOLDER OTHER_FOLDER MOVED_FOLDER: the losses of two runs differ by no more than rounding explains, of which the
# runs that train_moved made from MOVED_FOLDER are the measure.
require_close() {
    local folders=("$TEST_FOLDER/$1" "$TEST_FOLDER/$2") draw
    for draw in $draws; do folders+=("$TEST_FOLDER/$3-moved-$draw"); done
    quiet python - "${folders[@]}" <<'END'
import sys
import numpy as np
losses, others, *moved = (np.atleast_1d(np.genfromtxt(f"{folder}/metrics.csv", delimiter=",", names=True)["loss"])
                          for folder in sys.argv[1:])
movement = max(np.abs(run - losses).max() for run in moved)
tolerance = 8 * max(movement, np.finfo(np.float32).eps * np.abs(losses).max())
difference = np.abs(others - losses).max()
assert len(losses) > 0 and difference <= tolerance, f"losses differ by {difference}, {tolerance} is allowed"
END
}

# stand_in_for_slurm FOLDER: programs `sbatch` and `srun` in it, which run a job script and its two ranks on this machine.
stand_in_for_slurm() {
    mkdir -p "$1"
    cat >"$1/sbatch" <<'END'
#!/bin/bash
while [[ $1 == --* ]]; do shift; done # its own options come before the script
SLURM_JOB_ID=1 SLURM_SUBMIT_DIR=$PWD exec bash "$@"
END
    cat >"$1/srun" <<END
#!/bin/bash
. '$PWD/scripts/environment.sh'
while [[ \$1 == --* ]]; do shift; done
launch 2 1 "\$@"
END
    chmod +x "$1/sbatch" "$1/srun"
}
