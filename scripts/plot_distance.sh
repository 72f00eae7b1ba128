#!/bin/bash
# Draws how far the heads of a model look back: the mean distance of each head beside that of equal weights, and which share of
# its weights is at what distance. A point and a line for each head, in the colour of its layer.
#
#     scripts/plot_distance.sh RUN_FOLDER [OUTPUT.png|OUTPUT.svg]      default: distance.png and distance.svg in RUN_FOLDER
#
# It reads RUN_FOLDER/attention_distance.csv, as written by
#
#     polysketch eval --checkpoint=RUN_FOLDER/checkpoints/step-... --data=... \
#         --attention_distance=RUN_FOLDER/attention_distance.csv
#
# Needs gnuplot.
set -euo pipefail
# shellcheck source=scripts/plot_common.bash
. "$(dirname "$0")/plot_common.bash"
[ $# -lt 1 ] || [ ! -d "$1" ] || [ -r "${1%/}/attention_distance.csv" ] ||
    fail "'$1' has no attention_distance.csv; it comes from: polysketch eval --attention_distance=${1%/}/attention_distance.csv"
open_run attention_distance.csv distance "$@"
table=$run/attention_distance.csv

# Lines `layer head mean uniform`.
columns "$table" layer head mean_distance uniform_distance >"$work/means"
[ -s "$work/means" ] || fail "'$table' has no rows"
read -r layers heads < <(awk '
    { if ($1 >= layers) layers = $1 + 1; if ($2 >= heads) heads = $2 + 1 }
    END { print layers, heads }' "$work/means")

uniform=$(awk 'NR == 1 { print $4 }' "$work/means") # the same for all

# Blocks of lines `place share layer`, one for each head, and the names of the places.
read -ra buckets < <(sed -n '1s/,/ /gp' "$table" | grep -o 'from_[0-9 from_]*')
columns "$table" layer "${buckets[@]}" |
    awk '{ if (NR > 1) print "\n"; for (i = 2; i <= NF; i++) print i - 2, 100 * $i, $1 }' >"$work/shares"
curves=$(awk 'NF && !before { count++ } { before = NF } END { print count }' "$work/shares")
places=
for i in "${!buckets[@]}"; do
    first=${buckets[i]#from_}
    [ "$first" -lt 1024 ] || first=$((first / 1024))k
    places+="${places:+, }'$first' $i"
done

draw 1600,560 <<END
set output picture
set multiplot layout 1,2 title 'How far the heads of $title look back' noenhanced font ',15'
set grid xtics ytics linecolor rgb '#dddddd' linetype 1
set palette defined (0 '#08306b', 0.33 '#2b8cbe', 0.66 '#f16913', 1 '#a50f15') maxcolors $layers
set cbrange [-0.5:$layers - 0.5]
unset colorbox
set xlabel 'layer'
set xrange [-0.6:$layers - 0.4]
set xtics $(((layers + 23) / 24))
set ylabel 'mean distance (tokens)'
set logscale y
set key top right
plot '$work/means' using (\$1 + ($heads > 1 ? 0.6 * (\$2 / ($heads - 1.0) - 0.5) : 0)):3:1 \\
        with points pointtype 7 pointsize 1 linecolor palette title 'heads', \\
    $uniform with lines dashtype 2 linewidth 1.4 linecolor rgb '#666666' title 'equal weights'
set colorbox
set cbtics $(((layers + 11) / 12)) scale 0
set cblabel 'layer'
unset logscale y
unset key
set xlabel 'tokens back, from each number to the next'
set xrange [-0.3:${#buckets[@]} - 0.7]
set xtics ($places)
set ylabel 'share of the weights (%)'
set yrange [0:*]
plot for [i = 0:$((curves - 1))] '$work/shares' index i using 1:2:3 with linespoints linewidth 1.4 pointtype 7 \\
    pointsize 0.6 linecolor palette
END
