# shellcheck shell=bash
# Checks of what is worked out before a job: `polysketch plan --slurm`, slurm/submit.sh, and the commands of slurm/README.md.

# Slurm accepts the head that `plan` prints, with a job script behind it; not one that asks for more than there is.
check_plan() {
    local script=$folder/planned.sbatch
    arguments planned --parallel.data_ranks=2
    "$binary" plan "${arguments[@]}" --slurm --ranks=8 --threads=1 --cores_per_node=4 --tokens_per_second=1000 >"$script" &&
        printf 'exec bash slurm/train.sbatch%s\n' "$(printf ' %q' "${arguments[@]}")" >>"$script"
    grep -qx '#SBATCH --nodes=2' "$script" && sbatch --test-only "$script" 2>"$folder/planned.out" &&
        says planned.out "to start at" || return 1
    "$binary" plan "${arguments[@]}" --slurm --ranks=4 --threads=1 --cores_per_node=1 --tokens_per_second=1000 >"$script"
    ! sbatch --test-only "$script" 2>"$folder/planned.out" || return 1
}

# make submit: checked, submitted, trained; one rank for each core of a node, since nothing else is said.
check_submit() {
    local job
    arguments submitted
    make --no-print-directory submit CONFIG=tests/data/tiny.ini ARGS="$(printf '%q ' "${arguments[@]:1}")" \
        SBATCH_ARGS="--output=$folder/submitted.out --job-name=planned" >"$folder/submit.out" 2>&1 || {
        cat "$folder/submit.out" >&2
        return 1
    }
    job=$(sed -n 's/^Submitted batch job //p' "$folder/submit.out")
    completes "$job" "$folder/submitted.out" && says submitted.out "| 4 ranks = " && job_is "$job" JobName planned &&
        same_losses submitted reference || return 1
    ! make --no-print-directory submit CONFIG=tests/data/tiny.ini RANKS=4 ARGS="$(printf '%q ' "${arguments[@]:1}")" \
        SBATCH_ARGS=--nodes=3 >"$folder/submit.out" 2>&1 && says submit.out "Slurm does not accept this" &&
        ! says submit.out "Submitted batch job" 2>/dev/null
}

# first_block FILE HEADING: the first indented block below it.
first_block() {
    awk -v heading="$2" '
        $0 == heading { found = 1 }
        found && /^    / { print substr($0, 5); inside = 1; next }
        inside { exit }' "$1"
}

# The ten commands of slurm/README.md, as they are printed there, in a clone that this repository stands for. What is compiled
# here is copied there after the first command, so that `make` finds it, and files that were changed since the last commit too.
check_readme() {
    local work=$folder/readme here=$PWD
    mkdir "$work"
    first_block slurm/README.md '## From a clone to a requeued job' >"$work/block"
    [[ $(grep -c . "$work/block") -eq 10 ]] || return 1
    {
        head -n 1 "$work/block"
        printf 'mkdir build; cp -r %q build/release\n' "$(dirname "$binary")"
        printf '(cd %q && git ls-files -z | xargs -0 cp --parents -pt %q)\n' "$here" "$work/polysketch"
        tail -n +2 "$work/block"
    } >"$work/commands"
    (cd "$work" && POLYSKETCH_SITE_ENV=$folder/clone.env GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.$here/.insteadOf" \
        GIT_CONFIG_VALUE_0=https://example.org/polysketch.git timeout "$job_seconds" bash -euo pipefail commands) >"$folder/readme.out" 2>&1 || {
        tail -n 15 "$folder/readme.out" >&2
        return 1
    }
    says readme.out "Restarts=1" && says readme.out "JobState=COMPLETED" && says readme.out "continuing from"
}
