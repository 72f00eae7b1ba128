#!/usr/bin/python3
"""Checks gradients from outside, with nothing but checkpoints: STEP0.h5 STEP1.h5 TOKENS.h5.

TOKENS.h5 is one sequence, on which one step was made without clipping: /optimizer/m is then (1 - beta1) times the
gradient. It is compared with central differences of the float64 loss of numpy_reference.py, for the largest entry
and another one of every tensor.
"""
import sys

import h5py
import numpy as np

import numpy_reference as reference

STEP = 1e-5
TOLERANCE = 1e-4  # of the largest entry of the tensor; float32 costs less than a tenth of it


def difference_quotient(loss, values, index):
    saved = values[index]
    values[index] = saved + STEP
    above = loss()
    values[index] = saved - STEP
    below = loss()
    values[index] = saved
    return (above - below) / (2 * STEP)


def check_tensor(name, loss, values, gradient, random):
    """Lines about wrong entries."""
    order = np.argsort(np.abs(gradient), axis=None)
    chosen = {int(order[-1]), int(random.integers(gradient.size))}
    size = np.abs(gradient).max()
    if size == 0:
        return [f"{name}: the gradient is zero"]
    failures = []
    for flat in sorted(chosen):
        index = np.unravel_index(flat, gradient.shape)
        quotient = difference_quotient(loss, values, index)
        if not abs(quotient - gradient[index]) <= TOLERANCE * size:
            failures.append(f"{name}{list(map(int, index))}: gradient {gradient[index]:.6e}, difference {quotient:.6e}")
    return failures


def main():
    before, after, tokens = sys.argv[1:]
    with h5py.File(before, "r") as file, h5py.File(after, "r") as next_file:
        config = reference.check_checkpoint(file)[0]
        parameters = {name: data[...].astype(np.float64) for name, data in file["parameters"].items()}
        beta1 = next_file["config"].attrs["train.beta1"]
        gradients = {name: data[...].astype(np.float64) / (1 - beta1)
                     for name, data in next_file["optimizer/m"].items()}
    T, V = int(config["model.context_length"]), int(config["model.vocab_size"])
    inputs, targets, sequences = reference.read_sequences(tokens, T, V, None)
    assert sequences == 1, "the token file must be one sequence"
    assert set(gradients) == set(filter(reference.is_trained, parameters)), "tensors with and without gradients"

    def loss():
        return reference.token_losses(config, parameters, inputs[0], targets[0]).mean()

    random = np.random.default_rng(5)
    failures = [line for name in sorted(gradients)
                for line in check_tensor(name, loss, parameters[name], gradients[name], random)]
    print("\n".join("FAILED " + line for line in failures) or f"{len(gradients)} tensors are right")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
