#!/usr/bin/env bash
# Does the job script train on a real Slurm? Called by `make check-slurm`.
#
# Starts a private Slurm of two emulated nodes (scripts/slurm_one_machine.sh), submits slurm/train.sbatch on both with a tiny
# model, trains the same by mpirun, and compares the losses. Everything happens in a folder of its own, which is removed at the
# end unless a check failed; the daemons are stopped on every way out.
# Exit codes: 0 all passed, 1 a check failed, 77 cannot run here (not root, or no Slurm).
set -euo pipefail

readonly job_seconds=120 killed_seconds=20 tolerance=1e-5 steps=5
passed=0 failed=0 folder=''

cd "$(dirname "$0")/.."
binary=$(realpath -- "${POLYSKETCH_BINARY:-build/release/polysketch}")

fail() {
    echo "check_slurm: $2" >&2
    exit "$1"
}

# report NAME COMMAND ...: one check, one line.
report() {
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "  passed  $name"
    else
        failed=$((failed + 1))
        echo "  FAILED  $name"
    fi
}

cleanup() {
    local code=$?
    trap - EXIT INT TERM HUP
    if [[ $code -ne 77 ]]; then scripts/slurm_one_machine.sh stop "$folder/s" || code=1; fi
    if [[ $code -eq 1 ]]; then echo "check_slurm: logs are kept in $folder" >&2; else rm -rf -- "$folder"; fi
    exit "$code"
}

start_cluster() {
    local variables
    # A job of another Slurm may be running us: its variables would become options of ours.
    unset "${!SLURM_@}" "${!SBATCH_@}" "${!SRUN_@}" "${!PMIX_@}"
    folder=$(mktemp -d /tmp/psf-XXXX)
    chmod 711 "$folder" # munged wants its socket within everybody's reach
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    variables=$(scripts/slurm_one_machine.sh start "$folder/s") || exit $?
    eval "$variables"
}

# Both nodes are this machine: shared memory would take the other node's ranks for neighbours, and binding would put every rank
# on the first core, because this Slurm hands out CPUs without confining anybody to them. Four ranks may share two cores, so
# those that wait must give way.
write_site() {
    cat >"$folder/site.env" <<SITE
export OMPI_MCA_btl=tcp,self
export OMPI_MCA_btl_tcp_if_include=lo
export OMPI_MCA_mpi_yield_when_idle=1
export OMP_PROC_BIND=false
export POLYSKETCH_BINARY=$binary
SITE
    export POLYSKETCH_SITE_ENV=$folder/site.env
}

make_data() {
    local text
    mkdir "$folder/text"
    for text in 1 2 3 4; do
        seq -f "Text $text, line %g: the quick brown fox jumps over the lazy dog." 1 300 >"$folder/text/$text.txt"
    done
    timeout "$job_seconds" "$binary" prepare --input="$folder/text" --output="$folder/data" >"$folder/prepare.log" 2>&1 ||
        fail 1 "polysketch prepare failed: $(tail -n 1 "$folder/prepare.log")"
}

# train_arguments RUN: what follows `train`, into the array `arguments`.
# With a constant schedule the learning rate of a step does not depend on how many steps follow.
train_arguments() {
    arguments=(tests/data/tiny.ini "--data.train=$folder/data/train.h5" "--data.validation=$folder/data/validation.h5"
        "--output.folder=$folder/$1" "--train.steps=$steps" --train.schedule=constant)
}

# job_field JOB FIELD: a value from `scontrol show job`, for there is no accounting that sacct could ask.
job_field() {
    timeout 10 scontrol --oneliner show job "$1" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$2=//p" || true
}

# wait_for_job JOB: 0 if it completed in time, with exit code 0.
wait_for_job() {
    local deadline=$((SECONDS + job_seconds)) state=''
    while ((SECONDS < deadline)); do
        state=$(job_field "$1" JobState)
        case $state in
            COMPLETED) return 0 ;;
            '' | PENDING | CONFIGURING | RUNNING | COMPLETING) sleep 0.5 ;;
            *) break ;;
        esac
    done
    echo "check_slurm: job $1 is ${state:-unknown}, exit code $(job_field "$1" ExitCode)" >&2
    return 1
}

# submit RUN TASKS ARGUMENT ...: the job script on both nodes, TASKS ranks on each; prints the job's number.
submit() {
    local run=$1 tasks=$2
    shift 2
    sbatch --parsable --nodes=2 --ntasks-per-node="$tasks" --time=10 --output="$folder/$run.out" slurm/train.sbatch "$@"
}

# run_job RUN TASKS OPTION ...: trains, and as one job of 2 x TASKS ranks, not as so many jobs of one rank.
run_job() {
    local run=$1 tasks=$2 job
    shift 2
    train_arguments "$run"
    job=$(submit "$run" "$tasks" "${arguments[@]}" "$@")
    if wait_for_job "$job" && grep -q "| $((2 * tasks)) ranks = " "$folder/$run.out"; then return 0; fi
    tail -n 15 "$folder/$run.out" >&2
    scancel "$job" 2>/dev/null || true
    return 1
}

# In a subshell: what environment.sh sets for one machine must not reach the jobs.
run_mpirun() (
    # shellcheck source=/dev/null
    . scripts/environment.sh
    train_arguments "$1"
    launch_command 2 1
    timeout "$job_seconds" "${LAUNCH[@]}" "$binary" train "${arguments[@]}" >"$folder/$1.out" 2>&1 ||
        fail 1 "mpirun failed: $(tail -n 1 "$folder/$1.out")"
)

# losses RUN: lines `step loss` of its metrics, the columns found by their names.
losses() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
             { print $column["step"], $column["loss"] }' "$folder/$1/metrics.csv"
}

# same_losses RUN RUN [STEPS]: the same steps, all of them, and losses within the tolerance.
same_losses() {
    paste -d ' ' <(losses "$1") <(losses "$2") | awk -v tolerance="$tolerance" -v steps="${3:-$steps}" '
        function size(x) { return x < 0 ? -x : x }
        NF != 4 || $1 != $3 || $2 + 0 != $2 || !(size($2 - $4) <= tolerance * size($4)) { print "  differ: " $0; bad = 1 }
        END { exit bad || NR != steps }'
}

# An error of the job script itself must end the job and say why.
refuses_missing_configuration() {
    local job
    job=$(submit refused 1 tests/data/no_such_file.ini)
    ! wait_for_job "$job" 2>/dev/null && [[ $(job_field "$job" ExitCode) == 2:0 ]] &&
        grep -q "no configuration file 'tests/data/no_such_file.ini'" "$folder/refused.out"
}

# What the job script promises: where a job stopped, the next one with the same folder goes on. The numbers of ranks may differ.
continues_run() {
    run_job halves 1 --train.steps=3 && run_job halves 2 && grep -q "step 3$" "$folder/halves.out" && same_losses halves reference
}

# has_rows RUN COUNT: waits until so many steps stand in its metrics.
has_rows() {
    local deadline=$((SECONDS + job_seconds))
    while ((SECONDS < deadline)); do
        [[ ! -f $folder/$1/metrics.csv ]] || (($(wc -l <"$folder/$1/metrics.csv") <= $2)) || return 0
        sleep 0.1
    done
    return 1
}

# The signal that Slurm sends before a time limit: the job saves, is put back into the queue, and ends as if nothing had happened.
requeues_after_signal() {
    local job many=1500
    run_job uncut 1 --train.steps=$many --output.log_every=100000 || return 1
    train_arguments cut
    job=$(submit cut 1 "${arguments[@]}" --train.steps=$many --output.log_every=100000)
    has_rows cut 50 || return 1
    scancel --signal=USR1 "$job"
    wait_for_restart "$job" && wait_for_job "$job" || return 1
    [[ $(job_field "$job" Restarts) -eq 1 ]] && grep -q "stopped by a signal" "$folder/cut.out" &&
        grep -q "continuing from" "$folder/cut.out" && same_losses cut uncut $many
}

# wait_for_restart JOB: until it is back in the queue; there it would wait two minutes, of which a node needs some seconds to
# let go of the first run.
wait_for_restart() {
    local deadline=$((SECONDS + job_seconds))
    while ((SECONDS < deadline)); do
        if [[ $(job_field "$1" Restarts) == 1 ]]; then
            sleep 5
            scontrol update "JobId=$1" StartTime=now && return 0
        fi
        sleep 0.2
    done
    echo "check_slurm: job $1 was not put back into the queue" >&2
    tail -n 15 "$folder/cut.out" >&2
    return 1
}

# A cancelled job is not requeued, and its newest checkpoint is whole.
ends_when_cancelled() {
    local job deadline=$((SECONDS + job_seconds)) newest
    train_arguments cancelled
    job=$(submit cancelled 1 "${arguments[@]}" --train.steps=1000000 --output.log_every=100000)
    has_rows cancelled 50 || return 1
    scancel "$job"
    until [[ $(job_field "$job" JobState) == CANCELLED ]]; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
    sleep 3 # time to come back, if it did
    newest=$(find "$folder/cancelled/checkpoints" -name 'step-*.h5' | sort | tail -n 1)
    [[ $(job_field "$job" JobState) == CANCELLED ]] && "$binary" inspect "$newest" >/dev/null
}

# ranks_of RUN: the processes of its ranks.
ranks_of() {
    pgrep -f "^$binary train .*output.folder=$folder/$1 " || true
}

# A rank that is killed, as for want of memory, ends the job within seconds and by name; the others would wait for it for ever.
ends_with_killed_rank() {
    local job ranks deadline
    train_arguments killed
    job=$(submit killed 1 "${arguments[@]}" --train.steps=1000000 --output.log_every=100000)
    has_rows killed 50 || return 1
    mapfile -t ranks < <(ranks_of killed)
    [[ ${#ranks[@]} -eq 2 ]] || return 1
    kill -KILL "${ranks[1]}"
    deadline=$((SECONDS + killed_seconds))
    until [[ $(job_field "$job" JobState) == FAILED ]]; do
        if ((SECONDS >= deadline)); then
            scancel "$job"
            return 1
        fi
        sleep 0.2
    done
    [[ -z $(ranks_of killed) ]] && grep -qE "task [01]: Killed" "$folder/killed.out" &&
        grep -q "a rank was ended by signal 9" "$folder/killed.out"
}

main() {
    [[ -x $binary ]] || fail 1 "cannot run '$binary'. Try: make"
    start_cluster
    write_site
    make_data
    run_mpirun reference
    report "a job of 2 nodes, 1 rank each, trains" run_job two 1
    report "its losses are those of mpirun -n 2" same_losses two reference
    report "a job of 2 nodes, 2 ranks each, trains" run_job four 2
    report "its losses are those of mpirun -n 2" same_losses four reference
    report "a second job continues the run of the first" continues_run
    report "a job signalled before its time limit is requeued and ends as an uncut one" requeues_after_signal
    report "a cancelled job ends, with a whole checkpoint" ends_when_cancelled
    report "a job one of whose ranks is killed ends within $killed_seconds seconds, and names it" ends_with_killed_rank
    report "a missing configuration file is refused" refuses_missing_configuration
    echo "slurm: $passed passed, $failed failed"
    [[ $failed -eq 0 ]]
}

main "$@"
