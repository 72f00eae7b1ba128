# shellcheck shell=bash
# What the rows about runs share. Each of them starts with:  . "$(dirname "$0")/common.bash"
# Afterwards $program, $TEST_FOLDER and the functions of tests/system/common.bash are there, and two small token files.
# shellcheck source=tests/system/common.bash
. "$(dirname "${BASH_SOURCE[0]}")/../../tests/system/common.bash"

RANDOM=${FAULT_SEED:-1}
# Constant, since the other courses of the learning rate depend on train.steps.
options=(--data.validation="$data/validation.h5" --train.schedule=constant --model.dropout=0.1 --output.log_every=1000000)
at_random=0  # milliseconds, by random_moment
norm_slack=0 # relative, of the average norm of gradients, where ranks may sum it in another order

# random_moment LOW HIGH: a number of milliseconds into $at_random.
random_moment() { at_random=$(($1 + RANDOM * ($2 - $1) / 32768)); }

# seconds MILLISECONDS: as `sleep` takes it.
seconds() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }

# same_as REFERENCE RUN STEPS [TOLERANCE]: of run folders below $TEST_FOLDER; ends the row when they differ.
same_as() {
    quiet python tests/faults/compare_runs.py "$TEST_FOLDER/$1" "$TEST_FOLDER/$2" "$3" "${4:-0}" "$norm_slack"
}

# arguments FOLDER OPTIONS...: into the array `arguments`, what follows the program.
arguments() {
    arguments=(train tests/data/tiny.ini --data.train="$data/train.h5" --output.folder="$TEST_FOLDER/$1" "${options[@]}" "${@:2}")
}

# job RANKS FOLDER OPTIONS...: the run in the background; $job is the process of mpirun. Its output goes to FOLDER.log.
job() {
    local ranks=$1 folder=$2
    arguments "$folder" "${@:3}"
    launch_command "$ranks" 1
    "${LAUNCH[@]}" "$program" "${arguments[@]}" >>"$TEST_FOLDER/$folder.log" 2>&1 &
    job=$!
}

# ranks_of FOLDER: the processes of a run, mpirun not among them.
ranks_of() { pgrep -f "^$program train .*folder=$TEST_FOLDER/$1 " || true; }

launchers_stuck=0

# end_of FOLDER: waits for $job, whose exit code it returns. mpirun of Open MPI 4.1 may wait for ever for a rank that was killed
# while it connected (it says PMIX ERROR: UNREACHABLE): when its ranks are gone for half a minute it is ended, and counted.
end_of() {
    local alone=0
    while kill -0 "$job" 2>/dev/null; do
        if [ -n "$(ranks_of "$1")" ]; then alone=0; else alone=$((alone + 1)); fi
        if [ "$alone" -gt 300 ]; then
            launchers_stuck=$((launchers_stuck + 1))
            kill -KILL "$job"
        fi
        sleep 0.1
    done
    wait "$job" 2>/dev/null
}

# none_left FOLDER: waits until no process of a run is left.
none_left() {
    local tries
    for tries in {1..200}; do
        [ -n "$(ranks_of "$1")" ] || return 0
        sleep 0.05
    done
    give_up "processes of $1 are left after $tries attempts: $(ranks_of "$1" | xargs)"
}

# newest FOLDER: the step of its newest checkpoint.
newest() {
    local path
    path=$(find "$TEST_FOLDER/$1/checkpoints" -name 'step-*.h5' | sort | tail -n 1)
    path=${path##*step-}
    echo $((10#${path%.h5}))
}

# whole_checkpoints FOLDER: inspects all checkpoints of a run folder and prints how many there are; ends the row when one is not whole.
whole_checkpoints() {
    local path count=0
    for path in "$1"/checkpoints/step-*.h5; do
        [ -e "$path" ] || continue
        quiet "$program" inspect "$path" >&2
        count=$((count + 1))
    done
    echo "$count"
}

# shows FOLDER: the end of its output, for the log of a row that fails.
shows() { tail -n 5 "$TEST_FOLDER/$1.log" >&2; }

prepare_data
