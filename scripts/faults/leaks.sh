#!/bin/bash
# test: unit and MPI tests under ASan, UBSan and the leak checker
# seconds: 164
set -euo pipefail

status=0
for kind in unit mpi; do VARIANTS=asan scripts/run_tests.sh $kind | tee "$TEST_FOLDER/$kind" || status=1; done
tail -q -n 1 "$TEST_FOLDER"/{unit,mpi} |
    awk '{ passed += $1; failed += $3 } END { print passed " runs without a finding, " failed " with" }'
exit "$status"
