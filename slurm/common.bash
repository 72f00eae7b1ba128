# shellcheck shell=bash
# What the job scripts and the scripts that submit them share: the site's settings, threads, how ranks are started, signals, and
# what a job says first. Sourced; a job script then calls start_job.
script=${0##*/}

fail() {
    echo "$script: $*" >&2
    exit 2
}

# ---- the site -------------------------------------------------------------------------------------------------------------

# Site files and module functions often read unset variables: allowed while they run.
load_site() {
    local file=${POLYSKETCH_SITE_ENV:-slurm/site.env}
    [[ -f $file || -z ${POLYSKETCH_SITE_ENV:-} ]] || fail "POLYSKETCH_SITE_ENV names '$file', which is not a file"
    set +u
    # shellcheck source=/dev/null  # the site's own
    [[ ! -f $file ]] || . "$file"
    # shellcheck disable=SC2086  # a list of names
    [[ -z ${POLYSKETCH_MODULES:-} ]] || module load $POLYSKETCH_MODULES || fail "cannot load modules: $POLYSKETCH_MODULES"
    set -u
}

# find_binary: the program, into $binary.
find_binary() {
    binary=${POLYSKETCH_BINARY:-build/release/polysketch}
    command -v "$binary" >/dev/null || fail "cannot run '$binary' in $PWD. Try: make, or set POLYSKETCH_BINARY"
}

set_threads() {
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
    export OMP_PLACES=${OMP_PLACES:-cores}
    export OMP_PROC_BIND=${OMP_PROC_BIND:-close}
    export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # since Slurm 22.05 srun does not inherit it
    export SLURM_EXPORT_ENV=ALL                         # also in a job that was submitted with --export=NONE
}

# start_job SCRIPT: of a job, whose file Slurm has copied to a place of its own: goes to the folder it was submitted in, and sets
# $binary and what depends on the site.
start_job() {
    script=$1
    [[ -n ${SLURM_JOB_ID:-} ]] || fail "this is a job script. Try: sbatch slurm/$script ..."
    cd "${SLURM_SUBMIT_DIR:?}" || exit 2
    unset OMP_NUM_THREADS # left over from the submitting shell; --cpus-per-task decides, or site.env
    load_site
    set_threads
    find_binary
}

# ---- ranks ----------------------------------------------------------------------------------------------------------------

# The most tasks that a node of the job has: SLURM_TASKS_PER_NODE is a list such as 16(x3),8.
tasks_per_node() {
    tr , '\n' <<<"${SLURM_TASKS_PER_NODE:-1}" | sed 's/(.*//' | sort -n | tail -n 1
}

# set_launch [RANKS]: leaves in the array `launch` the words that start a command on all tasks of the job, or on RANKS of them,
# on as few nodes as have room. One rank that dies ends all, whatever the site's KillOnBadExit says: the others would wait for it
# until the time limit.
set_launch() {
    local ranks=${1:-} nodes per_node
    # shellcheck disable=SC2206  # lists of options
    case ${POLYSKETCH_LAUNCHER:-srun} in
        srun)
            launch=(srun "--mpi=${POLYSKETCH_MPI:-pmix}" --kill-on-bad-exit=1 ${POLYSKETCH_SRUN_OPTIONS:-})
            [[ -n $ranks ]] || return 0
            per_node=$(tasks_per_node)
            nodes=$(((ranks + per_node - 1) / per_node))
            launch+=("--nodes=$nodes" "--ntasks=$ranks" "--ntasks-per-node=$(((ranks + nodes - 1) / nodes))")
            ;;
        mpirun)
            ranks=${ranks:-${SLURM_NTASKS:-${SLURM_JOB_NUM_NODES:-1}}}
            launch=(mpirun -q -n "$ranks" ${POLYSKETCH_MPIRUN_OPTIONS:---map-by "slot:PE=$OMP_NUM_THREADS" --bind-to core})
            ;;
        *) fail "POLYSKETCH_LAUNCHER is '$POLYSKETCH_LAUNCHER'. It can be srun or mpirun" ;;
    esac
}

# print_header COMMAND...: what the job was given, and what it starts.
print_header() {
    echo "job      $(job_name) (${SLURM_JOB_NAME:-}), $(date '+%Y-%m-%d %H:%M:%S'), restart ${SLURM_RESTART_COUNT:-0}"
    echo "nodes    ${SLURM_JOB_NUM_NODES:-?}: ${SLURM_JOB_NODELIST:-?}"
    echo "ranks    ${SLURM_NTASKS:-one per node}"
    echo "threads  $OMP_NUM_THREADS per rank, OMP_PLACES=$OMP_PLACES, OMP_PROC_BIND=$OMP_PROC_BIND"
    echo "command $(printf ' %q' "$@")"
}

# explain_signal STATUS: the launcher has named the rank, and a rank that is killed cannot say a word itself.
explain_signal() {
    (($1 > 128)) || return 0
    echo "$script: a rank was ended by signal $(($1 - 128)), named above. Signal 9 is often that of memory that ran out:" \
        "fewer ranks on each node then help. Submit the same command again: the run goes on from its last checkpoint" >&2
}

# ---- training: signals, and jobs that go on -------------------------------------------------------------------------------

# What Slurm calls this job: the number of a task of an array may be that of the whole array.
job_name() {
    if [[ -n ${SLURM_ARRAY_JOB_ID:-} ]]; then
        echo "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    else
        echo "$SLURM_JOB_ID"
    fi
}

# mpirun kills its ranks a second after it was told to end. It is asked to let them save instead.
# shellcheck disable=SC2317  # called by the traps
forward() {
    local signal=$1
    [[ $signal != TERM || ${POLYSKETCH_LAUNCHER:-srun} != mpirun ]] || signal=USR1
    [[ -z $step ]] || kill -s "$signal" "$step" 2>/dev/null || true
}

# run_and_forward COMMAND...: its exit code. Signals that reach this script alone, as the one before a time limit does, go on to
# the ranks; however often one interrupts the waiting, the script waits for the end of the command.
run_and_forward() {
    step=''
    trap 'forward TERM' TERM
    trap 'forward USR1' USR1
    trap 'forward USR2' USR2
    "$@" &
    step=$!
    while kill -0 "$step" 2>/dev/null; do wait "$step" 2>/dev/null || true; done
    wait "$step" # bash remembers it
}

# A job that has saved and wants to go on, unless it is being cancelled; --no-requeue of the submission wins.
requeue() {
    local job
    job=$(job_name)
    [[ $(squeue --noheader --job "$job" --format %T) == RUNNING ]] || return 0
    echo "$script: the run has saved and is put back into the queue"
    scontrol requeue "$job" || echo "$script: Slurm does not requeue it. Submit the same command again" >&2
}

# end_chain REASON: the jobs of slurm/chain.sh that wait for this one are not needed any more.
end_chain() {
    local jobs
    jobs=$(squeue --noheader --me --states=PENDING --format='%i %k' |
        awk -v chain="$POLYSKETCH_CHAIN" '$2 == chain { print $1 }') || jobs=''
    [[ -n $jobs ]] || return 0
    echo "$script: $1, so the chain ends here; cancelled: ${jobs//$'\n'/ }"
    # shellcheck disable=SC2086  # a list of job numbers
    scancel $jobs
}

# What follows training that ended with this exit code. A chain goes on after code 85 and after a rank was killed; an error would
# only come again.
go_on_after() {
    if [[ -z ${POLYSKETCH_CHAIN:-} ]]; then
        [[ $1 -ne 85 ]] || requeue
    elif [[ $1 -eq 0 ]]; then
        end_chain "the run is finished"
    elif [[ $1 -eq 85 || $1 -gt 128 ]]; then
        echo "$script: the next job of the chain goes on"
    else
        end_chain "an error ended the run (exit code $1)"
    fi
}

# train FILE.ini|RUN_FOLDER [--section.key=value ...]: trains in all tasks of the job, and ends the job with the exit code.
train() {
    local option status=0
    [[ $# -ge 1 && $1 != -* ]] || fail "no configuration file given. Try: sbatch slurm/$script ... FILE.ini"
    [[ -e $1 ]] || fail "no configuration file '$1' in $PWD"
    for option in "$@"; do
        [[ $option != --from && $option != --from=* ]] ||
            fail "--from would go back again whenever the job is requeued. Go back first, with $binary train RUN_FOLDER" \
                "--from=STEP --train.steps=STEP; then submit with --train.steps=N, all the steps of the run: its folder" \
                "keeps STEP"
    done
    set_launch
    print_header "${launch[@]}" "$binary" train "$@"
    run_and_forward "${launch[@]}" "$binary" train "$@" || status=$?
    explain_signal "$status"
    go_on_after "$status"
    exit "$status"
}

# ---- submitting -----------------------------------------------------------------------------------------------------------

# split_at_script WORDS...: what follows `sbatch` on a command line: into `before`, the options of sbatch, `job_script`, the first
# word that ends in .sbatch, and `after`, its arguments.
split_at_script() {
    before=() job_script='' after=()
    while [[ $# -gt 0 && $1 != *.sbatch ]]; do
        before+=("$1")
        shift
    done
    [[ $# -gt 0 ]] || fail "no job script given. It ends in .sbatch; $script --help explains"
    job_script=$1
    after=("${@:2}")
    [[ -r $job_script ]] || fail "no job script '$job_script' in $PWD"
}

# help_if_asked "$@": without arguments, or with --help, prints the comment at the head of the script and ends it.
help_if_asked() {
    [[ $# -eq 0 || ${1:-} == -h || ${1:-} == --help ]] || return 0
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 0
}

# ---- sweeps ---------------------------------------------------------------------------------------------------------------

# read_sweep FILE: its lines `NAME | section.key=value ...`, into the arrays `names` and `settings`. Comments begin with #.
read_sweep() {
    local line words word number=0
    names=() settings=()
    [[ -r $1 ]] || fail "no sweep file '$1' in $PWD"
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        line=${line%%#*}
        read -ra words <<<"${line/|/ | }"
        [[ ${#words[@]} -gt 0 ]] || continue
        [[ ${words[0]} =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ && ${words[1]:-|} == '|' ]] ||
            fail "$1, line $number is not NAME | section.key=value ... with a name of letters, digits, '.', '_' and '-'"
        [[ " ${names[*]} " != *" ${words[0]} "* ]] ||
            fail "$1, line $number: there are two runs named '${words[0]}'. Give one another name"
        for word in "${words[@]:2}"; do
            [[ $word =~ ^[a-z]+\.[a-z0-9_]+=. ]] || fail "$1, line $number: '$word' is not section.key=value"
        done
        names+=("${words[0]}")
        settings+=("${words[*]:2}")
    done <"$1"
    [[ ${#names[@]} -gt 0 ]] || fail "'$1' has no runs. A line is NAME | section.key=value ..."
}

# sweep_folder SWEEP_FILE [OPTIONS...]: where the runs of a sweep are: output.folder of these options, or results/NAME.
sweep_folder() {
    local option folder
    folder=results/$(basename "${1%.txt}")
    for option in "${@:2}"; do [[ $option != --output.folder=* ]] || folder=${option#*=}; done
    echo "$folder"
}
