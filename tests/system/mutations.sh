#!/bin/bash
# Damaged checkpoints and token files are refused, or read as if nothing had happened: the short form of a row of
# `make check-faults`, which takes thousands. time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

for kind in checkpoint tokens; do
    TMPDIR=$TEST_FOLDER start build/asan/tests/mutate_files "$kind" 200
done
finish
