#!/bin/bash
# test: parallel.shard = parameters: kill -9 and damage, continued by this stage and by others (2 ranks)
# seconds: 60
set -euo pipefail
# shellcheck source=scripts/faults/stage.bash
. "$(dirname "$0")/stage.bash"

try_stage parameters
