#!/bin/bash
# Draws the training loss (every step, and a moving average) and the validation loss of a run against the step.
#
#     scripts/plot_loss.sh RUN_FOLDER [OUTPUT.png|OUTPUT.svg]      default: loss.png and loss.svg in RUN_FOLDER
#
# It reads RUN_FOLDER/metrics.csv (columns step, loss) and, if there, RUN_FOLDER/evaluations.csv (columns step, loss and perhaps
# bits_per_byte). Columns are found by their names in the first line. Needs gnuplot.
set -euo pipefail
# shellcheck source=scripts/plot_common.bash
. "$(dirname "$0")/plot_common.bash"
open_run metrics.csv loss "$@"

columns "$run/metrics.csv" step loss | moving_average >"$work/training"
[ -s "$work/training" ] || fail "'$run/metrics.csv' has no rows yet"

# Bits per byte for one unit of loss: 1 / ln 2 where a token is a byte; for other tokens the run's own evaluations tell.
bits=1.4426950408889634
: >"$work/validation"
if [ -r "$run/evaluations.csv" ]; then
    columns "$run/evaluations.csv" step loss >"$work/validation"
    if head -n 1 "$run/evaluations.csv" | grep -q bits_per_byte; then
        measured=$(columns "$run/evaluations.csv" loss bits_per_byte |
            awk '$1 > 0 { ratio = $2 / $1 } END { if (ratio > 0) print ratio }')
        bits=${measured:-$bits}
    fi
fi

curves="'$work/training' using 1:2 with lines linewidth 1 linecolor rgb '#9ecae1' title 'training loss, every step'"
curves+=", '$work/training' using 1:3 with lines linewidth 2.5 linecolor rgb '#08519c' title 'training loss, moving average'"
if [ -s "$work/validation" ]; then
    curves+=", '$work/validation' using 1:2 with linespoints linewidth 2 pointtype 7 pointsize 0.9 linecolor rgb '#d94801'"
    curves+=" title 'validation loss'"
fi

# Drawn twice: the first time to learn the range of the left axis, from which that of the right axis follows.
draw 1000,600 <<END
set title 'Loss of the run $title' noenhanced font ',15'
set xlabel 'step'
set ylabel 'cross entropy (nats per token)'
set format y '%.1f'
set xrange [0:*]
set offsets 0, 0, graph 0.03, graph 0.03
set ytics nomirror
set grid xtics ytics linecolor rgb '#dddddd' linetype 1
set key top right box linecolor rgb '#bbbbbb' spacing 1.2 opaque
set output '/dev/null'
plot $curves
set y2label 'bits per byte'
set format y2 '%.1f'
set y2tics
set y2range [GPVAL_Y_MIN * $bits : GPVAL_Y_MAX * $bits]
set output picture
replot
END
