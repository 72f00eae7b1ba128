#!/usr/bin/python3
"""Turns the tables of run folders into event files for TensorBoard. Needs nothing but Python.

    scripts/tensorboard.py RUN_FOLDER...
    tensorboard --logdir RUN_FOLDER

Writes RUN_FOLDER/tensorboard/events.out.tfevents.polysketch, anew each time: curves training/..., validation/... and
attention/.../layer_I/head_J from metrics.csv, evaluations.csv and attention.csv. The tables do not say when a step was made: the
last one gets the time at which metrics.csv was last written, those before lie as many seconds earlier as the steps took.
"""
import csv
import itertools
import math
import os
import struct
import sys

# Table, what its curves are called, the columns that are no curves of their own.
TABLES = (
    ("metrics.csv", "training", ("step", "tokens_seen")),
    ("evaluations.csv", "validation", ("step", "tokens", "seconds")),
    ("attention.csv", "attention", ("step", "layer", "head")),
)


def crc_table():
    """Of CRC-32C (Castagnoli), bits reversed."""
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


CRC_TABLE = tuple(crc_table())


def masked_crc(data):
    """As in TFRecord files."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data):
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, data):
    """Of protobuf, with a length: a text or a message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def event(seconds, step, scalars):
    """Event {1: wall_time, 2: step, 5: Summary {1: Value {1: tag, 2: simple_value}}}"""
    values = b"".join(field(1, field(1, name.encode()) + b"\x15" + struct.pack("<f", value)) for name, value in scalars)
    return record(b"\x09" + struct.pack("<d", seconds) + b"\x10" + varint(step) + field(5, values))


def rows_of(path):
    """Of a table, as dictionaries of numbers; none where it is not there. A line that a killed run did not finish is left out."""
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            try:
                yield {name: float(value) for name, value in row.items()}
            except (TypeError, ValueError):
                continue


def scalars_of(row, group, others):
    place = f"/layer_{int(row['layer'])}/head_{int(row['head'])}" if "layer" in row else ""
    for name, value in row.items():
        if name not in others and math.isfinite(value):
            yield f"{group}/{name}{place}", value


def times_of(folder):
    """When each step was made, in seconds since 1970."""
    path = os.path.join(folder, "metrics.csv")
    rows = list(rows_of(path))
    ends = list(itertools.accumulate(row["seconds"] for row in rows))
    return {int(row["step"]): os.path.getmtime(path) - ends[-1] + end for row, end in zip(rows, ends)}


def convert(folder):
    times = times_of(folder)
    if not times:
        sys.exit(f"tensorboard.py: '{folder}/metrics.csv' has no rows; is '{folder}' the folder of a run?")
    place = os.path.join(folder, "tensorboard")
    os.makedirs(place, exist_ok=True)
    output = os.path.join(place, "events.out.tfevents.polysketch")
    temporary = os.path.join(place, f"unfinished.{os.getpid()}.tmp")  # a name in which TensorBoard sees no events
    with open(temporary, "wb") as file:
        file.write(record(b"\x09" + struct.pack("<d", min(times.values())) + field(3, b"brain.Event:2")))
        for table, group, others in TABLES:
            for row in rows_of(os.path.join(folder, table)):
                step = int(row["step"])
                scalars = tuple(scalars_of(row, group, others))
                file.write(event(times.get(step, max(times.values())), step, scalars))
    os.replace(temporary, output)
    print(output)


def main():
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return
    if len(sys.argv) < 2 or any(argument.startswith("-") for argument in sys.argv[1:]):
        sys.exit("tensorboard.py: usage: scripts/tensorboard.py RUN_FOLDER...; --help explains")
    for folder in sys.argv[1:]:
        if not os.path.exists(os.path.join(folder, "metrics.csv")):
            sys.exit(f"tensorboard.py: there is no '{folder}/metrics.csv'; is '{folder}' the folder of a run?")
        convert(folder)


if __name__ == "__main__":
    main()
