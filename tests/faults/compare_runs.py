#!/usr/bin/python3
"""compare_runs.py REFERENCE RUN STEPS [TOLERANCE [NORM_SLACK]]: do two run folders tell the same story?

The checkpoints of step STEPS: every tensor and every number that a run continues from, bit by bit, or the tensors within
TOLERANCE relative to their largest value. The average norm of gradients may differ by NORM_SLACK of it where that is more,
for runs whose ranks sum it in another order. The tables of RUN: every step once, losses equal to the reference's (or within
TOLERANCE), and metrics.h5 says what the CSV files say. Nothing half-written is left.
"""
import os
import sys

import h5py
import numpy as np


def fail(words):
    sys.exit(f"{sys.argv[2]}: {words}")


def compare_checkpoints(one, other, tolerance, norm_slack):
    for name in ("step", "tokens_seen", "sequences_seen", "skipped_steps", "optimizer_steps"):
        if name in one.attrs and one.attrs[name] != other.attrs[name]:
            fail(f"{name} is {other.attrs[name]} instead of {one.attrs[name]}")
    usual = [file.attrs["average_gradient_norm"] for file in (one, other)]
    if abs(usual[0] - usual[1]) > max(tolerance, norm_slack) * abs(usual[0]):
        fail(f"average_gradient_norm is {usual[1]} instead of {usual[0]}")
    states = sorted(one["optimizer"])
    if states != sorted(other["optimizer"]) or not states or len(one["parameters"]) < 20:
        fail("other tensors")
    for group in ("parameters", *(f"optimizer/{state}" for state in states)):
        if set(one[group]) != set(other[group]):
            fail(f"other tensors in /{group}")
        for name, data in one[group].items():
            a, b = data[...], other[group][name][...]
            same = a.tobytes() == b.tobytes() if tolerance == 0 else np.abs(a - b).max() <= tolerance * np.abs(a).max()
            if not same:
                fail(f"/{group}/{name} differs by {np.abs(a - b).max()}")


def table(folder, name):
    return np.atleast_1d(np.genfromtxt(f"{folder}/{name}", delimiter=",", names=True))


def compare_tables(reference, folder, steps, tolerance):
    rows = table(folder, "metrics.csv")
    if list(rows["step"]) != list(range(1, steps + 1)):
        fail(f"the steps of metrics.csv are not 1 .. {steps}: {rows['step']}")
    for name, number in (("metrics.csv", "loss"), ("evaluations.csv", "loss"), ("attention.csv", "sketched_share")):
        if not os.path.exists(f"{reference}/{name}"):  # a run of an earlier version
            continue
        expected, rows = table(reference, name), table(folder, name)
        expected, rows = expected[expected["step"] <= steps], rows[rows["step"] <= steps]
        if list(expected["step"]) != list(rows["step"]):
            fail(f"{name} has steps {rows['step']} instead of {expected['step']}")
        if not np.all(np.abs(expected[number] - rows[number]) <= tolerance * np.abs(expected[number])):
            fail(f"{number} of {name} differs by {np.abs(expected[number] - rows[number]).max()}")
    with h5py.File(f"{folder}/metrics.h5") as file:
        for group, name in (("steps", "metrics.csv"), ("evaluations", "evaluations.csv"), ("attention", "attention.csv")):
            rows = table(folder, name)
            for column in rows.dtype.names:
                if not np.array_equal(file[group][column][...], rows[column], equal_nan=True):
                    fail(f"metrics.h5 and {name} differ in {column}")


def main():
    reference, folder, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    tolerance, norm_slack = (float(sys.argv[place]) if len(sys.argv) > place else 0.0 for place in (4, 5))
    checkpoint = f"checkpoints/step-{steps:08d}.h5"
    with h5py.File(f"{reference}/{checkpoint}") as one, h5py.File(f"{folder}/{checkpoint}") as other:
        compare_checkpoints(one, other, tolerance, norm_slack)
    compare_tables(reference, folder, steps, tolerance)
    left = [name for place in (folder, f"{folder}/checkpoints") for name in os.listdir(place) if name.endswith(".tmp")]
    if left:
        fail(f"half-written: {left}")


main()
