#!/usr/bin/env bash
# Do the job scripts work on a real Slurm?
#
#     scripts/check_slurm.sh [NAME...]      (or: make check-slurm ARGS='chain sweep')    without names all checks
#
# Starts a private Slurm of two emulated nodes (scripts/slurm_one_machine.sh) and lets jobs train a tiny model on it, some checks
# at a time. A check is a function check_NAME in scripts/check_slurm/, and a line of the table below. Everything happens in a
# folder of its own, which is removed at the end unless a check failed; the daemons are stopped on every way out.
# Exit codes: 0 all passed, 1 a check failed, 2 there is no such check, 77 cannot run here (not root, or no Slurm).
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
# shellcheck source=scripts/check_slurm/common.bash
. scripts/check_slurm/common.bash
# shellcheck source=scripts/check_slurm/training.bash
. scripts/check_slurm/training.bash
# shellcheck source=scripts/check_slurm/sets.bash
. scripts/check_slurm/sets.bash
# shellcheck source=scripts/check_slurm/submitting.bash
. scripts/check_slurm/submitting.bash

folder='' at_once=3
binary=$(realpath -- "${POLYSKETCH_BINARY:-build/release/polysketch}")

# The longest first, so that the last ones end together.
checks='
    time_limit   a job that its time limit cuts is requeued and ends bit for bit as an uncut one
    readme       the ten commands of slurm/README.md, from a clone to a requeued job
    scaling      a job of strong and weak scaling yields its table and picture
    mpirun       the same with mpirun: a job that is signalled is requeued and ends bit for bit as an uncut one
    chain        a chain of jobs goes on after a cut, and ends with the run
    sweep        a sweep yields its table and picture, also of a run that was requeued and of one that failed
    submit       make submit checks and submits a job of the planned size, and refuses one that cannot be
    two_nodes    jobs of 2 and 4 ranks on two nodes have the losses of mpirun on one
    continue     a second job continues the run of the first
    killed       a job one of whose ranks is killed ends within seconds, and names it
    cancelled    a job saves upon a signal and goes on; cancelled, it ends with a whole checkpoint
    eval         an evaluation has the loss of the run
    chain_error  an error ends a chain
    refusals     job scripts refuse what cannot be, and say why
    plan         sbatch accepts the head that plan prints
'

# run_check NAME TITLE: one line, and its output where it failed.
run_check() {
    local log=$folder/check-$1.log start=$SECONDS verdict=passed
    "check_$1" >"$log" 2>&1 || verdict=FAILED
    printf '  %-6s  %s (%d s)\n' "$verdict" "$2" $((SECONDS - start))
    [[ $verdict == passed ]] || sed 's/^/    | /' "$log"
    echo "$verdict" >"$folder/check-$1.verdict"
}

# run_checks NAMES: those of the table, in its order.
run_checks() {
    local name title
    while read -r name title; do
        [[ -n $name && " $1 " == *" $name "* ]] || continue
        while [[ $(jobs -rp | wc -l) -ge $at_once ]]; do wait -n || true; done
        run_check "$name" "$title" </dev/null &
    done <<<"$checks"
    wait
}

main() {
    local known names=$* name passed count failures
    known=$(awk 'NF { print $1 }' <<<"$checks" | xargs)
    for name in "$@"; do [[ " $known " == *" $name "* ]] || fail 2 "there is no check '$name'. There are: $known"; done
    [[ -x $binary ]] || fail 1 "cannot run '$binary'. Try: make"
    start_cluster
    write_sites
    make_data
    arguments reference && run_mpirun reference
    long_arguments uncut && run_mpirun uncut
    run_checks "${names:-$known}"
    count=$(find "$folder" -maxdepth 1 -name 'check-*.verdict' | wc -l)
    passed=$(cat "$folder"/check-*.verdict | grep -c '^passed$' || true)
    # Once more where a reader looks first.
    mapfile -t failures < <(grep -lsx FAILED "$folder"/check-*.verdict | sed 's|.*/check-\(.*\)\.verdict|\1|')
    [[ ${#failures[@]} -eq 0 ]] || printf 'failed: slurm %s\n' "${failures[@]}"
    echo "$passed passed, $((count - passed)) failed"
    [[ $passed -eq $count ]]
}

main "$@"
