# shellcheck shell=bash
# Checks of slurm/train.sbatch.

# The same losses on one node and on two, with one rank on each and with two.
check_two_nodes() {
    arguments two && run_job two 1 && same_losses two reference && arguments four && run_job four 2 && same_losses four reference
}

# Where a job stopped, the next one with the same folder goes on. The numbers of ranks may differ.
check_continue() {
    arguments halves --train.steps=3 && run_job halves 1 && arguments halves && run_job halves 2 &&
        says halves.out "step 3" && same_losses halves reference
}

# A time limit of one minute: the job is put back into the queue before it is over, and ends as if nothing had happened. So that
# it takes no longer than it must, the configuration says how many steps there are only after the first part.
check_time_limit() {
    local job last config=$folder/limit.ini
    sed 's/^steps = .*/steps = 1000000/' tests/data/tiny.ini >"$config"
    arguments=("$config" "--data.train=$folder/data/train.h5" "--data.validation=$folder/data/validation.h5"
        --train.schedule=constant --output.log_every=1000000)
    job=$(sbatch --parsable --ntasks=1 --time=1 --signal=B:USR1@25 --output="$folder/limit.out" slurm/train.sbatch \
        "${arguments[@]}" --output.folder="$folder/limit")
    until_true "$job_seconds" job_is "$job" Restarts 1 || return 1
    scontrol update "JobId=$job" TimeLimit=10
    last=$(($(wc -l <"$folder/limit/metrics.csv") - 1 + 50))
    sed -i "s/^steps = .*/steps = $last/" "$config"
    OMP_NUM_THREADS=1 "$binary" train "${arguments[@]}" --output.folder="$folder/limit-uncut" >"$folder/limit-uncut.out" ||
        return 1
    completes "$job" "$folder/limit.out" && job_is "$job" Restarts 1 && says limit.out "stopped by a signal" &&
        says limit.out "continuing from" && same_bits limit-uncut limit "$last"
}

# mpirun instead of srun; the signal that comes before a time limit reaches the script, which passes it on.
check_mpirun() {
    local job
    long_arguments mpirun
    job=$(POLYSKETCH_SITE_ENV=$folder/mpirun.env submit mpirun 1)
    trains mpirun || return 1
    scancel --batch --signal=USR1 "$job"
    until_true "$job_seconds" job_is "$job" Restarts 1 && completes "$job" "$folder/mpirun.out" &&
        says mpirun.out "command  mpirun" && says mpirun.out "continuing from" && same_bits uncut mpirun "$many"
}

# has_saved RUN: later than before its first step.
has_saved() {
    [[ $(newest_checkpoint "$1") != */step-00000000.h5 ]]
}

# A job saves when it is asked to, and goes on. When it is cancelled it is not requeued, and its newest checkpoint is whole.
check_cancelled() {
    local job
    arguments cancelled --train.steps=1000000 --output.log_every=100000
    job=$(submit cancelled 1)
    trains cancelled || return 1
    scancel --batch --signal=USR2 "$job"
    until_true "$job_seconds" has_saved cancelled && job_is "$job" JobState RUNNING || return 1
    scancel "$job"
    wait_for_job "$job" CANCELLED || return 1
    sleep 3 # time to come back, if it did
    job_is "$job" JobState CANCELLED && "$binary" inspect "$(newest_checkpoint cancelled)" >/dev/null
}

# A rank that is killed, as for want of memory, ends the job within seconds and by name; the others would wait for it for ever.
check_killed() {
    local job ranks
    arguments killed --train.steps=1000000 --output.log_every=100000
    job=$(submit killed 1)
    trains killed || return 1
    mapfile -t ranks < <(ranks_of killed)
    [[ ${#ranks[@]} -eq 2 ]] || return 1
    kill -KILL "${ranks[1]}"
    until_true "$killed_seconds" job_is "$job" JobState FAILED || {
        scancel "$job"
        return 1
    }
    [[ -z $(ranks_of killed) ]] && grep -qE "task [01]: Killed" "$folder/killed.out" &&
        says killed.out "a rank was ended by signal 9"
}

# refused OUTPUT WORDS COMMAND...: a job that sbatch accepts, but whose script says these words and ends with exit code 2.
refused() {
    local job
    job=$("${@:3}") && wait_for_job "$job" FAILED && job_is "$job" ExitCode 2:0 && says "$1" "$2"
}

# An error of a job script itself ends the job and says why.
check_refusals() {
    local script=(sbatch --parsable --time=1)
    refused no_file.out "no configuration file 'tests/data/no_such_file.ini'" "${script[@]}" --output="$folder/no_file.out" \
        slurm/train.sbatch tests/data/no_such_file.ini &&
        refused from.out "--from would go back again" "${script[@]}" --output="$folder/from.out" slurm/train.sbatch \
            tests/data/tiny.ini --from=3 &&
        POLYSKETCH_LAUNCHER=pigeon refused launcher.out "It can be srun or mpirun" "${script[@]}" \
            --output="$folder/launcher.out" slurm/train.sbatch tests/data/tiny.ini &&
        refused elsewhere.out "Submit from the top folder" env --chdir=/tmp "${script[@]}" --output="$folder/elsewhere.out" \
            "$PWD/slurm/train.sbatch" tests/data/tiny.ini
}
