#!/bin/bash
# The number of threads is what the OpenMP library gives, not what was asked for: a program that counts on more waits for ever.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

prepare_data

# threads_with SETTING...: of a run of two steps under these settings; OpenBLAS would wait for ever for threads that do not come.
threads_with() {
    local log=$TEST_FOLDER/log
    OMP_NUM_THREADS=2 timeout --kill-after=5 60 env "$@" "$program" train tests/data/tiny.ini --data.train="$data/train.h5" \
        --output.folder="$TEST_FOLDER/run-$1" --train.steps=2 >"$log" 2>&1 || give_up "exit code $? with $*: $(<"$log")"
    sed -nE 's/.* ([0-9]+) threads each.*/\1/p' "$log"
}

[ "$(threads_with OMP_DYNAMIC=false)" = 2 ] || give_up 'two threads are not two'
[ "$(threads_with OMP_DYNAMIC=true)" = 2 ] || give_up 'OMP_DYNAMIC takes threads away'
for setting in OMP_THREAD_LIMIT=1 OMP_MAX_ACTIVE_LEVELS=0; do
    [ "$(threads_with "$setting")" = 1 ] || give_up "$setting is not respected"
    grep -q "warning: OMP_NUM_THREADS asks for 2 threads, but the OpenMP library gives 1" "$TEST_FOLDER/log" ||
        give_up "$setting: no warning"
done
