#!/usr/bin/python3
"""Made sources seen from outside: what is asked, and how a checkpoint answers, in plain Python and NumPy.

Reads the inputs, targets and losses that `polysketch eval --per_token_loss` wrote, finds the answers in the inputs by the
definitions of docs/format.md, and computes losses and accuracy with the NumPy model. Prints `numpy accuracy A sequences S`;
what does not agree ends with a message.
"""
import re
import sys

import h5py
import numpy as np

from numpy_reference import logits, plain, rounding_tolerance, token_losses


def copying(x, items, alphabet):
    blank, separator, answers = alphabet, alphabet + 1, len(x) - items
    assert (x[answers:] == separator).all()
    return dict(enumerate(x[:answers][x[:answers] != blank], answers))


def induction(x, _, alphabet):
    first, last = np.flatnonzero(x == alphabet)
    assert last == len(x) - 1
    return {last: x[first + 1]}


def recall(x, items, _):
    pairs = dict(x[:2 * items].reshape(items, 2).tolist())
    assert len(pairs) == items
    return {t: pairs[x[t]] for t in range(2 * items, len(x)) if x[t] in pairs}


def needle(x, *_):
    text = bytes(x.astype(np.uint8)).decode("ascii")
    word, digits = re.search(r"\nThe magic number of (\w+) is (\d{7})\.\n", text).groups()
    assert text.endswith(f"\nThe magic number of {word} is {digits[:6]}")
    return {len(x) - 7 + i: ord(digit) for i, digit in enumerate(digits)}


def main(checkpoint, losses_path, source, items, alphabet):
    with h5py.File(checkpoint) as file:
        config = {name: plain(value) for name, value in file["config"].attrs.items()}
        parameters = {name: data[...].astype(np.float64) for name, data in file["parameters"].items()}
    with h5py.File(losses_path) as file:
        inputs, targets, losses = (file[name][...] for name in ("inputs", "targets", "per_token_loss"))
    for x, y in zip(inputs, targets):
        answers = globals()[source](x, int(items), int(alphabet))
        expected = np.full(len(x), -1)
        expected[list(answers)] = list(answers.values())
        assert np.array_equal(expected, y), f"{source}: asked {y[y >= 0]}, expected {answers}"

    asked = targets >= 0

    def losses_of(values):
        all_losses = np.array([token_losses(config, values, x, y) for x, y in zip(inputs, targets)])
        return np.where(asked, all_losses, np.nan)

    difference, allowed = np.nanmax(np.abs(losses_of(parameters) - losses)), rounding_tolerance(losses_of, parameters)
    assert np.array_equal(np.isnan(losses), ~asked), "losses where nothing is asked"
    assert difference <= allowed, f"losses differ by {difference}, {allowed} is allowed"
    right = np.array([logits(config, parameters, x).argmax(axis=1) for x in inputs]) == targets
    print(f"numpy accuracy {right[asked].mean():.6g} sequences {(right | ~asked).all(axis=1).mean():.6g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
