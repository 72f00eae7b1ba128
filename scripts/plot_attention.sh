#!/bin/bash
# Draws what the heads of a run attend with at each evaluation: the share of sketched weight, and where there are gates how many
# tokens a head looks back. A line for each head, in the colour of its layer.
#
#     scripts/plot_attention.sh RUN_FOLDER [OUTPUT.png|OUTPUT.svg]      default: attention.png and attention.svg in RUN_FOLDER
#
# It reads RUN_FOLDER/attention.csv (columns step, layer, head, sketched_share, gate_length). Needs gnuplot.
set -euo pipefail
# shellcheck source=scripts/plot_common.bash
. "$(dirname "$0")/plot_common.bash"
open_run attention.csv attention "$@"

# heads COLUMN: blocks of lines `step layer value`, one for each head, two empty lines apart.
heads() {
    columns "$run/attention.csv" step layer head "$1" | sort -k 2,2n -k 3,3n -k 1,1n |
        awk '{ if (NR > 1 && ($2 != layer || $3 != head)) print "\n"; print $1, $2, $4; layer = $2; head = $3 }'
}

heads sketched_share >"$work/shares"
heads gate_length >"$work/gates"
[ -s "$work/shares" ] || fail "'$run/attention.csv' has no rows yet"
layers=$(awk 'NF && $2 >= layers { layers = $2 + 1 } END { print layers }' "$work/shares")
panels=1
[ ! -s "$work/gates" ] || panels=2

# curves FILE FACTOR: its heads, for gnuplot.
curves() {
    local count
    count=$(awk 'NF && !before { count++ } { before = NF } END { print count }' "$work/$1")
    echo "for [i = 0:$((count - 1))] '$work/$1' index i using 1:($2 * \$3):2 with linespoints linewidth 1.4 pointtype 7" \
        "pointsize 0.6 linecolor palette notitle"
}

{
    cat <<END
set output picture
set multiplot layout 1,$panels title 'What the heads of $title attend with' noenhanced font ',15'
set xlabel 'step'
set xrange [0:*]
set grid xtics ytics linecolor rgb '#dddddd' linetype 1
set palette defined (0 '#08306b', 0.33 '#2b8cbe', 0.66 '#f16913', 1 '#a50f15') maxcolors $layers
set cbrange [-0.5:$layers - 0.5]
set cbtics $(((layers + 11) / 12)) scale 0
set cblabel 'layer'
set ylabel 'sketched share of a row of weights (%)'
set yrange [0:100]
plot $(curves shares 100)
END
    if [ $panels = 2 ]; then
        cat <<END
set ylabel 'gate length (tokens)'
set yrange [*:*]
set logscale y
plot $(curves gates 1)
END
    fi
} | draw $((200 + 700 * panels)),560
