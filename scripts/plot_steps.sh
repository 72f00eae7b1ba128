#!/bin/bash
# Draws what the steps of a run were like: tokens per second, the norm of the gradient and the learning rate against the step.
#
#     scripts/plot_steps.sh RUN_FOLDER [OUTPUT.png|OUTPUT.svg]      default: steps.png and steps.svg in RUN_FOLDER
#
# It reads RUN_FOLDER/metrics.csv (columns step, tokens_per_second, gradient_norm, learning_rate). Needs gnuplot.
set -euo pipefail
# shellcheck source=scripts/plot_common.bash
. "$(dirname "$0")/plot_common.bash"
open_run metrics.csv steps "$@"

for name in tokens_per_second gradient_norm; do
    columns "$run/metrics.csv" step $name | moving_average >"$work/$name"
    [ -s "$work/$name" ] || fail "'$run/metrics.csv' has no rows yet"
done
columns "$run/metrics.csv" step learning_rate >"$work/learning_rate"

# panel FILE YLABEL: every step, and the moving average.
panel() {
    echo "set ylabel '$2'"
    echo "plot '$work/$1' using 1:2 with lines linewidth 1 linecolor rgb '#9ecae1' notitle," \
        "'$work/$1' using 1:3 with lines linewidth 2.5 linecolor rgb '#08519c' notitle"
}

draw 1000,1000 <<END
set output picture
set multiplot layout 3,1 title 'Steps of the run $title' noenhanced font ',15'
set lmargin 12
set xrange [0:*]
set grid xtics ytics linecolor rgb '#dddddd' linetype 1
set yrange [0:*]
$(panel tokens_per_second 'tokens per second')
set yrange [*:*]
set logscale y
$(panel gradient_norm 'norm of the gradient')
unset logscale y
set yrange [0:*]
set xlabel 'step'
set ylabel 'learning rate'
set format y '%.1e'
plot '$work/learning_rate' using 1:2 with lines linewidth 2.5 linecolor rgb '#08519c' notitle
END
