#!/bin/bash
# test: kill -9 of the job or of one rank at random moments, each continued (2 ranks, dropout on, states whole or in shares)
# seconds: 240
# KILLS=100 in all, FAULT_SEED=1.
set -euo pipefail
# shellcheck source=scripts/faults/killing.bash
. "$(dirname "$0")/killing.bash"

shards=(none optimizer) # the stages whose bits are the same however gradients are clipped
undisturbed_run
kill_runs "${KILLS:-100}"
echo "$kill_figure, metrics without a gap or a double; mpirun had to be ended $launchers_stuck times"
