# shellcheck shell=bash
# Checks of what consists of several jobs or several steps: chains, sweeps, scaling; and of evaluations.

# Four jobs, of which the first is cut and the second finishes the run: the others go, and the run is that of one job.
check_chain() {
    local jobs
    long_arguments chain
    mapfile -t jobs < <(slurm/chain.sh 4 --nodes=2 --ntasks-per-node=1 --time=10 --output="$folder/chain-%j.out" \
        slurm/train.sbatch "${arguments[@]}")
    [[ ${#jobs[@]} -eq 4 ]] && trains chain || return 1
    scancel --batch --signal=USR1 "${jobs[0]}"
    wait_for_job "${jobs[0]}" FAILED && job_is "${jobs[0]}" ExitCode 85:0 &&
        says "chain-${jobs[0]}.out" "the next job of the chain goes on" &&
        completes "${jobs[1]}" "$folder/chain-${jobs[1]}.out" &&
        says "chain-${jobs[1]}.out" "the run is finished, so the chain ends here" &&
        wait_for_job "${jobs[2]}" CANCELLED && wait_for_job "${jobs[3]}" CANCELLED && same_bits uncut chain "$many"
}

# An error would only come again.
check_chain_error() {
    local jobs
    arguments chain-error --train.stepz=3
    mapfile -t jobs < <(slurm/chain.sh 3 --ntasks=1 --time=1 --output="$folder/chain-error-%j.out" slurm/train.sbatch \
        "${arguments[@]}")
    [[ ${#jobs[@]} -eq 3 ]] && wait_for_job "${jobs[0]}" FAILED && wait_for_job "${jobs[2]}" CANCELLED &&
        wait_for_job "${jobs[1]}" CANCELLED && says "chain-error-${jobs[0]}.out" "an error ended the run (exit code 1)"
}

# Three runs, one of which cannot be and one is requeued: the job after them waits for all, and its table says what theirs say.
# The last task of an array is the one whose job has the number of the array.
check_sweep() {
    local jobs name
    cat >"$folder/lines.txt" <<LINES
# name | options
short | train.learning_rate=0.01 attention.kind=softmax   # another kind too
wrong | train.learning_rate=-1
long  | train.steps=$many output.log_every=100000
LINES
    arguments sweep --train.steps=60
    mapfile -t jobs < <(slurm/sweep.sh --ntasks=1 --time=10 --output="$folder/sweep-%a.out" slurm/sweep.sbatch \
        "$folder/lines.txt" "${arguments[@]}")
    [[ ${#jobs[@]} -eq 2 ]] && trains sweep/long || return 1
    scancel --batch --signal=USR1 "${jobs[0]}_2"
    until_true "$job_seconds" job_is "${jobs[0]}_2" Restarts 1 && completes "${jobs[1]}" "$folder/sweep/table.out" || return 1
    [[ $(cut -d, -f1-3 "$folder/sweep/sweep.csv" | tail -n +2 | xargs) == \
        "short,finished,60 wrong,none,0 long,finished,$many" ]] || {
        cat "$folder/sweep/sweep.csv" >&2
        return 1
    }
    for name in long short; do
        [[ $(awk -F, -v name=$name '$1 == name { print $5 }' "$folder/sweep/sweep.csv") == \
            $(column loss "$folder/sweep/$name/evaluations.csv" | awk '{ printf "%.4f", $2 }') ]] || return 1
    done
    says sweep/sweep.txt "attention.kind=softmax" && says sweep-1.out "train.learning_rate = -1" &&
        is_picture "$folder/sweep/sweep.png"
}

# scaling_column NAME: of the table.
scaling_column() {
    awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) place[$i] = i; next } { print $place[name] }' \
        "$folder/scaling/scaling.csv" | xargs
}

# Strong and weak scaling on 1, 2 and 4 ranks of two nodes, in one job.
check_scaling() {
    local job
    job=$(sbatch --parsable --nodes=2 --ntasks-per-node=2 --time=10 --output="$folder/scaling.out" slurm/scaling.sbatch \
        tests/data/tiny.ini --model.vocab_size=256 --repeats=1 --folder="$folder/scaling")
    completes "$job" "$folder/scaling.out" || return 1
    [[ $(scaling_column scaling) == 'strong strong strong weak weak weak' && $(scaling_column ranks) == '1 2 4 1 2 4' &&
        $(scaling_column nodes) == '1 1 2 1 1 2' && $(scaling_column context) == '64 64 64 64 128 256' ]] || return 1
    awk -F, 'NR == 1 { next }
        { if ($9 != $9 + 0 || $9 <= 0 || $10 < 0 || $10 > 1 || $11 < 0 || $11 > 1) bad = 1; if ($2 > 1) shared += $10 }
        END { exit bad || shared == 0 }' "$folder/scaling/scaling.csv" && is_picture "$folder/scaling/scaling.png"
}

# The loss of a run's newest checkpoint is that of the evaluation at its end.
check_eval() {
    local job
    job=$(sbatch --parsable --ntasks=2 --time=10 --output="$folder/eval.out" slurm/eval.sbatch "$folder/reference" \
        --data="$folder/data/validation.h5")
    completes "$job" "$folder/eval.out" || return 1
    awk -v expected="$(column loss "$folder/reference/evaluations.csv" | awk 'END { print $2 }')" -v tolerance="$tolerance" '
        $1 == "loss" { found = $2 > 0 && ($2 - expected) ^ 2 <= (tolerance * expected) ^ 2 }
        END { exit !found }' "$folder/eval.out"
}
