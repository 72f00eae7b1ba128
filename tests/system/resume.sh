#!/bin/bash
# A run that was stopped or killed continues as if nothing had happened: parameters, moments, dropout, order of the data, metrics.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# Constant, since the other courses of the learning rate depend on train.steps.
options=(--train.schedule=constant --model.context_length=48 --model.dropout=0.1 --evaluate.every=3)

run() {
    local ranks=$1 folder=$2
    shift 2
    train "$ranks" "$folder" --data.validation="$data/validation.h5" "${options[@]}" "$@"
}

# require_same_state FILE FILE [MOVED_FILE...]: the tensors of two checkpoints are the same, bit by bit, or where there are more
# files as close as rounding explains, of which the difference of these from the first is the measure.
require_same_state() {
    quiet python - "$@" <<'END'
import sys
import h5py
import numpy as np
one, other, *moved = [h5py.File(path, "r") for path in sys.argv[1:]]

def equal(name, a, b):
    if not moved:
        return a.tobytes() == b.tobytes()
    movement = max(np.abs(file[name][...] - a).max() for file in moved)
    return np.abs(a - b).max() <= 8 * max(movement, np.finfo(np.float32).eps * np.abs(a).max())

with one, other:
    assert one.attrs["step"] == other.attrs["step"] and one.attrs["tokens_seen"] == other.attrs["tokens_seen"]
    for group in ("parameters", "optimizer/m", "optimizer/v"):
        assert set(one[group]) == set(other[group]) and len(one[group]) > 20, group
        for name, data in one[group].items():
            a, b = data[...], other[group][name][...]
            assert equal(f"{group}/{name}", a, b), f"{group}/{name} differs by {np.abs(a - b).max()}"
END
}

# require_rows FOLDER LAST_STEP: the tables have every step once, and both files of a table say the same.
require_rows() {
    quiet python - "$TEST_FOLDER/$1" "$2" <<'END'
import sys
import h5py
import numpy as np
folder, last = sys.argv[1], int(sys.argv[2])
evaluated = [step for step in range(1, last + 1) if step % 3 == 0 or step == last]
heads = [(layer, head) for layer in range(2) for head in range(2)]
for group, name, steps in (("steps", "metrics.csv", range(1, last + 1)), ("evaluations", "evaluations.csv", evaluated),
                           ("attention", "attention.csv", np.repeat(evaluated, len(heads)))):
    table = np.genfromtxt(f"{folder}/{name}", delimiter=",", names=True)
    assert list(table["step"]) == list(steps), (name, table["step"])
    if group == "attention":
        assert list(zip(table["layer"], table["head"])) == heads * len(evaluated), table
        assert (table["sketched_share"] > 0).all() and (table["exact_share"] > 0).all(), table
        assert (table["sketched_share"] + table["exact_share"] < 1).all() and np.isnan(table["gate_length"]).all(), table
    with h5py.File(f"{folder}/metrics.h5") as file:
        assert set(file[group]) == set(table.dtype.names), group
        for column, data in file[group].items():
            assert np.array_equal(data[...], table[column], equal_nan=True), (group, column)
            assert (data.dtype == np.int64) == (column in ("step", "layer", "head")), (group, column, data.dtype)
END
}

# require_same_losses FOLDER FOLDER
require_same_losses() {
    require_equal_losses "$1" "$2"
    require_equal_losses "$1" "$2" evaluations.csv
    cmp "$TEST_FOLDER/$1/attention.csv" "$TEST_FOLDER/$2/attention.csv" >&2 || give_up "$1/attention.csv is not that of $2"
}

# Killed in an evaluation after the last checkpoint, while the rows of its heads were written: it is made again.
test_evaluation_cut() {
    local table
    cp -r "$TEST_FOLDER/whole" "$TEST_FOLDER/cut"
    rm "$TEST_FOLDER/cut/metrics.h5"
    for table in evaluations attention; do
        sed -i '$d' "$TEST_FOLDER/cut/$table.csv"
    done
    run 2 cut --train.steps=6 --output.checkpoint_every=3
    require_same_losses whole cut
    require_rows cut 6
}

test_stopped() {
    run 2 stopped --train.steps=3
    run 2 stopped --train.steps=6
    require_same_state "$(checkpoint whole 6)" "$(checkpoint stopped 6)"
    require_same_losses whole stopped
    require_rows stopped 6
}

# What a crash after step 3 can leave behind, on another number of ranks.
test_other_ranks() {
    local draw moved=()
    cp -r "$TEST_FOLDER/whole" "$TEST_FOLDER/other"
    mv "$(checkpoint other 6)" "$(checkpoint other 6).tmp"
    printf '7,5.1' >>"$TEST_FOLDER/other/metrics.csv"
    run 3 other --train.steps=6 --output.checkpoint_every=3
    require_rows other 6
    train_moved 2 whole 6 --data.validation="$data/validation.h5" "${options[@]}"
    for draw in $draws; do moved+=("$(checkpoint "whole-moved-$draw" 6)"); done
    require_same_state "$(checkpoint whole 6)" "$(checkpoint other 6)" "${moved[@]}"
    require_close whole other whole
}

# Nothing is left to do; then one step more, with the run folder as the only word about the run.
test_finished() {
    local sums
    cp -r "$TEST_FOLDER/whole" "$TEST_FOLDER/finished"
    sums=$(sha256sum "$TEST_FOLDER"/finished/*.csv "$TEST_FOLDER"/finished/checkpoints/*)
    run 2 finished --train.steps=6 --output.checkpoint_every=3
    sha256sum --quiet --check <<<"$sums" >&2 || give_up "a finished run was changed by starting it again"
    quiet launch 1 1 "$program" train "$TEST_FOLDER/finished"
    sha256sum --quiet --check <<<"$sums" >&2 || give_up "a finished run was changed by starting it by its folder"
    quiet launch 2 1 "$program" train "$TEST_FOLDER/finished" --train.steps=7
    require_rows finished 7
    [ -f "$(checkpoint finished 7)" ] || give_up "step 7 was not made"
}

# A rank is killed, perhaps while a checkpoint is written.
test_killed() {
    local job rank newest
    run 2 killed --train.steps=100000 --output.checkpoint_every=3 --output.keep=0 2>"$TEST_FOLDER/killed.log" &
    job=$!
    # However this test ends, the endless run ends with it.
    trap 'pkill -KILL -f "folder=$TEST_FOLDER/killed " || true' EXIT
    until [ -f "$(checkpoint killed 6)" ]; do
        kill -0 "$job" 2>/dev/null || give_up "the run ended by itself: $(cat "$TEST_FOLDER/killed.log")"
        sleep 0.02
    done
    rank=$(pgrep -n -f "^$program train .*folder=$TEST_FOLDER/killed ")
    kill -KILL "$rank"
    ! wait "$job" || give_up "a job whose rank was killed ended with exit code 0"
    newest=$(find "$TEST_FOLDER/killed/checkpoints" -name 'step-*.h5' | sort | tail -n 1)
    newest=$((10#$(basename "${newest#*step-}" .h5)))
    run 2 killed --train.steps=$((newest + 3)) --output.checkpoint_every=3 --output.keep=0
    require_same_state "$(checkpoint whole 6)" "$(checkpoint killed 6)"
    require_rows killed $((newest + 3))
}

# With a learning rate of 0 nothing is learned, and the loss of a step is the mean over its sequences: after another batch the run
# goes on with the very next ones.
test_other_batch() {
    local frozen=(--train.learning_rate=0 --model.dropout=0 --output.keep=0)
    run 1 narrow "${frozen[@]}" --train.batch_sequences=2 --train.steps=8
    run 1 wider "${frozen[@]}" --train.batch_sequences=2 --train.steps=4
    run 1 wider "${frozen[@]}" --train.batch_sequences=4 --train.micro_batch_sequences=2 --train.steps=6
    paste <(column loss "$TEST_FOLDER/narrow/metrics.csv" | tail -n 4 | paste - -) \
        <(column loss "$TEST_FOLDER/wider/metrics.csv" | tail -n 2) >"$TEST_FOLDER/batches"
    # Sums of the same losses in another order: a few roundings of double.
    awk '{ difference = ($1 + $2) / 2 - $3; if (difference < 0) difference = -difference
           if (!($3 > 1 && difference < 1e-12)) bad = 1 } END { exit bad || NR != 2 }' "$TEST_FOLDER/batches" ||
        give_up "another batch uses other sequences: $(cat "$TEST_FOLDER/batches")"
}

# Other data are said, and the run goes on.
test_other_data() {
    write_text 900 >"$TEST_FOLDER/other.txt"
    quiet "$program" prepare --input="$TEST_FOLDER/other.txt" --output="$TEST_FOLDER/other-data"
    cp -r "$TEST_FOLDER/whole" "$TEST_FOLDER/other-run"
    run 1 other-run --train.steps=7 --data.train="$TEST_FOLDER/other-data/train.h5"
    grep -q "warning: data.train is not what the checkpoint was trained on" "$TEST_FOLDER/other-run/train.log" ||
        give_up "other data were not said"
}

# By the clock, and by SIGUSR2, upon which the run goes on.
test_when_to_save() {
    local job
    run 1 often --train.steps=4 --output.checkpoint_minutes=0.0000001 --output.keep=0
    [ "$(find "$TEST_FOLDER/often/checkpoints" -name 'step-*.h5' | wc -l)" -eq 4 ] || give_up "not a checkpoint for each step"
    quiet launch 1 1 "$program" train tests/data/tiny.ini --data.train="$data/train.h5" --train.steps=1000000 \
        --output.log_every=1000000 --output.folder="$TEST_FOLDER/signalled" &
    job=$!
    trap 'pkill -KILL -f "folder=$TEST_FOLDER/signalled" || true' EXIT
    until [ "$(wc -l 2>/dev/null <"$TEST_FOLDER/signalled/metrics.csv" || echo 0)" -gt 3 ]; do sleep 0.02; done
    pkill -USR2 -f "^$program train .*folder=$TEST_FOLDER/signalled"
    until grep -q 'checkpoint .*step-0*[1-9][0-9]*.h5' "$TEST_FOLDER/signalled/train.log"; do sleep 0.02; done
    kill -0 "$job" || give_up "SIGUSR2 ended the run"
    touch "$TEST_FOLDER/signalled/STOP"
    wait "$job" && give_up "a run that was stopped ended with exit code 0"
    grep -q 'stopped by the file STOP' "$TEST_FOLDER/signalled/train.log" || give_up "the run does not say what stopped it"
}

# config.ini has what was asked for, so that the folder alone continues with other options; one that a person wrote stays.
test_configuration() {
    local config=$TEST_FOLDER/asked/config.ini sum
    run 1 asked --train.steps=2
    grep -qx 'micro_batch_sequences = 0 ; here 4' "$config" || give_up "what was asked for is not in config.ini"
    quiet launch 1 1 "$program" train "$TEST_FOLDER/asked" --train.batch_sequences=6 --train.steps=3
    grep -qx 'micro_batch_sequences = 0 ; here 6' "$config" || give_up "config.ini is not that of the last start"
    quiet launch 1 1 "$program" train "$config" --model.width=64 --output.folder="$TEST_FOLDER/wider-model" --train.steps=1
    grep -qx 'feedforward_width = 0 ; here 168' "$TEST_FOLDER/wider-model/config.ini" || give_up "a width that was not asked for"
    printf '; mine\n%s\n' "$(<"$config")" >"$config.edited"
    mv "$config.edited" "$config"
    sum=$(sha256sum "$config")
    quiet launch 1 1 "$program" train "$TEST_FOLDER/asked" --train.steps=4
    sha256sum --quiet --check <<<"$sum" >&2 || give_up "a configuration that was edited was overwritten"
    grep -qx 'steps = 4' "$TEST_FOLDER/asked/config.used.ini" || give_up "what was used is not written"
    says asked "config.ini' was written or edited by hand"
    rm "$config"
    mkdir "$config"
    train 1 asked --train.steps=5
    says asked "config.ini' cannot be read (it is a folder) and stays as it is"
}

# From a chosen step: later checkpoints and rows get other names, and the run is as it was.
test_from() {
    cp -r "$TEST_FOLDER/whole" "$TEST_FOLDER/back"
    run 2 back --from=3 --train.steps=6 --output.checkpoint_every=3
    require_same_state "$(checkpoint whole 6)" "$(checkpoint back 6)"
    cmp "$(checkpoint whole 6)" "$(checkpoint back 6).1" || give_up "the later checkpoint is not kept"
    cmp <(sed 2,4d "$TEST_FOLDER/whole/metrics.csv") "$TEST_FOLDER/back/metrics.csv.1" || give_up "the later rows are not kept"
    require_same_losses whole back
    require_rows back 6
    run 2 back --train.steps=7
    require_rows back 7
}

# As slurm/README.md says it: first back alone, then, as often as the job is requeued, on to all the steps.
test_back_then_on() {
    cp -r "$TEST_FOLDER/whole" "$TEST_FOLDER/requeued"
    quiet launch 1 1 "$program" train "$TEST_FOLDER/requeued" --from=3 --train.steps=3
    [ ! -e "$(checkpoint requeued 6)" ] || give_up "the run did not go back"
    quiet launch 2 1 "$program" train "$TEST_FOLDER/requeued" --train.steps=6
    quiet launch 2 1 "$program" train "$TEST_FOLDER/requeued" --train.steps=6
    require_same_state "$(checkpoint whole 6)" "$(checkpoint requeued 6)"
    require_same_losses whole requeued
    require_rows requeued 6
}

# Killed before its first checkpoint but that of step 0: a start with other options keeps the rows.
test_rows_kept() {
    run 1 early --train.steps=0 --output.checkpoint_at_start=true
    head -n 4 "$TEST_FOLDER/whole/metrics.csv" >"$TEST_FOLDER/early/metrics.csv"
    run 1 early --train.steps=1 --train.learning_rate=0.001
    cmp <(head -n 4 "$TEST_FOLDER/whole/metrics.csv") "$TEST_FOLDER/early/metrics.csv.1" || give_up "rows are lost"
    says early "metrics.csv goes on after step 0; the 3 later rows of the earlier run are kept in"
    rm "$TEST_FOLDER"/early/checkpoints/*
    run 1 early --train.steps=1 --overwrite
    cmp <(tail -n 1 "$TEST_FOLDER/early/metrics.csv.2" | cut -d, -f1) <(echo 1) || give_up "rows are overwritten"
    run 1 early --train.steps=1 --overwrite
    says early "metrics.csv begins anew" "--overwrite means nothing here"
}

# What the learning rate and the order of the data will do is said where it may not be what was meant.
test_warnings() {
    local quiet_words="warning: the learning rate jumps"
    train 1 rates --train.steps=6
    grep -qF "$quiet_words" "$TEST_FOLDER/rates/train.log" && give_up "a new run has no jump"
    says rates "learning rate: to 0.003 over 2 steps, then cosine to 0 at step 6"
    train 1 rates --train.steps=6
    grep -qF "$quiet_words" "$TEST_FOLDER/rates/train.log" && give_up "nothing has changed"
    train 1 rates --train.steps=12 --train.seed=3
    says rates "warning: the learning rate jumps: step 6 had 0, step 7 gets" "warning: train.seed is another"
    train 1 short --train.steps=2 --train.warmup_steps=5 --train.schedule=wsd
    says short "warning: the warm-up of 5 steps is all of the run: the learning rate rises to 0.0012 at step 2"
    train 1 flat --train.steps=2 --train.schedule=constant --train.min_learning_rate=0.001
    says flat "train.min_learning_rate means nothing"
}

# An option that another version wrote is named, by all who read the model.
test_unknown_option() {
    local file
    train 1 unknown --train.steps=1
    file=$(checkpoint unknown 1)
    "$program" generate --checkpoint="$file" --prompt=the --tokens=1 2>&1 | grep -qF warning && give_up "all options are known"
    quiet python -c 'import h5py, sys; h5py.File(sys.argv[1], "r+")["config"].attrs["model.wings"] = 2' "$file"
    train 1 unknown --train.steps=2
    says unknown "warning: '$file' has options that this program does not know, so that they mean nothing: model.wings (1 "
    "$program" generate --checkpoint="$file" --prompt=the --tokens=1 2>&1 >"$TEST_FOLDER/text" | grep -qF ": model.wings (" ||
        give_up "generate does not name an option that it does not know"
    grep -q warning "$TEST_FOLDER/text" && give_up "a warning is among the text"
    quiet python -c 'import h5py, sys
with h5py.File(sys.argv[1], "r+") as file:
    for i in range(40): file["config"].attrs[f"model.feathers_of_the_wing_{i}"] = 2' "$file"
    "$program" generate --checkpoint="$file" --prompt=the --tokens=1 >"$TEST_FOLDER/text" 2>&1
    grep -qF ", ... (41 in all). Another" "$TEST_FOLDER/text" ||
        give_up "generate does not say how many options it does not know"
    train 1 from-unknown --train.init_from="$file" --train.steps=0
    says from-unknown ", ... (41 in all). Another version made it"
    [ "$("$program" inspect "$(checkpoint unknown 2)" | grep -c wings)" -eq 0 ] || give_up "an unknown option is written"
}

prepare_data
run 2 whole --train.steps=6 --output.checkpoint_every=3
require_rows whole 6
start test_stopped
start test_evaluation_cut
start test_other_ranks
start test_finished
start test_killed
start test_other_batch
start test_other_data
start test_when_to_save
start test_configuration
start test_from
start test_back_then_on
start test_rows_kept
start test_warnings
start test_unknown_option
finish
