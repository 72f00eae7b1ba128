#!/bin/bash
# Draws results/reach: what a simulated step takes beyond computing, by ranks, and what a rank of GPT-2 large keeps.
#
#     scripts/plot_reach.sh [OUTPUT.png|OUTPUT.svg]      default: results/reach/reach.png
#
# Needs gnuplot.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/plot_common.bash
. scripts/plot_common.bash
[ $# -le 1 ] || fail "usage: scripts/$script [OUTPUT.png|OUTPUT.svg]"
outputs=("${1:-results/reach/reach.png}")
check_gnuplot

# step_share LAYERS SCAN SUMS WAY: ranks, and the percentage of a step on 100 Gb/s that is not computing.
step_share() {
    awk -F, -v wanted="$*" '
        NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
        $1 == "fattree100" && $3 " " $4 " " $5 " " $6 == wanted {
            print $2, 100 * (1 - $column["compute_seconds"] / $column["step_seconds"])
        }' results/reach/simulated.csv | sort -n >"$work/$1-$2-$4"
}
step_share 2 chain overlapped halving
step_share 2 iexscan overlapped halving
step_share 2 chain overlapped tree
step_share 12 chain overlapped halving

# Bytes of a rank; of what a node has, plan keeps a tenth and 256 MiB a rank for what programs have beside (the last curve below).
for shard in none optimizer gradients parameters; do
    awk -F, -v shard=$shard '$1 == "large" && $3 == shard { print $4, $8 / 1e9 }' results/reach/shards.csv >"$work/$shard"
done

draw 1300,520 <<END
set output picture
set multiplot layout 1,2
set grid linecolor rgb '#dddddd' linetype 1
set key top left reverse Left box linecolor rgb '#bbbbbb' spacing 1.2 opaque
set logscale x 2
set style data linespoints
set for [n = 1:4] linetype n linecolor rgb word('#969696 #d94801 #238b45 #08519c', n) linewidth 2 pointtype 7
set title 'GPT-2 small, 2,048 tokens a rank, 100 Gb/s: simulated'
set xlabel 'ranks, each 16 times faster than measured'
set ylabel 'beyond computing (% of a step)'
set yrange [0:55]
set xtics (64, 128, 256, 512, 1024)
set xrange [55:1200]
set label 1 'the bar at 1,024 ranks' at 330, 12
plot '$work/2-chain-tree' linetype 1 title '2 layers, chain, gradients by a tree', \\
     '$work/2-iexscan-halving' linetype 2 title '2 layers, MPI\\_Iexscan', \\
     '$work/2-chain-halving' linetype 3 title '2 layers, chain', \\
     '$work/12-chain-halving' linetype 4 title '12 layers, chain', \\
     10 with lines dashtype 2 linecolor 'black' notitle
unset label 1
set title 'GPT-2 large (774.6 million), memory of a rank, by plan'
set xlabel 'ranks'
set ylabel 'GB'
set yrange [0:22]
set xrange [0.9:9]
set xtics (1, 2, 4, 8)
set key top right
plot '$work/none' linetype 1 title 'parallel.shard = none', \\
     '$work/optimizer' linetype 2 title 'optimizer', \\
     '$work/gradients' linetype 3 title 'gradients', \\
     '$work/parameters' linetype 4 title 'parameters', \\
     (25.77 / x - 0.268) / 1.1 with lines dashtype 2 linecolor 'black' title 'fits into 24 GiB, as plan counts'
unset multiplot
END
echo "picture: ${outputs[0]}"
