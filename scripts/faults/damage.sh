#!/bin/bash
# test: flipped bits, cuts, zeroed ranges, all through the newest checkpoint
# seconds: 10
# DAMAGES=1000 cases.
set -euo pipefail
# shellcheck source=scripts/faults/common.bash
. "$(dirname "$0")/common.bash"

train 2 run "${options[@]}" --train.steps=4 --output.checkpoint_every=2
build/release/tests/damage_newest "$TEST_FOLDER/run" "${DAMAGES:-1000}"
