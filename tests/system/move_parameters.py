#!/usr/bin/python3
"""Moves every parameter of a checkpoint, in place, by one unit in the last place, up or down at random: CHECKPOINT.h5 DRAW.

How far the losses of a run that continues from it differ shows what rounding is worth (tests/harness/rounding.h).
"""
import sys

import h5py
import numpy as np

import numpy_reference as reference

with h5py.File(sys.argv[1], "r+") as file:
    parameters = {name: data[...].astype(np.float64) for name, data in file["parameters"].items()}
    for name, value in reference.moved_parameters(parameters, np.random.default_rng(int(sys.argv[2]))).items():
        file["parameters"][name][...] = value
        file["parameters"][name].attrs.pop("xxh3", None)  # the digest of what stood there
