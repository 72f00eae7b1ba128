#!/bin/bash
# test: unit tests under valgrind (memcheck)
# seconds: 400
# Built for x86-64-v3: valgrind does not know AVX-512. What MPI loses is named in tests/valgrind.supp.
set -euo pipefail
# valgrind runs one thread at a time: those that wait must not take its turn.
export OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive

# check TEST: under memcheck; its findings are in the log of the same name, its exit code beside it.
check() {
    local status=0
    valgrind --quiet --error-exitcode=9 --num-callers=60 --leak-check=full --errors-for-leak-kinds=definite \
        --show-leak-kinds=definite --suppressions=tests/valgrind.supp --gen-suppressions=all \
        "build/valgrind/tests/$1" >"$TEST_FOLDER/$1" 2>&1 || status=$?
    echo "$status" >"$TEST_FOLDER/$1.status"
}

mapfile -t names < <(basename -s .c tests/unit/test_*.c)
for name in test_gradients "${names[@]/test_gradients/}"; do # the longest first
    [ -n "$name" ] || continue
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
    check "$name" &
done
wait

failed=0
for name in "${names[@]}"; do
    [ "$(cat "$TEST_FOLDER/$name.status")" -ne 0 ] || continue
    failed=$((failed + 1))
    cat "$TEST_FOLDER/$name"
done
echo "$((${#names[@]} - failed)) test programs without a finding, $failed with"
[ "$failed" -eq 0 ]
