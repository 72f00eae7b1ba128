#!/bin/bash
# test: unit tests under ThreadSanitizer, 2 and 4 threads
# seconds: 287
# clang's OpenMP tells the checker through Archer where threads wait for each other; without it every barrier is a false finding.
# OpenBLAS and MPI are not compiled for the checker: what only they touch is not looked at, and OpenBLAS stays on one thread.
set -euo pipefail
export OMP_WAIT_POLICY=passive OPENBLAS_NUM_THREADS=1 TSAN_OPTIONS="ignore_noninstrumented_modules=1 die_after_fork=0 exitcode=66"

# control RACE|ORDER EXIT_CODE: the checker must see a race where there is one, and none where OpenMP orders the threads, which
# fails without Archer.
control() {
    local status=0
    clang -g -O1 -fopenmp -fsanitize=thread -x c "-D$1" -o "$TEST_FOLDER/control" - <<'END'
int main(void)
{
    int sum = 0;
#ifdef RACE
#pragma omp parallel for
#else
#pragma omp parallel for reduction(+ : sum)
#endif
    for (int i = 0; i < 100000; i++) sum += i & 1;
    return sum == -1;
}
END
    OMP_NUM_THREADS=4 "$TEST_FOLDER/control" >"$TEST_FOLDER/control.log" 2>&1 || status=$?
    [ "$status" -eq "$2" ] || { echo "the control $1 ended with exit code $status instead of $2"; exit 1; }
}
control RACE 66
control ORDER 0

passed=0
failed=0
for threads in 2 4; do
    for source in tests/unit/test_*.c; do
        name=$(basename "${source%.c}")
        if OMP_NUM_THREADS=$threads build/tsan/tests/"$name" >"$TEST_FOLDER/$name.$threads" 2>&1; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            cat "$TEST_FOLDER/$name.$threads"
        fi
    done
done
echo "$passed runs without a finding, $failed with"
[ "$failed" -eq 0 ]
