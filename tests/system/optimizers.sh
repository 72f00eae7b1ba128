#!/bin/bash
# Optimizers seen from outside: one step equals the formulae in NumPy, whatever the ranks; runs continue bit by bit, and go over
# from one optimizer to the other when told so.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

model=(--model.layers=4 "--attention.pattern=polysketch:random,softmax,polysketch:learned,polysketch:projection"
    --model.dropout=0.1 --train.schedule=constant --train.warmup_steps=0 --output.checkpoint_every=1 --output.keep=0)

# check_step NAME STEP: the step from that checkpoint to the next.
check_step() {
    quiet python "$tools"/optimizer_reference.py "$(checkpoint "$1" "$2")" "$(checkpoint "$1" $(($2 + 1)))"
}

# same_on NAME RANKS: as on one rank, within what rounding of sums explains, which six steps enlarge to 1e-4 on some processors. A
# share that is forgotten moves everything by per cents.
same_on() {
    train "$2" "$1-$2" "${model[@]}" --train.optimizer="$1" --train.steps=6
    quiet python tests/faults/compare_runs.py "$TEST_FOLDER/$1-1" "$TEST_FOLDER/$1-$2" 6 1e-3
}

prepare_data
start quiet python "$tools"/optimizer_reference.py --self_test
for optimizer in adamw muon; do
    for feedforward in glu gelu; do
        start train 2 $optimizer-$feedforward "${model[@]}" --train.optimizer=$optimizer --train.steps=4 \
            --model.feedforward=$feedforward
    done
    start train 1 $optimizer-1 "${model[@]}" --train.optimizer=$optimizer --train.steps=6
done
finish
for optimizer in adamw muon; do
    for feedforward in glu gelu; do
        start check_step $optimizer-$feedforward 1
        start check_step $optimizer-$feedforward 3
    done
    for ranks in 2 3 4; do start same_on $optimizer $ranks; done
done
finish

said=$("$program" inspect "$(checkpoint muon-2 6)")
[[ $said == *"momentum "*" 16 tensors"* && $said == *"all values are finite"* ]] || give_up "inspect says: $said"

# In two parts, on the same ranks: the same bits.
train 2 parts "${model[@]}" --train.optimizer=muon --train.steps=3
train 2 parts "${model[@]}" --train.optimizer=muon --train.steps=6
quiet python tests/faults/compare_runs.py "$TEST_FOLDER/muon-2" "$TEST_FOLDER/parts" 6

# Going over, and back: said in a line; all states begin anew.
over() {
    launch 2 1 "$program" train tests/data/tiny.ini --data.train="$data/train.h5" --output.folder="$TEST_FOLDER/over" \
        "${model[@]}" "$@"
}
quiet over --train.optimizer=adamw --train.steps=2
said=$(over --train.optimizer=muon --train.steps=4 2>&1)
[[ $said == *"the optimizer was adamw and is muon: its states begin anew"* ]] || give_up "nothing is said of it: $said"
check_step over 3
said=$(over --train.optimizer=adamw --train.steps=6 2>&1)
[[ $said == *"the optimizer was muon and is adamw: its states begin anew"* ]] || give_up "nothing is said of it: $said"
check_step over 5

# A checkpoint from before there were patterns and optimizers was all of one kind, and AdamW's.
train 2 old "--model.layers=3" --train.steps=2 --train.schedule=constant --train.warmup_steps=0
quiet python -c "import h5py
with h5py.File('$(checkpoint old 2)', 'r+') as file:
    for name in ('attention.pattern', 'train.optimizer'): del file['config'].attrs[name]"
old() {
    launch 2 1 "$program" train tests/data/tiny.ini --data.train="$data/train.h5" --output.folder="$TEST_FOLDER/old" \
        --model.layers=3 --train.schedule=constant --train.warmup_steps=0 --output.checkpoint_every=1 --train.steps=4 "$@"
}
said=$(old '--attention.pattern=softmax*3' 2>&1) && give_up 'another model continues an old checkpoint'
[[ $said == *"another attention in layer 0: polysketch"* ]] || give_up "what is wrong is not said: $said"
said=$(old --train.optimizer=muon '--attention.pattern=polysketch*2,polysketch:learned' 2>&1) # the same model, in other words
[[ $said == *"the optimizer was adamw and is muon: its states begin anew"* ]] || give_up "nothing is said of it: $said"
check_step old 3
quiet python -c "import h5py, sys; sys.exit(int(h5py.File('$(checkpoint over 4)').attrs['optimizer_steps'] != 2))"
