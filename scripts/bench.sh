#!/bin/bash
# What `make bench` runs: the speed of GPT-2 small (12 layers, width 768, 12 heads, vocabulary 50,304, f32, one sequence per
# step) on the cores of this machine, as a table with a bar beside each figure, CSV files and a picture, in results/bench/.
#
#     scripts/bench.sh [PART...]        default: all parts but memory; about an hour on two cores
#
#     blocks   attention of polysketch with blocks of 128 to 1,024 tokens at several contexts: layers, long and peer use the
#              fastest of each context, the other parts blocks of 256; with a single block it is exact polynomial attention
#     layers   two layers at 512 to 32,768 tokens, softmax and polysketch; the output layer apart; 12 layers whole at 2,048
#     attention  attention alone at 8,192 tokens
#     long     one layer at 2,048 and 131,072 tokens
#     grid     1 rank x 1 thread, 1 x 2, 2 x 1; time in communication
#     scan     the implementations of the sum over ranks, in whole steps of two ranks
#     decode   generated tokens at positions 1,024 and 102,400
#     peer     PyTorch, if it is installed
#     memory   GPT-2 small at 131,072 tokens, 6 layers of width 384 at 1,048,576: one step each, half an hour
#     report   the table and the picture, from whatever parts have been run
#
# A step of 12 layers at 32,768 tokens takes many minutes: it is added up from its parts, which scripts/bench_report.py does.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

program=build/release/polysketch
folder=results/bench
cores=$(usable_cores)
shape=(--model.width=768 --model.heads=12 --train.batch_sequences=1 --attention.sketch_size=32)
gpt2=50304
mkdir -p "$folder"

# fresh FILE...: parts append to their files, which begin anew.
fresh() {
    local file
    for file in "$@"; do rm -f "$folder/$file"; done
}

# measure RANKS THREADS FILE ARGUMENTS...: `polysketch bench`, rows into the file.
measure() {
    local ranks=$1 threads=$2 file=$3
    shift 3
    launch "$ranks" "$threads" "$program" bench "$@" --csv="$folder/$file" "${shape[@]}"
}

# block VARIANT CONTEXT: the block length with the shortest time relative to sgemm in blocks.csv, at the nearest context
# measured that is not longer, or at the shortest; 256 without that file. Never longer than the context.
block() {
    [ -r "$folder/blocks.csv" ] || {
        echo 256
        return
    }
    # microseconds x GF/s / fraction of peak: time per token, freed from the machine's drift
    awk -F, -v sketch="$1" -v context="$2" '
        $1 == "polysketch" && $2 == sketch {
            time = $10 * $11 / $13
            if (!($6 in least) || time < least[$6]) { least[$6] = time; best[$6] = $5 }
            if (!shortest || $6 + 0 < shortest) shortest = $6 + 0
            if ($6 + 0 <= context && $6 + 0 > nearest) nearest = $6 + 0
        }
        END {
            b = nearest ? best[nearest] : shortest ? best[shortest] : 256
            print b < context ? b : context
        }' "$folder/blocks.csv"
}

part_blocks() {
    fresh blocks.csv
    local context b
    for context in 1024 2048 4096 16384; do
        for b in 128 256 512 1024; do
            measure 1 "$cores" blocks.csv attention --variants=random,learned --contexts="$context" --repeats=5 \
                --model.layers=1 --attention.block_length="$b"
        done
    done
}

# Rounds, so that the kinds to be compared run within a minute or two of each other.
part_layers() {
    fresh layers.csv output.csv whole.csv profile.csv
    local round variant vocabulary context repeats
    for round in 1 2 3; do
        echo "round $round"
        for context in 512 1024 2048 4096 8192 16384 32768; do
            [ "$context" -lt 32768 ] || [ "$round" -lt 3 ] || continue # minutes each: two rounds
            repeats=(--repeats=2)
            [ "$context" -lt 16384 ] || repeats=(--repeats=1 --warmups=0 --profile="$folder/profile.csv")
            for variant in random learned softmax; do
                measure 1 "$cores" layers.csv step --variants=$variant --contexts="$context" "${repeats[@]}" \
                    --model.layers=2 --model.vocab_size=256 --attention.block_length="$(block $variant "$context")"
            done
        done
        for vocabulary in $gpt2 256; do
            measure 1 "$cores" output.csv step --variants=random --contexts=2048,8192 --repeats=1 --model.layers=1 \
                --model.vocab_size="$vocabulary" --profile="$folder/profile.csv"
        done
    done
    for variant in random learned; do
        measure 1 "$cores" whole.csv step --variants=$variant --contexts=2048 --repeats=2 --model.layers=12 \
            --model.vocab_size=$gpt2 --attention.block_length="$(block $variant 2048)"
    done
}

part_attention() {
    fresh attention.csv
    measure 1 "$cores" attention.csv attention --variants=softmax,random,learned --contexts=8192 --repeats=7 --model.layers=1
}

part_long() {
    fresh long.csv
    local round variant
    for round in 1 2; do
        echo "round $round"
        for variant in random learned; do
            measure 1 "$cores" long.csv step --variants=$variant --contexts=2048 --repeats=9 --model.layers=1 \
                --model.vocab_size=256 --attention.block_length="$(block $variant 131072)"
            measure 1 "$cores" long.csv step --variants=$variant --contexts=131072 --repeats=1 --warmups=0 --model.layers=1 \
                --model.vocab_size=256 --attention.block_length="$(block $variant 131072)"
        done
    done
}

part_grid() {
    fresh grid.csv communication.csv
    local round
    for round in 1 2 3; do
        echo "round $round"
        measure 1 1 grid.csv step --variants=learned --contexts=4096 --repeats=1 --model.layers=4 --model.vocab_size=$gpt2
        measure 1 2 grid.csv step --variants=learned --contexts=4096 --repeats=1 --model.layers=4 --model.vocab_size=$gpt2
        measure 2 1 grid.csv step --variants=learned --contexts=4096 --repeats=1 --model.layers=4 --model.vocab_size=$gpt2
    done
    measure 2 1 communication.csv step --variants=random,learned --contexts=32768 --repeats=1 --warmups=0 \
        --model.layers=2 --model.vocab_size=$gpt2
}

part_scan() {
    fresh scan.csv
    local round scan
    for round in 1 2; do
        echo "round $round"
        for scan in exscan iexscan chain; do
            measure 2 1 scan.csv step --variants=random --contexts=8192 --repeats=2 --model.layers=2 --model.vocab_size=256 \
                --parallel.scan=$scan
        done
    done
}

part_decode() {
    fresh decode.csv
    measure 1 "$cores" decode.csv decode --variants=random,learned,random,learned --contexts=1024,102400 --repeats=9 \
        --model.layers=12 --model.vocab_size=$gpt2
}

part_peer() {
    fresh peer.csv
    scripts/bench_peer_torch.py "$folder/peer.csv" --blocks \
        random:1024:"$(block random 1024)" random:32768:"$(block random 32768)" \
        learned:1024:"$(block learned 1024)" learned:32768:"$(block learned 32768)"
}

part_memory() {
    fresh memory.csv
    measure 1 "$cores" memory.csv step --variants=learned --contexts=131072 --repeats=1 --warmups=0 --model.layers=12 \
        --model.vocab_size=$gpt2 --train.stretch_length=8192
    local shape=(--model.width=384 --model.heads=6 --train.batch_sequences=1 --attention.sketch_size=32)
    measure 1 "$cores" memory.csv step --variants=learned --contexts=1048576 --repeats=1 --warmups=0 --model.layers=6 \
        --model.vocab_size=256 --train.stretch_length=16384
}

part_report() { scripts/bench_report.py "$folder"; }

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(blocks layers attention long grid scan decode peer report)
for part in "${parts[@]}"; do
    declare -F "part_$part" >/dev/null || {
        echo "bench.sh: there is no part '$part'. Parts: blocks layers attention long grid scan decode peer memory report" >&2
        exit 1
    }
    echo "== $part"
    "part_$part"
done
