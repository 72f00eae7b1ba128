#!/bin/bash
# What a rank of one thread has for each parameter with every parallel.shard, as `polysketch plan` counts it, beside the closed
# forms: results/reach/shards.csv (FOLDER=results/reach). PROGRAM=build/release/polysketch.
#
#     scripts/shard_memory.sh                       the shapes of GPT-2 small and large on 1, 2, 4 and 8 ranks, RANKS="1 2 4 8"
#     scripts/shard_memory.sh --large [OPTION...]   and three steps of GPT-2 large, or of the model of these options, on four
#                                                   ranks with parallel.shard = parameters: the peak of each rank beside what
#                                                   plan says, a row for each in results/reach/shards_run.csv
#
# --large needs 20 GB of memory, as much room for two checkpoints on a disk (TMPDIR), and ten minutes or more.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

if [ $# -gt 0 ] && [ "$1" != --large ]; then
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
program=$(realpath "${PROGRAM:-build/release/polysketch}")
folder=${FOLDER:-results/reach}
read -ra ranks_list <<<"${RANKS:-1 2 4 8}"
common=(--model.vocab_size=50304 --model.context_length=1024)
one_thread=--threads=1 # of each rank, so that scratch is the same wherever the table is made
large=(--model.layers=36 --model.width=1280 --model.heads=20)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"

# plan_shape NAME OPTIONS...: documents of plan, for every stage and number of ranks.
plan_shape() {
    local name=$1 stage ranks
    for stage in none optimizer gradients parameters; do
        for ranks in "${ranks_list[@]}"; do
            "$program" plan configs/gpt2-small.ini "${common[@]}" "${@:2}" --train.batch_sequences="$ranks" \
                --ranks="$ranks" --parallel.data_ranks="$ranks" --parallel.shard="$stage" \
                "$one_thread" --json >"$work/$name,$stage,$ranks.json"
        done
    done
}

# table: of all documents. Bytes of a rank for each trained parameter: what it keeps, what that is by the closed form, and groups
# that it has whole for a while.
table() {
    /usr/bin/python3 - "$work" <<'END'
import glob, json, os, sys
forms = {"none": lambda ranks: 16, "optimizer": lambda ranks: 8 + 8 / ranks, "gradients": lambda ranks: 4 + 12 / ranks,
         "parameters": lambda ranks: 16 / ranks}
def read(path):
    shape, stage, ranks = os.path.basename(path)[:-len(".json")].split(",")
    said = json.load(open(path))
    return said["parameters"]["trained"], list(forms).index(stage), int(ranks), shape, said["memory_per_rank"]
print("shape,parameters,shard,ranks,kept_bytes_per_parameter,closed_form,whole_bytes_per_parameter,bytes_per_rank")
for count, number, ranks, shape, memory in sorted(map(read, glob.glob(f"{sys.argv[1]}/*,*,*.json"))):
    stage = list(forms)[number]
    kept, whole = (sum(memory.get(name, 0) for name in names) / count
                   for names in (("parameters", "gradients", "optimizer: m", "optimizer: v"),
                                 ("gathered parameters", "whole gradients")))
    print(f"{shape},{count},{stage},{ranks},{kept:.3f},{forms[stage](ranks):.3f},{whole:.3f},{memory['total']:.0f}")
END
}

# run_large OPTIONS...: rows of the run. Each rank is the child of a program that is told its peak.
run_large() {
    local job=(configs/gpt2-small.ini "${common[@]}" --train.batch_sequences=4 "$@" --parallel.shard=parameters
        --parallel.data_ranks=4 --train.warmup_steps=0 --train.steps=3)
    awk 'BEGIN { for (x = 7; n++ < 32768;) { x = (x * 1103515245 + 12345) % 2147483648; print int(x / 65536) } }' |
        "$program" prepare --ids --vocab_size=50304 --output="$work/data" --validation_fraction=0 >"$work/prepare.log"
    "$program" plan "${job[@]}" --ranks=4 "$one_thread" --json >"$work/plan.json"
    launch 4 1 /usr/bin/python3 -c '
import os, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
rank = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ["PMI_RANK"]
with open(f"{sys.argv[1]}/peak-{rank}", "w") as file:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, file=file)
sys.exit(code)' "$work" "$program" train "${job[@]}" --data.train="$work/data/train.h5" --data.validation= \
        --output.folder="$work/run" --output.log_every=1 --output.keep=1 >&2
    /usr/bin/python3 - "$work" <<'END'
import csv, json, sys
said = json.load(open(f"{sys.argv[1]}/plan.json"))
steps = list(csv.DictReader(open(f"{sys.argv[1]}/run/metrics.csv")))
planned = said["memory_per_rank"]["total"]
print("parameters,ranks,shard,steps,first_loss,last_loss,seconds_per_step,rank,peak_bytes,planned_bytes,peak_to_planned")
for rank in range(4):
    peak = int(open(f"{sys.argv[1]}/peak-{rank}").read())
    print(said["parameters"]["trained"], 4, "parameters", len(steps), steps[0]["loss"], steps[-1]["loss"],
          f"{sum(float(step['seconds']) for step in steps) / len(steps):.1f}", rank, peak, f"{planned:.0f}",
          f"{peak / planned:.3f}", sep=",")
END
}

# keep FILE COMMAND...: its output as the file, once all of it is there.
keep() {
    "${@:2}" >"$work/table"
    mv "$work/table" "$folder/$1"
    cat "$folder/$1"
}

plan_shape small
plan_shape large "${large[@]}"
keep shards.csv table
if [ "${1:-}" = --large ]; then
    shift
    [ $# -gt 0 ] || set -- "${large[@]}"
    keep shards_run.csv run_large "$@"
fi
