#!/bin/bash
# test: damaged checkpoints and token files, read under ASan and UBSan
# seconds: 128
# MUTATIONS=10000 in all, MUTATION_SEED=1.
set -euo pipefail

count=${MUTATIONS:-10000}
seed=${MUTATION_SEED:-1}
fast=$TEST_FOLDER
[ ! -w /dev/shm ] || fast=/dev/shm # files of a moment need no disk
status=0

for kind in checkpoint tokens; do
    TMPDIR=$fast build/asan/tests/mutate_files $kind $((count / 2)) "$seed" >"$TEST_FOLDER/$kind" 2>&1 &
    pids+=("$!")
done
for pid in "${pids[@]}"; do wait "$pid" || status=1; done
cat "$TEST_FOLDER"/{checkpoint,tokens}
tail -q -n 1 "$TEST_FOLDER"/{checkpoint,tokens} | sed 's/ ([0-9]* bytes)//' | paste -s -d ';' | sed 's/;/; /'
exit "$status"
