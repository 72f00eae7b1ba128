#!/bin/bash
# The short form of `make check-faults`: each row about runs, with few cases. scripts/check_faults.sh has the table.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

export KILLS=1 STAGE_KILLS=2 KILL_STEPS=100 STOPS=1 DAMAGES=60 FAILING_EVERY=80 DISK_SIZES=3 PAIRS=2

# row NAME: what it prints is shown when it fails.
row() {
    local folder=$TEST_FOLDER/$1
    mkdir "$folder"
    TEST_FOLDER=$folder quiet bash "scripts/faults/$1.sh"
    rm -rf "$folder"
}

for name in shard_parameters kills stops grids two_jobs damage failing_calls numbers; do start row $name; done
# A small disk has to be mounted, which not everybody may.
if unshare --mount true 2>/dev/null; then start row full_disk; fi
finish
