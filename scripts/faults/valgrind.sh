#!/bin/bash
# test: unit tests under valgrind (memcheck)
# Built for x86-64-v3: valgrind does not know AVX-512. What MPI, HDF5 and OpenBLAS do is named in tests/valgrind.supp.
set -euo pipefail
export OMP_NUM_THREADS=2

# check TEST: under memcheck; its findings are in the log of the same name.
check() {
    valgrind --quiet --error-exitcode=9 --num-callers=60 --leak-check=full --errors-for-leak-kinds=definite \
        --show-leak-kinds=definite --suppressions=tests/valgrind.supp --gen-suppressions=all \
        "build/valgrind/tests/$1" >"$TEST_FOLDER/$1" 2>&1
}

passed=0
failed=0
for source in tests/unit/test_*.c; do
    name=$(basename "${source%.c}")
    if check "$name"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        cat "$TEST_FOLDER/$name"
    fi
done
echo "$passed test programs without a finding, $failed with"
[ "$failed" -eq 0 ]
