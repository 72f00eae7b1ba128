#!/bin/bash
# Is this version as fast as another? Both take turns at `polysketch bench`; each run is compared with sgemm beside it, and
# medians over the rounds are written to TABLE=results/house/speed.csv with their ratio. A shared machine scatters by several
# percent: ROUNDS=5. THREADS=2.
#
#     scripts/compare_speed.sh OTHER_PROGRAM
set -euo pipefail
export LC_ALL=C
other=$(realpath "$1")
cd "$(dirname "$0")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

rounds=${ROUNDS:-5}
program=$PWD/build/release/polysketch
table=${TABLE:-results/house/speed.csv}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
shape=(--model.width=768 --model.heads=12 --attention.sketch_size=32 --attention.block_length=256 --train.batch_sequences=1)

# measure WHICH PROGRAM: one round.
measure() {
    local which=$1 bench=("$2" bench)
    "${bench[@]}" attention --variants=random,learned,softmax --contexts=8192 --repeats=1 "${shape[@]}" --csv="$work/$which.csv"
    "${bench[@]}" step --variants=random,learned,softmax --contexts=2048 --repeats=1 "${shape[@]}" --model.layers=2 \
        --model.vocab_size=50304 --csv="$work/$which.csv"
    "${bench[@]}" decode --variants=random,learned --contexts=1024 --repeats=3 "${shape[@]}" --model.layers=2 \
        --csv="$work/$which.csv"
}

export OMP_NUM_THREADS=${THREADS:-2}
for ((round = 0; round < rounds; round++)); do # who comes first changes
    ((round % 2)) || measure this "$program"
    measure other "$other"
    ((round % 2 == 0)) || measure this "$program"
done >/dev/null

mkdir -p "$(dirname "$table")"
python3 - "$work" "$table" <<'END'
import csv, statistics, sys

work, table = sys.argv[1:]
values = {}
for which in ("this", "other"):
    for row in csv.DictReader(open(f"{work}/{which}.csv")):
        key = (row["what"], row["kind"], row["sketch"], row["context"], row["threads"])
        values.setdefault(key, {}).setdefault(which, []).append((float(row["fraction_of_peak"]), row["source_version"]))
with open(table, "w") as file:
    print("what,kind,sketch,context,threads,rounds,share_of_sgemm,share_of_sgemm_before,ratio,version,version_before", file=file)
    for key, both in values.items():
        now, before = (statistics.median(value for value, _ in both[which]) for which in ("this", "other"))
        print(*key, len(both["this"]), f"{now:.4f}", f"{before:.4f}", f"{now / before:.3f}", both["this"][0][1],
              both["other"][0][1], sep=",", file=file)
END
cat "$table"
