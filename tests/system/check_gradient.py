#!/usr/bin/python3
"""Checks gradients from outside, with nothing but checkpoints: STEP0.h5 STEP1.h5 TOKENS.h5.

TOKENS.h5 is one sequence, on which one step was made without clipping: /optimizer/m is then (1 - beta1) times the
gradient. It is compared with central differences of what training minimises, by numpy_reference.py in float64, for the
largest entry and another one of every tensor. How close they must be is measured: differences at parameters that were
moved by one unit of float32, relative to the largest entry of their tensor, the worst of all tensors and several draws.
"""
import sys

import h5py
import numpy as np

import numpy_reference as reference

STEP = 1e-5


def difference_quotient(loss, values, index):
    saved = values[index]
    values[index] = saved + STEP
    above = loss()
    values[index] = saved - STEP
    below = loss()
    values[index] = saved
    return (above - below) / (2 * STEP)


def chosen_entries(gradient, random):
    """The place of the largest, and of another one."""
    flat = {int(np.abs(gradient).argmax()), int(random.integers(gradient.size))}
    return [np.unravel_index(place, gradient.shape) for place in sorted(flat)]


def quotients(losses_of, parameters, entries):
    """For each tensor the difference quotients at its entries."""
    return {name: np.array([difference_quotient(lambda: losses_of(parameters).mean(), parameters[name], index)
                            for index in places])
            for name, places in entries.items()}


def check_tensor(name, places, gradient, expected, tolerance):
    """Lines about wrong entries."""
    size = np.abs(gradient).max()
    if size == 0:
        return [f"{name}: the gradient is zero"]
    return [f"{name}{list(map(int, index))}: gradient {gradient[index]:.6e}, difference {quotient:.6e}"
            for index, quotient in zip(places, expected) if not abs(quotient - gradient[index]) <= tolerance * size]


def main():
    before, after, tokens = sys.argv[1:]
    with h5py.File(before, "r") as file, h5py.File(after, "r") as next_file:
        config = reference.check_checkpoint(file)[0]
        parameters = {name: data[...].astype(np.float64) for name, data in file["parameters"].items()}
        beta1 = next_file["config"].attrs["train.beta1"]
        gradients = {name: data[...].astype(np.float64) / (1 - beta1)
                     for name, data in next_file["optimizer/m"].items()}
    inputs, targets, documents, sequences = reference.read_sequences(tokens, config, None)
    assert sequences == 1, "the token file must be one sequence"
    assert set(gradients) == set(filter(reference.is_trained, parameters)), "tensors with and without gradients"

    def losses_of(values):
        return reference.token_objectives(config, values, inputs[0], targets[0], documents[0])

    random = np.random.default_rng(5)
    entries = {name: chosen_entries(gradient, random) for name, gradient in sorted(gradients.items())}
    expected = quotients(losses_of, parameters, entries)
    movement = np.finfo(np.float32).eps
    for _ in range(reference.ROUNDING_DRAWS):
        moved = quotients(losses_of, reference.moved_parameters(parameters, random), entries)
        movement = max(movement, *(np.abs(moved[name] - expected[name]).max() / np.abs(gradients[name]).max()
                                   for name in entries if gradients[name].any()))
    tolerance = reference.ROUNDING_FACTOR * movement
    failures = [line for name in entries
                for line in check_tensor(name, entries[name], gradients[name], expected[name], tolerance)]
    print("\n".join("FAILED " + line for line in failures) or f"{len(gradients)} tensors are right to {tolerance:.1e}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
