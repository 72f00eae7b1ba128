#!/bin/bash
# test: 1 -> 3 -> 2 -> 4 ranks, continuing each time
# seconds: 4
set -euo pipefail
# shellcheck source=scripts/faults/common.bash
. "$(dirname "$0")/common.bash"

train 1 one "${options[@]}" --train.steps=80
step=0
for ranks in 1 3 2 4; do
    step=$((step + 20))
    train $ranks many "${options[@]}" --train.steps=$step
done
column loss "$TEST_FOLDER/one/metrics.csv" >"$TEST_FOLDER/one.losses"
column loss "$TEST_FOLDER/many/metrics.csv" >"$TEST_FOLDER/many.losses"
worst=$(paste "$TEST_FOLDER/one.losses" "$TEST_FOLDER/many.losses" | awk '
    { difference = ($1 - $2) / $1; if (difference < 0) difference = -difference; if (difference > worst) worst = difference }
    END { printf "%.1e", worst; exit NR != 80 }') || give_up "not 80 steps"
awk -v worst="$worst" 'BEGIN { exit !(worst <= 1e-4) }' || give_up "losses differ by $worst"
echo "losses of 80 steps within $worst of those of one rank"
