#!/bin/bash
# The losses do not depend on how many ranks share a sequence and the batch, nor on what each keeps a share of; two equal runs are
# equal bit by bit, as are those with values once on a node, which is refused where there is no room.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# run RANKS NAME OPTIONS...: three steps.
run() {
    local ranks=$1 name=$2
    shift 2
    train "$ranks" "$name" --train.steps=3 --train.learning_rate=0.02 "$@"
}

# compare KIND OPTIONS...: one to four ranks for a sequence, then 2x1, 2x2 and 4x1 of data x sequence.
compare() {
    local kind=$1 grid ranks data_ranks
    shift
    run 1 "$kind-1" "$@"
    train_moved 1 "$kind" 3 --train.learning_rate=0.02 "$@"
    for grid in 2/1 3/1 4/1 2/2 4/2 4/4; do
        ranks=${grid%/*} data_ranks=${grid#*/}
        run "$ranks" "$kind-$ranks-$data_ranks" --parallel.data_ranks="$data_ranks" "$@"
        require_close "$kind-1" "$kind-$ranks-$data_ranks" "$kind"
    done
}

# The same command, and the other way of exchanging states.
repeat() {
    run 3 once
    run 3 twice
    run 3 other-scan --parallel.scan=iexscan
    require_equal_losses once twice
    quiet h5diff "$(checkpoint once 3)" "$(checkpoint twice 3)" /parameters
    quiet h5diff "$(checkpoint once 3)" "$(checkpoint twice 3)" /optimizer
    train_moved 3 once 3 --train.learning_rate=0.02
    require_close once other-scan once
}

# Ranks that keep shares, each step by others and on other grids: what one has written the next reads.
shares() {
    local step ranks=(2 3 4) stages=(optimizer gradients parameters) same=(--train.optimizer=muon --train.schedule=constant)
    run 2 shares "${same[@]}"
    train_moved 2 shares 3 --train.learning_rate=0.02 "${same[@]}"
    for step in 1 2 3; do
        run "${ranks[step - 1]}" by-turns "${same[@]}" --train.steps="$step" --parallel.shard="${stages[step - 1]}"
        says by-turns "shares: each of the ${ranks[step - 1]} ranks keeps its rows"
    done
    require_close shares by-turns shares
}

# Values once on a node: the same bits in steps, evaluations, texts and checkpoints, and after each has gone on from the other's.
nodes() {
    local other same=(--train.optimizer=muon --train.schedule=constant --train.micro_batch_sequences=2 --evaluate.every=2
        --data.validation="$data/validation.h5" --sample.every=2 --sample.prompt='the alpha' --sample.tokens=8)
    run 2 apart "${same[@]}"
    run 2 together "${same[@]}" --parallel.node_shared=true
    says together 'node_shared: values of parameters and states of the optimizer once for the 2 ranks of a node; nodes: 1' \
        'memory that the ranks of a node share: ' ' of parameters, once for 2 ranks'
    run 2 together "${same[@]}" --train.steps=5
    run 2 apart "${same[@]}" --train.steps=5 --parallel.node_shared=true --parallel.shard=optimizer
    require_equal_losses apart together
    require_equal_losses apart together evaluations.csv
    cmp "$TEST_FOLDER"/{apart,together}/samples.txt >&2 || give_up 'texts differ'
    for other in parameters optimizer; do quiet h5diff "$(checkpoint apart 5)" "$(checkpoint together 5)" "/$other"; done
    run 1 alone --parallel.node_shared=true
    says alone 'node_shared: no node has several ranks'
}

# Terabytes of values fit nowhere.
no_room() {
    local command=(train tests/data/tiny.ini --data.train="$data/train.h5" --output.folder="$TEST_FOLDER/refused"
        --parallel.node_shared=true)
    require_refusal "need .* in '/dev/shm' .* room for .*--shm-size.*parallel.node_shared = false" "${command[@]}" \
        --attention.kind=softmax --model.width=65536 --model.heads=1024 --model.layers=20
    OMPI_MCA_osc_sm_backing_directory=$TEST_FOLDER/none require_refusal \
        "cannot share parameters in '$TEST_FOLDER/none': No such file.*OMPI_MCA_osc_sm_backing_directory" "${command[@]}"
    OMPI_MCA_osc=^sm require_refusal 'no memory to share.*parallel.node_shared = false' "${command[@]}"
    require_refusal 'Use parallel.shard = gradients' "${command[@]}" --parallel.shard=parameters
}

prepare_data
start nodes
start no_room
start compare learned
start compare softmax --attention.kind=softmax
start repeat
start shares
finish
