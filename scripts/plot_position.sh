#!/bin/bash
# Draws the loss against the position in the context: what longer contexts are good for.
#
#     scripts/plot_position.sh RUN_FOLDER [OUTPUT.png|OUTPUT.svg]      default: position.png and position.svg in RUN_FOLDER
#
# It reads the files of losses per token in RUN_FOLDER, losses.h5 or losses-NAME.h5, a curve for each, as written by
#
#     polysketch eval --checkpoint=RUN_FOLDER/checkpoints/step-... --data=... --per_token_loss=RUN_FOLDER/losses.h5
#
# Needs gnuplot, and Python with h5py.
set -euo pipefail
# shellcheck source=scripts/plot_common.bash
. "$(dirname "$0")/plot_common.bash"
open_run metrics.csv position "$@"

files=()
for file in "$run"/losses.h5 "$run"/losses-*.h5; do
    [ ! -r "$file" ] || files+=("$file")
done
[ ${#files[@]} -gt 0 ] || fail "'$run' has no losses.h5; it comes from: polysketch eval --per_token_loss=$run/losses.h5"

# Means over all windows, in buckets of positions that grow by a factor of 2^(1/4).
/usr/bin/python3 - "$work" "${files[@]}" <<'END' || fail "the losses cannot be read; is python3-h5py installed?"
import sys
import h5py
import numpy as np

folder, *files = sys.argv[1:]
for number, name in enumerate(files):
    with h5py.File(name) as file:
        losses = file["per_token_loss"]
        scored, sums = np.zeros(losses.shape[1]), np.zeros(losses.shape[1])
        for row in losses:
            sums += np.nan_to_num(row)
            scored += ~np.isnan(row)
    edges = np.unique(np.round(2 ** np.arange(0, np.log2(len(sums) + 1) + 0.25, 0.25)).astype(int) - 1)
    with open(f"{folder}/positions-{number}", "w", encoding="utf-8") as out:
        for start, end in zip(edges, edges[1:]):
            if scored[start:end].sum() > 0:
                middle = (start + min(end, len(sums)) + 1) / 2
                print(middle, sums[start:end].sum() / scored[start:end].sum(), file=out)
END

curves=()
for i in "${!files[@]}"; do
    curves+=("'$work/positions-$i' using 1:2 with linespoints linewidth 2 pointtype 7 pointsize 0.7")
    curves[i]+=" title '$(basename "${files[i]}" .h5)'"
done
list=$(printf ', %s' "${curves[@]}")
draw 1000,600 <<END
set title 'Loss of the run $title by the position of the token' noenhanced font ',15'
set xlabel 'position in the context'
set ylabel 'cross entropy (nats per token)'
set logscale x 2
set grid xtics ytics linecolor rgb '#dddddd' linetype 1
set key top right box linecolor rgb '#bbbbbb' spacing 1.2 opaque noenhanced
set output picture
plot ${list:2}
END
