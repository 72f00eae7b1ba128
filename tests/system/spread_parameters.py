#!/usr/bin/python3
"""Replaces the trained parameters of a checkpoint, in place, by random numbers of the size that training ends with.

Freshly drawn weights are so small that attention hardly matters for the loss, and errors in it would not be seen.
What is drawn once and not trained stays.
"""
import sys

import h5py
import numpy as np

import numpy_reference as reference

with h5py.File(sys.argv[1], "r+") as file:
    config, failures = reference.check_checkpoint(file)
    if failures:
        sys.exit("\n".join(failures))
    for name, value in reference.small_parameters(config, np.random.default_rng(3)).items():
        if reference.is_trained(name):
            file["parameters"][name][...] = value
            file["parameters"][name].attrs.pop("xxh3", None)  # the digest of what stood there
