#!/bin/bash
# Compares runs: a table of their losses, times and rates, and a picture of their losses one over the other.
#
#     scripts/compare_runs.sh RUN_FOLDER... [--output=NAME]      the picture: NAME.png and NAME.svg, default build/compare_runs
#
# It reads metrics.csv and evaluations.csv of each run. Columns of the table: steps that were made; training loss, the mean over
# the last 1 % of them; the last and the best loss on the validation data, with its step; hours of steps and evaluations; tokens a
# second of the steps. Without gnuplot there is the table alone.
set -euo pipefail
# shellcheck source=scripts/plot_common.bash
. "$(dirname "$0")/plot_common.bash"

runs=()
name=build/compare_runs
for argument in "$@"; do
    case $argument in
        --output=?*) name=${argument#--output=} ;;
        -*) fail "unknown option '$argument'. Usage: scripts/$script RUN_FOLDER... [--output=NAME]" ;;
        *) runs+=("${argument%/}") ;;
    esac
done
[ ${#runs[@]} -gt 0 ] || fail "which runs? Usage: scripts/$script RUN_FOLDER... [--output=NAME]"
for run in "${runs[@]}"; do
    [ -r "$run/metrics.csv" ] || fail "there is no '$run/metrics.csv'; is '$run' the folder of a run?"
done

# evaluations RUN COLUMN...: of its evaluations, where there are some.
evaluations() {
    [ ! -r "$1/evaluations.csv" ] || columns "$1/evaluations.csv" "${@:2}"
}

# row RUN: its line of the table.
row() {
    local training validation evaluating
    training=$(columns "$1/metrics.csv" step loss | moving_average | awk 'END { if (NR) printf "%.4f", $3 }')
    validation=$(evaluations "$1" step loss | awk '
        { last = $2; if (NR == 1 || $2 < best) { best = $2; at = $1 } }
        END { if (NR) printf "%.4f %.4f %d", last, best, at }')
    evaluating=$(evaluations "$1" seconds | awk '{ sum += $1 } END { print sum + 0 }')
    columns "$1/metrics.csv" step seconds tokens_seen | awk -v name="$1" -v training="${training:--}" \
        -v validation="${validation:-- - -}" -v evaluating="$evaluating" '
        NR == 1 { before = $1 > 1 ? $3 : 0 }
        { steps = $1; seconds += $2; tokens = $3 }
        END {
            split(validation, of, " ")
            rate = seconds > 0 ? sprintf("%.0f", (tokens - before) / seconds) : "-"
            printf "%-40s %8d %9s %9s %9s %8s %9.3f %10s\n", name, steps, training, of[1], of[2], of[3], \
                (seconds + evaluating) / 3600, rate
        }'
}

printf '%-40s %8s %9s %9s %9s %8s %9s %10s\n' run steps training last best at hours tokens/s
for run in "${runs[@]}"; do row "$run"; done
command -v gnuplot >/dev/null || {
    echo "$script: no picture: gnuplot is not installed. Try: make install-packages" >&2
    exit 0
}

check_gnuplot
mkdir -p "$(dirname "$name")"
# What draw() writes.
# shellcheck disable=SC2034
outputs=("$name.png" "$name.svg")
curves=()
for i in "${!runs[@]}"; do
    columns "${runs[i]}/metrics.csv" step loss | moving_average >"$work/training-$i"
    evaluations "${runs[i]}" step loss >"$work/validation-$i"
    style="linecolor $((i + 1))"
    curves+=("'$work/training-$i' using 1:3 with lines linewidth 1.5 $style title '${runs[i]}'")
    if [ -s "$work/validation-$i" ]; then
        curves+=("'$work/validation-$i' using 1:2 with linespoints linewidth 2 dashtype 2 pointtype 7 $style notitle")
    fi
done
list=$(printf ', %s' "${curves[@]}")
draw 1000,600 <<END
set title 'Training loss (lines, moving average) and validation loss (points)' noenhanced font ',15'
set xlabel 'step'
set ylabel 'cross entropy (nats per token)'
set xrange [0:*]
set grid xtics ytics linecolor rgb '#dddddd' linetype 1
set key top right box linecolor rgb '#bbbbbb' spacing 1.2 opaque noenhanced
set output picture
plot ${list:2}
END
echo "$name.png, $name.svg"
