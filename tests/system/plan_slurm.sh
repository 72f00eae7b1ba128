#!/bin/bash
# The head of a Slurm job script that `plan --slurm` prints: ranks on nodes by cores and by memory, memory by the plan, time by
# the stated or measured speed; what cannot be is refused. (make check-slurm lets Slurm judge it.)
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

model=(tests/data/tiny.ini --model.vocab_size=256 --model.context_length=1024 --train.steps=1000)
head=$TEST_FOLDER/head

# plan_head OPTIONS...: into $head.
plan_head() {
    "$program" plan --slurm "${model[@]}" "$@" >"$head" || give_up "exit code $? of plan --slurm $*"
    [ "$(head -n 1 "$head")" = '#!/bin/bash' ] || give_up "no head of a script: $(<"$head")"
}

# asks OPTION=VALUE...: the head has these lines.
asks() {
    local option
    for option in "$@"; do grep -qx -e "#SBATCH --$option" "$head" || give_up "no --$option in: $(<"$head")"; done
}

test_nodes() {
    plan_head --ranks=6 --threads=2 --cores_per_node=4 --tokens_per_second=1000
    asks nodes=3 ntasks=6 ntasks-per-node=2 cpus-per-task=2
    plan_head --ranks=7 --threads=1 --cores_per_node=6 --tokens_per_second=1000
    asks nodes=2 ntasks=7 ntasks-per-node=4 cpus-per-task=1 # evenly
    plan_head --ranks=6 --threads=1 --cores_per_node=64 --gigabytes_per_node=0.7 --tokens_per_second=1000
    asks nodes=3 ntasks-per-node=2 # each wants some 0.3 GB
    plan_head --tokens_per_second=1000
    asks nodes=1 ntasks=1 ntasks-per-node=1
}

# A tenth more than the plan, and 256 MiB, for each task of a node; the plan prints three digits or more.
test_memory() {
    local planned
    planned=$("$program" plan "${model[@]}" --ranks=4 --threads=1 | awk '$1 == "total" {
        print $2 * ($3 == "GB" ? 1e9 : $3 == "MB" ? 1e6 : 1e3) }')
    plan_head --ranks=4 --threads=1 --cores_per_node=2 --tokens_per_second=1000
    awk -v planned="$planned" -F '[=M]' '/--mem=/ {
        expected = 2 * (1.1 * planned / 1048576 + 256)
        good = $2 >= expected - 1 && $2 <= 1.01 * expected + 1
    } END { exit !good }' "$head" || give_up "memory of 2 x $planned bytes: $(<"$head")"
    grep -q 'planned for a rank' "$head" || give_up "$(<"$head")"
}

# 1000 steps of 4 x 1024 tokens, a fifth more, and ten minutes.
test_time() {
    plan_head --tokens_per_second=1000
    asks time=0-01:32:00
    grep -q '^# time: about 1h08m for all steps, 1000 steps at the stated 1000 tokens/s$' "$head" || give_up "$(<"$head")"
    plan_head --tokens_per_second=1000 --hours=1
    asks time=0-01:00:00
    grep -q 'about 2, one after the other' "$head" || give_up "$(<"$head")"
    plan_head --tokens_per_second=10 --hours=200
    asks time=5-16:42:00
    plan_head --threads=1
    grep -qE '^# time: .*of the rate of sgemm here, [0-9.]+ GF/s for a core$' "$head" || give_up "$(<"$head")"
    grep -qE '^#SBATCH --time=0-[0-9][0-9]:[0-9][0-9]:00$' "$head" || give_up "$(<"$head")"
}

test_refusals() {
    require_refusal '8 threads of a rank do not fit on the 4 cores .*--threads' plan --slurm "${model[@]}" --threads=8 \
        --cores_per_node=4 --tokens_per_second=1000
    require_refusal 'a rank needs .*, a node has 100.0 MB.*train.recompute' plan --slurm "${model[@]}" \
        --gigabytes_per_node=0.1 --tokens_per_second=1000
}

test_nodes
test_memory
test_time
test_refusals
