#!/bin/bash
# The simulation of many ranks (simulate/): 64 ranks on which nothing computes take as long as the closed forms of `plan
# --network` say, which know nothing of it; and it is not built when it would leave something out.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

model=(--model.layers=1 --model.width=768 --model.heads=12 --model.vocab_size=256 --attention.kind=polysketch
    --attention.sketch=random --attention.sketch_size=32 --attention.block_length=1)

# test_closed_forms SCAN: within 2 %, both passes and the gradients.
test_closed_forms() {
    simulate/run.sh header >"$TEST_FOLDER/$1.csv"
    simulate/run.sh fattree100 64 "${model[@]}" --parallel.scan="$1" --parallel.gradient_sums=last >>"$TEST_FOLDER/$1.csv" ||
        give_up "run.sh fails with $1"
    "$program" plan "${model[@]}" --ranks=64 --model.context_length=64 --train.batch_sequences=1 --tokens_per_second=1 \
        --network=100Gb,1us --json >"$TEST_FOLDER/$1.json"
    quiet python - "$TEST_FOLDER/$1" "$1" <<'PYTHON'
import csv, json, sys
said = json.load(open(sys.argv[1] + ".json"))["network"]
row = next(csv.DictReader(open(sys.argv[1] + ".csv")))
scan = said["chain_seconds" if sys.argv[2] == "chain" else "exscan_seconds"]
assert abs(float(row["messages_passes"]) / (2 * scan) - 1) < 0.02, (row, scan)
gradients = float(row["messages_gradients_least"])
assert abs(gradients / said["gradients_halving_seconds"] - 1) < 0.02, (row, said["gradients_halving_seconds"])
PYTHON
}

# A kernel, or a call of MPI, that has no line, and a line whose function is gone.
test_check() {
    local kernels=$TEST_FOLDER/kernels calls=$TEST_FOLDER/calls all=$TEST_FOLDER/all output
    nm -g --defined-only build/simulate/src/tensor/*.o >"$kernels"
    nm -u build/simulate/mpi/*.o >"$calls"
    find build/simulate -name '*.o' -exec nm -g {} + >"$all"
    quiet simulate/check_replaced.sh "$kernels" "$calls" "$all"
    ! output=$(simulate/check_replaced.sh <(cat "$kernels"; echo '00 T new_kernel') "$calls" "$all" 2>&1) || give_up 'kernels'
    [[ $output == *'without a line, name them: new_kernel' ]] || give_up "$output"
    ! output=$(simulate/check_replaced.sh "$kernels" <(cat "$calls"; echo '  w MPI_Ibcast') "$all" 2>&1) || give_up 'calls'
    [[ $output == *'how SMPI serves them: MPI_Ibcast' ]] || give_up "$output"
    ! output=$(simulate/check_replaced.sh "$kernels" "$calls" <(grep -v linear_slot_keys "$all") 2>&1) || give_up 'names'
    [[ $output == *'take them out: linear_slot_keys_backward linear_slot_keys_forward' ]] || give_up "$output"
}

if ! command -v smpirun >/dev/null; then
    echo 'skipped: the simulation of many ranks, libsimgrid-dev is not installed'
    exit
fi
quiet make -j2 -f simulate/Makefile
test_check
test_closed_forms chain
test_closed_forms iexscan
