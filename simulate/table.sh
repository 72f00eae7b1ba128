#!/bin/bash
# Makes results/reach/simulated.csv: GPT-2 small, 2,048 tokens a rank, on 64 to 1,024 ranks of two networks
# (results/reach/README.md). Rows that are there already stay, so that a table which was interrupted goes on.
#
# RANKS="64 256 1024", NETWORKS="fattree100 ethernet10", LAYERS=2 of the 12, and FASTER=16 choose what is simulated. Ranks
# compute as results/reach/profile.csv has measured, FASTER times faster by assumption.
set -euo pipefail
cd "$(dirname "$0")/.."

table=results/reach/simulated.csv
faster=${FASTER:-16}
layers=${LAYERS:-2}
model=(--model.layers="$layers" --model.width=768 --model.heads=12 --model.vocab_size=50304 --attention.kind=polysketch
    --attention.sketch=random --attention.sketch_size=32 --attention.block_length=1)

[ -e "$table" ] || simulate/run.sh header >"$table"

# simulate NETWORK RANKS SCAN SUMS WAY: appends a row.
simulate() {
    local row
    ! grep -q "^$1,$2,$layers,$3,$4,$5,$faster," "$table" || return 0
    row=$(simulate/run.sh "$1" "$2" "${model[@]}" --parallel.scan="$3" --parallel.gradient_sums="$4" --under_way="$5" \
        --faster="$faster" --join_nanoseconds=0.5 --profile=results/reach/profile.csv)
    echo "$row" | tee -a "$table"
}

for network in ${NETWORKS:-fattree100 ethernet10}; do
    for ranks in ${RANKS:-64 256 1024}; do
        simulate "$network" "$ranks" chain overlapped halving
        simulate "$network" "$ranks" chain overlapped tree
        simulate "$network" "$ranks" chain last halving
        simulate "$network" "$ranks" iexscan overlapped halving
        simulate "$network" "$ranks" exscan overlapped halving
    done
done
