#!/bin/bash
# What the machine and its file systems do: no locks, limits, a folder that not all ranks see, data that become unreadable, a
# rank that is killed. What can be foreseen is found before the first step; what cannot costs no step that was made.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

shims=$PWD/build/release/tests
options=(--train.schedule=constant --output.log_every=1000000)

# alone FOLDER OPTIONS...: trains on one rank; what it says goes to FOLDER.out and FOLDER.err.
alone() {
    local folder=$TEST_FOLDER/$1
    OMP_NUM_THREADS=1 "$program" train tests/data/tiny.ini --data.train="$data/train.h5" --output.folder="$folder" \
        "${options[@]}" "${@:2}" >"$folder.out" 2>"$folder.err"
}

# one_line FILE WORDS: it is one line with these words.
one_line() {
    if [ "$(wc -l <"$1")" -ne 1 ] || ! grep -qF "$2" "$1"; then give_up "not one line with '$2': $(<"$1")"; fi
}

# nothing_left FOLDER: no unfinished file.
nothing_left() {
    local left
    left=$(find "$TEST_FOLDER/$1" -name '*.tmp')
    [ -z "$left" ] || give_up "left behind: $left"
}

# has_rows FOLDER COUNT: waits until so many steps stand in its metrics.
has_rows() {
    local file=$TEST_FOLDER/$1/metrics.csv
    for _ in {1..400}; do
        [ ! -e "$file" ] || [ "$(wc -l <"$file")" -le "$2" ] || return 0
        sleep 0.1
    done
    give_up "$1 makes no steps"
}

# Every file is read and written where flock() is not there.
test_no_locks() {
    local number folder
    for number in 37 95 524; do
        folder=$TEST_FOLDER/locks-$number
        export LD_PRELOAD=$shims/no_locks.so FAULT_ERRNO=$number
        quiet "$program" prepare --input="$TEST_FOLDER/text.txt" --output="$folder-data"
        "$program" inspect "$folder-data/train.h5" >"$folder.txt" || give_up "inspect without locks ($number)"
        alone "locks-$number" --train.steps=2 || give_up "no locks ($number): $(<"$folder.err")"
        alone "locks-$number" --train.steps=4 || give_up "no locks ($number), continued: $(<"$folder.err")"
        unset LD_PRELOAD FAULT_ERRNO
        "$program" inspect "$data-plain/train.h5" | sed 1d | diff - <(sed 1d "$folder.txt") >&2 ||
            give_up "other tokens without locks ($number)"
    done
}

# A limit that a checkpoint is beyond is found before a run starts, and before it continues.
test_limit() {
    if (ulimit -f 300 && alone limit --train.steps=3); then give_up 'a checkpoint beyond the limit'; fi
    one_line "$TEST_FOLDER/limit.err" 'ulimit -f'
    nothing_left limit
    alone limit --train.steps=3 || give_up "without a limit: $(<"$TEST_FOLDER/limit.err")"
    if (ulimit -f 300 && alone limit --train.steps=6); then give_up 'a checkpoint beyond the limit, continued'; fi
    one_line "$TEST_FOLDER/limit.err" 'no checkpoint could be written'
    ! grep -q '^step' "$TEST_FOLDER/limit.out" || give_up 'a step before the limit was found'
    nothing_left limit
    quiet "$program" inspect "$(checkpoint limit 3)"
}

# What shows only when the first checkpoint is written, as a quota of some file systems, ends the run at once: nothing is lost.
test_first_checkpoint() {
    local code=0
    (
        export LD_PRELOAD=$shims/failing_calls.so FAULT_PATH=/checkpoints/step-00000000 FAULT_NUMBER=2 FAULT_ERRNO=122 # EDQUOT
        alone quota --train.steps=3
    ) || code=$?
    [ "$code" -eq 1 ] || give_up "a first checkpoint that could not be written: exit code $code"
    one_line "$TEST_FOLDER/quota.err" 'the first checkpoint could not be written, so the run ends before its first step'
    one_line "$TEST_FOLDER/quota.err" 'Disk quota exceeded. Free some space'
    ! grep -q '^step\|^warning' "$TEST_FOLDER/quota.out" || give_up 'a step, or another attempt'
    nothing_left quota
    alone quota --train.steps=3 || give_up "without a quota: $(<"$TEST_FOLDER/quota.err")"
}

# Rank 1 does not find what rank 0 has made, as where output.folder is a disk of each node.
test_other_disk() {
    local folder=$TEST_FOLDER/disks
    train 1 disks --train.steps=1
    # shellcheck disable=SC2016 # for the inner shell
    if launch 2 1 env FAULT_PATH=/checkpoints/step-probe FAULT_NUMBER=1 FAULT_ERRNO=2 bash -c '
        if [ "${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}" = 1 ]; then export LD_PRELOAD=$0; fi
        exec "$@"' "$shims/failing_calls.so" "$program" train "$folder" --train.steps=5 >"$folder.out" 2>"$folder.err"; then
        give_up 'a folder that rank 1 does not see'
    fi
    one_line "$folder.err" 'Choose a folder on a file system that all ranks share'
    ! grep -q '^step' "$folder.out" || give_up 'a step before the folder was looked at'
    nothing_left disks
}

# The room of values that ranks share was there when it was looked for, and is gone when they ask for pages.
test_taken_room() {
    local folder=$TEST_FOLDER/taken
    mkdir "$folder.disk"
    # shellcheck disable=SC2016 # for the inner shell
    if unshare --mount bash -c '
        mount -t tmpfs -o size=64k none "$0"
        . scripts/environment.sh
        export OMPI_MCA_osc_sm_backing_directory=$0 LD_PRELOAD=$1
        launch 2 1 "${@:2}"' "$folder.disk" "$shims/much_room.so" "$program" train tests/data/tiny.ini \
        --data.train="$data/train.h5" --output.folder="$folder" "${options[@]}" --train.steps=2 \
        --parallel.node_shared=true >"$folder.out" 2>"$folder.err"; then give_up 'shared memory without room'; fi
    one_line "$folder.err" "in '$folder.disk' for the parameters that they share: no room is left"
}

# make_tokens FILE [CHUNK]: a token file of one piece, or packed in chunks, all of whose tokens are below its vocabulary; one that
# was found good, so that a run does not begin by reading all of it.
make_tokens() {
    quiet python - "$@" <<'END'
import sys
import h5py
import numpy as np
packed = {"chunks": (int(sys.argv[2]),), "compression": 1} if len(sys.argv) > 2 else {}
with h5py.File(sys.argv[1], "w") as file:
    file.attrs.update(format="polysketch-tokens", format_version=1, tokenizer="mine", vocab_size=200)
    tokens = np.random.default_rng(1).integers(0, 200, 1 << 22).astype("u1")
    file.create_dataset("tokens", data=tokens, **packed)
END
    quiet "$program" inspect "$1"
}

# overwrite FILE BYTE: all but its first pages.
overwrite() { head -c 4000000 /dev/zero | tr '\0' "$2" | dd of="$1" bs=4096 seek=1 conv=notrunc status=none; }

# lose_data RANKS FOLDER WORDS COMMAND...: what the command does to FOLDER.h5, while a run reads it ahead, ends the run with one
# line of these words; the steps that were made are in a checkpoint, and the run goes on from there.
lose_data() {
    local name=$2 words=$3 folder=$TEST_FOLDER/$2 job last code=0
    cp "$folder.h5" "$folder-good.h5"
    launch_command "$1" 1
    "${LAUNCH[@]}" "$program" train tests/data/tiny.ini --data.train="$folder.h5" --output.folder="$folder" "${options[@]}" \
        --train.steps=1000000 >"$folder.out" 2>"$folder.err" &
    job=$!
    has_rows "$name" 20
    "${@:4}"
    wait "$job" || code=$?
    [ "$code" -eq 1 ] || give_up "exit code $code of a run whose data were lost: $(<"$folder.err")"
    one_line "$folder.err" "$words"
    last=$(column step "$folder/metrics.csv" | tail -n 1)
    quiet "$program" inspect "$(checkpoint "$name" "$last")"
    mv "$folder-good.h5" "$folder.h5"
    quiet "$program" train "$folder" --train.steps=$((last + 2))
    [ "$(column step "$folder/metrics.csv" | tail -n 1)" -eq $((last + 2)) ] || give_up 'the run does not go on'
    nothing_left "$name"
}

# The training data become others, shorter or unreadable; or what nobody foresees happens to the thread of one rank, and all
# leave with its place in the source.
test_lost_data() {
    local file=$TEST_FOLDER/lost
    make_tokens "$file.h5"
    make_tokens "$file-packed.h5" 4096
    cp "$file.h5" "$file-cut.h5"
    cp "$file.h5" "$file-spaces.h5"
    lose_data 1 lost 'vocab' overwrite "$file.h5" '\377'
    lose_data 2 lost-cut 'was cut while it is read' truncate -s 2000000 "$file-cut.h5"
    lose_data 1 lost-packed 'cannot be read; the file is damaged' overwrite "$file-packed.h5" '\0'
    LD_PRELOAD=$shims/failing_spaces.so FAULT_RANK=1 FAULT_PATH=$file-no-spaces \
        lose_data 2 lost-spaces 'rank 1/2: io/token_file.c:' touch "$file-no-spaces"
}

# ranks_of FOLDER: the processes of a run, mpirun not among them.
ranks_of() { pgrep -f "^$program train .*folder=$TEST_FOLDER/$1 " || true; }

# One rank is killed while the others wait for it in a sum: the job ends within seconds, and nothing of it stays.
test_killed_rank() {
    local folder=$TEST_FOLDER/killed job ranks status=0 start
    launch_command 3 1
    "${LAUNCH[@]}" "$program" train tests/data/tiny.ini --data.train="$data/train.h5" --output.folder="$folder" \
        "${options[@]}" --train.steps=1000000 >"$folder.out" 2>"$folder.err" &
    job=$!
    has_rows killed 5
    mapfile -t ranks < <(ranks_of killed)
    [ ${#ranks[@]} -eq 3 ] || give_up "not three ranks: ${ranks[*]}"
    start=$SECONDS
    kill -KILL "${ranks[1]}"
    wait "$job" || status=$?
    [ $((SECONDS - start)) -le 20 ] || give_up "the job ended $((SECONDS - start)) s after a rank was killed"
    if [ "$status" -eq 0 ] || [ "$status" -eq 85 ]; then give_up "exit code $status"; fi
    for _ in {1..50}; do
        [ -n "$(ranks_of killed)" ] || break
        sleep 0.1
    done
    [ -z "$(ranks_of killed)" ] || give_up "ranks stay: $(ranks_of killed)"
    train 1 killed "${options[@]}" --train.steps=2 # the lock of a rank that is gone is in nobody's way
}

prepare_data
quiet "$program" prepare --input="$TEST_FOLDER/text.txt" --output="$data-plain"
start test_no_locks
start test_limit
start test_first_checkpoint
start test_other_disk
start test_lost_data
start test_killed_rank
# A small disk has to be mounted, which not everybody may; and systems before Linux 5.14 do not say that there is no room.
if unshare --mount true 2>/dev/null && printf '5.14\n%s\n' "$(uname -r)" | sort -VC; then start test_taken_room; fi
finish
