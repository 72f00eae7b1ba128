#!/bin/bash
# AdamW and Muon on the model of configs/paper.ini and the corpus of `make run`: four peak rates each, the same steps and
# tokens, one seed. Writes the losses on the validation file to results/house/optimizers.csv and prints the best of each: its
# loss, and when it was as good as the other.
#
#     scripts/compare_optimizers.sh [--section.key=value ...]
#
# Runs are kept in build/optimizers/ and continued when they are there. Two at a time, one thread each; about 25 minutes.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

program=build/release/polysketch
corpus=build/corpus/kjv
data=build/data/kjv
folder=build/optimizers
table=results/house/optimizers.csv
rates_adamw=(0.002 0.004 0.008 0.016)
rates_muon=(0.005 0.01 0.02 0.04) # of the matrices; all else by AdamW with 0.004

scripts/make_corpus.sh "$corpus"
if [ ! -e "$data/train.h5" ] || [ ! -e "$data/validation.h5" ]; then
    "$program" prepare --input="$corpus" --output="$data" --overwrite
fi
mkdir -p "$folder" results/house

# train OPTIMIZER RATE OPTION...
train() {
    OMP_NUM_THREADS=1 "$program" train configs/paper.ini --output.folder="$folder/$1-$2" --evaluate.every=25 \
        --output.log_every=100 --train.optimizer="$1" "${@:3}" >"$folder/$1-$2.log" 2>&1
}

# one_slot: waits until fewer than two runs are under way.
one_slot() { while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done; }

for rate in "${rates_adamw[@]}"; do
    one_slot
    train adamw "$rate" --train.learning_rate="$rate" "$@" &
done
for rate in "${rates_muon[@]}"; do
    one_slot
    train muon "$rate" --train.muon_learning_rate="$rate" "$@" &
done
wait

version=$("$program" --version | awk 'NR == 1 { print $2 }')
echo 'optimizer,peak_rate,step,validation_loss,version' >"$table"
for run in "$folder"/{adamw,muon}-*/; do
    name=$(basename "$run")
    awk -F , -v optimizer="${name%%-*}" -v rate="${name#*-}" -v version="$version" \
        'NR > 1 { printf "%s,%s,%d,%.6f,%s\n", optimizer, rate, $1, $2, version }' "$run/evaluations.csv"
done >>"$table"
awk -F , '
    NR > 1 { loss[$1, $2, $3] = $4; if ($3 >= last[$1]) { last[$1] = $3; final[$1, $2] = $4 } }
    END {
        for (key in final) {
            split(key, part, SUBSEP)
            if (!(part[1] in best) || final[key] < final[part[1], best[part[1]]]) best[part[1]] = part[2]
        }
        bar = final["adamw", best["adamw"]]
        for (step = 1; step <= last["muon"] && !reached; step++)
            if (("muon" SUBSEP best["muon"] SUBSEP step) in loss && loss["muon", best["muon"], step] <= bar) reached = step
        printf "adamw: best peak rate %s, loss %.4f after %d steps\n", best["adamw"], bar, last["adamw"]
        printf "muon:  best peak rate %s, loss %.4f; AdamW'"'"'s loss after %s steps\n", best["muon"], \
            final["muon", best["muon"]], reached ? reached : "more"
    }' "$table"
