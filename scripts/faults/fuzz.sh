#!/bin/bash
# test: libFuzzer on options, token files, checkpoints, weights and tokenizers
# seconds: 190
# FUZZ_SECONDS=60 each, two at a time.
set -euo pipefail

status=0
FUZZ_SECONDS=${FUZZ_SECONDS:-60} scripts/fuzz.sh >"$TEST_FOLDER/lines" 2>&1 || status=1
cat "$TEST_FOLDER/lines"
grep executions "$TEST_FOLDER/lines" | tr -s ' ' | paste -s -d ';' | sed 's/;/; /g'
exit "$status"
