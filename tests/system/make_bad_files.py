#!/usr/bin/python3
"""Makes files that the program must refuse: GOOD_TOKENS.h5 GOOD_CHECKPOINT.h5 FOLDER."""
import os
import shutil
import sys

import h5py
import numpy as np


def token_file(path, tokens, vocab_size=256, **attributes):
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "polysketch-tokens", "format_version": 1, "tokenizer": "mine",
                           "vocab_size": vocab_size} | attributes)
        file["tokens"] = tokens


def broken_copies(source, folder, kind):
    """The ends of an interrupted copy."""
    with open(source, "rb") as file:
        content = file.read()
    with open(f"{folder}/truncated-{kind}.h5", "wb") as file:
        file.write(content[:len(content) // 2])


def spoilt_checkpoint(source, path, spoil):
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        spoil(file)


def without_a_tensor(file):
    del file["parameters/layers.1.attention.out.weight"]


def with_nan(file):
    file["parameters/final_norm.weight"][3] = np.nan


def with_one_more(file):
    file["parameters/layers.2.attention.out.weight"] = np.zeros((32, 32), np.float32)


def with_another_shape(file):
    del file["parameters/logit_bias"]
    file["parameters/logit_bias"] = np.zeros(7, np.float32)


def from_the_future(file):
    file.attrs["format_version"] = 99


def main():
    tokens, checkpoint, folder = sys.argv[1:]
    os.makedirs(folder)
    text = np.tile(np.arange(90, dtype=np.uint16), 30)
    token_file(f"{folder}/high-id.h5", np.where(text == 60, 300, text))
    token_file(f"{folder}/large-vocabulary.h5", text, vocab_size=1000)
    token_file(f"{folder}/short.h5", text[:64])
    token_file(f"{folder}/single.h5", text[:1])
    token_file(f"{folder}/real-numbers.h5", text.astype(np.float32))
    token_file(f"{folder}/other-tokenizer.h5", text.astype(np.uint8))
    token_file(f"{folder}/square.h5", text.reshape(30, 90))
    token_file(f"{folder}/future.h5", text, format_version=99)
    with h5py.File(f"{folder}/foreign.h5", "w") as file:
        file["x"] = np.arange(10)
    with open(f"{folder}/empty.h5", "wb"), open(f"{folder}/text.h5", "w", encoding="utf-8") as file:
        file.write("not a file of HDF5\n" * 100)
    broken_copies(tokens, folder, "tokens")
    broken_copies(checkpoint, folder, "checkpoint")
    for spoil in (without_a_tensor, with_nan, with_one_more, with_another_shape, from_the_future):
        spoilt_checkpoint(checkpoint, f"{folder}/{spoil.__name__}.h5", spoil)


if __name__ == "__main__":
    main()
