#!/bin/bash
# Pictures of a run as PNG and SVG, several runs compared, curves for TensorBoard: from the tables of its folder, with their
# figures.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# require_pictures FOLDER NAME...: each there as both, whole and with something in it.
require_pictures() {
    local folder=$1 name
    shift
    for name in "$@"; do
        [ "$(head -c 8 "$folder/$name.png" | od -An -tx1 | xargs)" = '89 50 4e 47 0d 0a 1a 0a' ] || give_up "$name.png is no PNG"
        quiet python -c "
import sys, xml.etree.ElementTree as tree
kinds = [element.tag.split('}')[1] for element in tree.parse(sys.argv[1]).iter()]
assert kinds[0] == 'svg' and kinds.count('path') > 10, kinds" "$folder/$name.svg"
    done
}

test_pictures() {
    command -v gnuplot >/dev/null || {
        echo 'skipped: pictures, gnuplot is not installed'
        return
    }
    quiet "$program" eval --checkpoint="$(checkpoint run 12)" --data="$data/validation.h5" --per_token_loss="$run/losses.h5"
    quiet make plots RUN="$run"
    require_pictures "$run" loss steps attention position
    # A point for each bucket of positions 0 .. 63, which grow by a factor of 2^(1/4).
    [ "$(grep -c "use xlink:href='#gpPt6'" "$run/position.svg")" -ge 13 ] || give_up 'few positions'
    quiet scripts/plot_steps.sh "$run" "$TEST_FOLDER/alone.svg"
    ! scripts/plot_steps.sh "$run" "$TEST_FOLDER/alone.gif" 2>"$TEST_FOLDER/message" || give_up 'a picture of an unknown format'
    grep -q 'neither .png nor .svg' "$TEST_FOLDER/message" || give_up "$(<"$TEST_FOLDER/message")"
    ! make plots RUN="$TEST_FOLDER/nothing" 2>"$TEST_FOLDER/message" >&2 || give_up 'pictures of nothing'
    grep -q 'which run' "$TEST_FOLDER/message" || give_up "$(<"$TEST_FOLDER/message")"
}

test_comparison() {
    scripts/compare_runs.sh "$run" "$TEST_FOLDER/other" --output="$TEST_FOLDER/pictures/both" >"$TEST_FOLDER/table" ||
        give_up 'compare_runs.sh'
    quiet python - "$TEST_FOLDER/table" "$run" "$TEST_FOLDER/other" <<'END'
import math, os, sys
import numpy as np
table, *runs = sys.argv[1:]
header, *rows = [line.split() for line in open(table) if len(line.split()) > 3]  # the last line names the pictures
assert [row[0] for row in rows] == runs, rows
for row, run in zip(rows, runs):
    said = dict(zip(header, row))
    steps = np.genfromtxt(f"{run}/metrics.csv", delimiter=",", names=True)
    assert int(said["steps"]) == len(steps) and abs(float(said["training"]) - steps["loss"][-1]) <= 0.51e-4  # 1 % is one step
    seconds = steps["seconds"].sum()
    assert math.isclose(float(said["tokens/s"]), steps["tokens_seen"][-1] / seconds, abs_tol=0.51, rel_tol=1e-5)
    evaluations = np.atleast_1d(np.genfromtxt(f"{run}/evaluations.csv", delimiter=",", names=True))
    if len(evaluations) == 0:
        assert said["last"] == said["best"] == said["at"] == "-", said
        continue
    best = evaluations[evaluations["loss"].argmin()]
    assert abs(float(said["last"]) - evaluations["loss"][-1]) <= 0.51e-4 and abs(float(said["best"]) - best["loss"]) <= 0.51e-4
    assert int(said["at"]) == best["step"]
    assert abs(float(said["hours"]) - (seconds + evaluations["seconds"].sum()) / 3600) <= 0.51e-3
END
    ! command -v gnuplot >/dev/null || require_pictures "$TEST_FOLDER/pictures" both
    ! scripts/compare_runs.sh "$TEST_FOLDER" 2>"$TEST_FOLDER/message" >&2 || give_up 'a comparison with nothing'
    grep -q 'is .* the folder of a run' "$TEST_FOLDER/message" || give_up "$(<"$TEST_FOLDER/message")"
}

# Frames, checksums and messages by a reader that is written here, bit by bit.
test_events() {
    quiet scripts/tensorboard.py "$run"
    quiet python - "$run" <<'END'
import csv, struct, sys
run = sys.argv[1]

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            low = (crc ^ byte >> bit) & 1
            crc = crc >> 1 ^ low * 0x82F63B78
    return crc ^ 0xFFFFFFFF

def require_crc(data, masked):
    crc = (masked - 0xA282EAD8) % 2**32
    assert crc32c(data) == (crc >> 17 | crc << 15) % 2**32

def records(data):
    while data:
        (length,), (of_length,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
        body, (of_body,) = data[12:12 + length], struct.unpack("<I", data[12 + length:16 + length])
        require_crc(data[:8], of_length)
        require_crc(body, of_body)
        yield body
        data = data[16 + length:]

def number(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at

def message(data):
    fields, at = [], 0
    while at < len(data):
        key, at = number(data, at)
        if key & 7 == 0:
            value, at = number(data, at)
        else:
            size, at = number(data, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
            value, at = data[at:at + size], at + size
        fields.append((key >> 3, value))
    return fields

assert crc32c(b"123456789") == 0xE3069283  # RFC 3720
first, *events = [message(body) for body in records(open(f"{run}/tensorboard/events.out.tfevents.polysketch", "rb").read())]
assert dict(first)[3] == b"brain.Event:2"
found, times = {}, []
for event in events:
    fields = dict(event)
    times.append(struct.unpack("<d", fields[1])[0])
    for _, value in message(fields[5]):
        value = dict(message(value))
        found[value[1].decode(), fields[2]] = struct.unpack("<f", value[2])[0]
wanted = {}
for table, group in (("metrics", "training"), ("evaluations", "validation"), ("attention", "attention")):
    for row in csv.DictReader(open(f"{run}/{table}.csv")):
        place = f"/layer_{row['layer']}/head_{row['head']}" if "layer" in row else ""
        for name, value in row.items():
            no_curve = name in ("step", "tokens_seen", "layer", "head", "tokens") or (group, name) == ("validation", "seconds")
            if value != "nan" and not no_curve:
                wanted[f"{group}/{name}{place}", int(row["step"])] = struct.unpack("<f", struct.pack("<f", float(value)))[0]
assert found == wanted and len(wanted) > 50, set(found) ^ set(wanted)
steps = len(list(csv.DictReader(open(f"{run}/metrics.csv"))))
assert times[:steps] == sorted(times[:steps]) and times[0] < times[steps - 1]
END
    ! scripts/tensorboard.py "$TEST_FOLDER" 2>"$TEST_FOLDER/events-message" >&2 || give_up 'events of nothing'
    grep -q 'is .* the folder of a run' "$TEST_FOLDER/events-message" || give_up "$(<"$TEST_FOLDER/events-message")"
}

# What TensorBoard itself reads.
test_tensorboard() {
    local python
    for python in ${TENSORBOARD_PYTHON:-} python3 /usr/bin/python3; do
        "$python" -c 'import tensorboard' 2>/dev/null || continue
        quiet "$python" - "$run" <<'END'
import csv, math, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
run = sys.argv[1]
events = EventAccumulator(f"{run}/tensorboard", size_guidance={"scalars": 0})
events.Reload()
rows = list(csv.DictReader(open(f"{run}/metrics.csv")))
read = events.Scalars("training/loss")
assert [event.step for event in read] == [int(row["step"]) for row in rows]
assert all(math.isclose(event.value, float(row["loss"]), rel_tol=1e-6) for event, row in zip(read, rows))
assert {"validation/loss", "attention/sketched_share/layer_1/head_0"} <= set(events.Tags()["scalars"])
END
        return
    done
    echo 'skipped: what TensorBoard reads, the package tensorboard is not installed'
}

run=$TEST_FOLDER/run
prepare_data
start train 2 run --train.steps=12 --evaluate.every=4 --data.validation="$data/validation.h5"
start train 1 other --train.steps=9 --train.learning_rate=0.01
finish
start test_pictures
start test_comparison
start test_events
finish
test_tensorboard
