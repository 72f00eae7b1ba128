# shellcheck shell=bash
# What the checks of the job scripts share: their private Slurm, data, jobs to wait for, runs to compare.
readonly job_seconds=180 killed_seconds=20 tolerance=1e-5 steps=5 many=1000

fail() {
    echo "check_slurm: $2" >&2
    exit "$1"
}

# ---- the cluster ------------------------------------------------------------------------------------------------------------

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

cleanup() {
    local code=$?
    trap - EXIT INT TERM HUP
    if [[ $code -ne 77 ]]; then scripts/slurm_one_machine.sh stop "$folder/s" || code=1; fi
    if [[ $code -eq 1 ]]; then echo "check_slurm: logs are kept in $folder" >&2; else rm -rf -- "$folder"; fi
    exit "$code"
}

# Both nodes are this machine: shared memory would take the other node's ranks for neighbours, and binding would put every rank
# on the first core, because this Slurm hands out CPUs without confining anybody to them. Several ranks share a core, so those
# that wait must give way. As root mpirun wants two variables.
write_sites() {
    cat >"$folder/clone.env" <<SITE
export OMPI_MCA_btl=tcp,self
export OMPI_MCA_btl_tcp_if_include=lo
export OMPI_MCA_mpi_yield_when_idle=1
export OMP_PROC_BIND=false
export OMP_WAIT_POLICY=passive
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
SITE
    { cat "$folder/clone.env" && echo "export POLYSKETCH_BINARY=$binary"; } >"$folder/site.env"
    {
        cat "$folder/site.env"
        echo 'POLYSKETCH_LAUNCHER=mpirun'
        echo 'POLYSKETCH_MPIRUN_OPTIONS="--bind-to none --oversubscribe"'
    } >"$folder/mpirun.env"
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

# ---- jobs -------------------------------------------------------------------------------------------------------------------

# arguments RUN OPTIONS...: what follows `train`, into the array `arguments`.
# With a constant schedule the learning rate of a step does not depend on how many steps follow.
arguments() {
    arguments=(tests/data/tiny.ini "--data.train=$folder/data/train.h5" "--data.validation=$folder/data/validation.h5"
        "--output.folder=$folder/$1" "--train.steps=$steps" --train.schedule=constant "${@:2}")
}

# long_arguments RUN: those of $many steps, without their lines.
long_arguments() {
    arguments "$1" --train.steps="$many" --output.log_every=100000
}

# submit RUN TASKS: the job script with `arguments` on both nodes, TASKS ranks on each; prints the job's number.
submit() {
    sbatch --parsable --nodes=2 --ntasks-per-node="$2" --time=10 --output="$folder/$1.out" slurm/train.sbatch "${arguments[@]}"
}

# job_field JOB FIELD: a value from `scontrol show job`, for there is no accounting that sacct could ask.
job_field() {
    timeout 10 scontrol --oneliner show job "$1" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$2=//p" || true
}

# until_true SECONDS COMMAND...: whether it succeeds within so many seconds.
until_true() {
    local deadline=$((SECONDS + $1))
    until "${@:2}"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
}

# job_is JOB FIELD PATTERN
job_is() {
    [[ $(job_field "$1" "$2") =~ ^($3)$ ]]
}

# wait_for_job JOB STATE: 0 if it ends in this state, in time.
wait_for_job() {
    until_true "$job_seconds" job_is "$1" JobState 'COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|OUT_OF_MEMORY' || true
    ! job_is "$1" JobState "$2" || return 0
    echo "job $1 is $(job_field "$1" JobState), not $2; exit code $(job_field "$1" ExitCode)" >&2
    return 1
}

# completes JOB OUTPUT: it ends well; otherwise the end of its output is shown.
completes() {
    ! wait_for_job "$1" COMPLETED || return 0
    scancel "$1" 2>/dev/null || true
    tail -n 15 "$2" >&2 || true
    return 1
}

# run_job RUN TASKS: `arguments` as one job of 2 x TASKS ranks, and not as so many jobs of one rank.
run_job() {
    completes "$(submit "$1" "$2")" "$folder/$1.out" && says "$1.out" "| $((2 * $2)) ranks = "
}

# ---- runs -------------------------------------------------------------------------------------------------------------------

# run_mpirun RUN: `arguments` without Slurm, on one node of two ranks. In a subshell: the settings are not for jobs of others.
run_mpirun() (
    # shellcheck source=/dev/null  # written by write_sites
    . "$folder/mpirun.env"
    # shellcheck disable=SC2086  # a list of options
    OMP_NUM_THREADS=1 timeout "$job_seconds" mpirun -q -n 2 $POLYSKETCH_MPIRUN_OPTIONS "$binary" train "${arguments[@]}" \
        >"$folder/$1.out" 2>&1 || fail 1 "mpirun failed: $(tail -n 1 "$folder/$1.out")"
)

# says FILE WORDS: the file, below $folder, has them.
says() {
    grep -qF -e "$2" "$folder/$1" && return
    echo "no '$2' in $1:" >&2
    tail -n 15 "$folder/$1" >&2
    return 1
}

# column NAME FILE.csv: lines `step value`.
column() {
    awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) place[$i] = i; next } { print $place["step"], $place[name] }' "$2"
}

# same_losses RUN RUN: the same $steps steps, and losses within the tolerance.
same_losses() {
    paste -d ' ' <(column loss "$folder/$1/metrics.csv") <(column loss "$folder/$2/metrics.csv") |
        awk -v tolerance="$tolerance" -v steps="$steps" '
            function size(x) { return x < 0 ? -x : x }
            NF != 4 || $1 != $3 || $2 + 0 != $2 || !(size($2 - $4) <= tolerance * size($4)) { print "differ: " $0; bad = 1 }
            END { exit bad || NR != steps }' >&2
}

# same_bits RUN RUN STEPS: checkpoints and tables, bit for bit.
same_bits() {
    PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/faults/compare_runs.py "$folder/$1" "$folder/$2" "$3" >&2
}

# has_rows RUN COUNT: so many steps stand in its metrics.
has_rows() {
    [[ -f $folder/$1/metrics.csv && $(wc -l <"$folder/$1/metrics.csv") -gt $2 ]]
}

# trains RUN: waits until it is well under way.
trains() {
    until_true "$job_seconds" has_rows "$1" 50
}

# newest_checkpoint RUN
newest_checkpoint() {
    find "$folder/$1/checkpoints" -name 'step-*.h5' | sort | tail -n 1
}

# ranks_of RUN: the processes of its ranks.
ranks_of() {
    pgrep -f "^$binary train .*output.folder=$folder/$1 " || true
}

# is_picture FILE: a PNG.
is_picture() {
    [[ $(head -c 8 "$1" | od -An -tx1 | tr -d ' ') == 89504e470d0a1a0a ]]
}
