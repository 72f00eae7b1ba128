#!/bin/bash
# test: a disk that is full at any moment (a small tmpfs of every size)
# seconds: 26
# DISK_SIZES=24 between half a checkpoint and five. Needs to mount: as root, or where users have namespaces of their own.
set -euo pipefail
if [ -z "${NAMESPACE:-}" ]; then
    if [ "$(id -u)" -eq 0 ]; then exec env NAMESPACE=1 unshare --mount bash "$0"; fi
    exec env NAMESPACE=1 unshare --map-root-user --mount bash "$0"
fi
# shellcheck source=scripts/faults/common.bash
. "$(dirname "$0")/common.bash"

options+=(--train.steps=8 --output.checkpoint_every=1)
sizes=${DISK_SIZES:-24}
disk=$TEST_FOLDER/disk
mkdir "$disk"

train 1 reference "${options[@]}"
bytes=$(stat -c %s "$(checkpoint reference 8)")
refused=0
ended=0
went_on=0
for ((i = 0; i < sizes; i++)); do
    mount -t tmpfs -o size=$((bytes / 2 + i * bytes * 9 / 2 / sizes)) tmpfs "$disk"
    arguments disk/run
    code=0
    OMP_NUM_THREADS=1 "$program" "${arguments[@]}" >"$TEST_FOLDER/out" 2>"$TEST_FOLDER/err" || code=$?
    [ "$code" -le 1 ] || give_up "size $i: exit code $code: $(<"$TEST_FOLDER/err")"
    whole=$(whole_checkpoints "$disk/run")
    if [ "$code" -eq 0 ]; then
        went_on=$((went_on + 1))
    elif [ "$whole" -eq 0 ]; then
        refused=$((refused + 1))
    else
        ended=$((ended + 1))
    fi
    mount -o remount,size=64m "$disk"
    train 1 disk/run "${options[@]}"
    same_as reference disk/run 8
    umount "$disk"
done
echo "$sizes sizes: $refused refused before the first step, $ended ended after three attempts, $went_on finished;" \
    "every checkpoint whole, all continued bit for bit"
