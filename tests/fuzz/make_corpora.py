#!/usr/bin/python3
"""The inputs that fuzzing starts from: SEEDS (of build/asan/tests/make_seeds) CORPORA, a folder for each fuzzer."""
import json
import os
import shutil
import sys

import h5py
import numpy as np

ARGUMENTS = (
    ["--model.layers=3", "--attention.kind=performer", "run.ini", "--output.folder", "a b"],
    ["--attention.scale=auto", "--output.checkpoint_at_start", "--train.learning_rate=1e-3", "--train.stretch_length=64"],
    ["--data.train=x;y#z", "--parallel.data_ranks=2", "--parallel.scan=chain", "--train.recompute=layer"],
)


def options(folder):
    for name in ("configs/default.ini", "configs/gpt2-small.ini", "tests/data/tiny.ini"):
        with open(name, encoding="utf-8") as file:
            write(folder, os.path.basename(name), "0" + file.read())
    for number, arguments in enumerate(ARGUMENTS):
        write(folder, f"arguments-{number}", "1" + "\n".join(arguments))


def write(folder, name, text):
    with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
        file.write(text)


def in_oldest_form(source, target):
    """The same content in the first form of HDF5, whose structures have no checksums that stop damage early."""
    with h5py.File(source) as old, h5py.File(target, "w", libver="earliest") as new:
        new.attrs.update(old.attrs)
        for name in old:
            old.copy(name, new)


def foreign_tokens(folder, name, pieces):
    """Without elements of variable length: the library's ways with damaged ones would be all that is seen."""
    with h5py.File(f"{folder}/{name}.h5", "w", libver="earliest") as file:
        file.attrs.update(format=np.bytes_("polysketch-tokens"), format_version=1, tokenizer=np.bytes_("mine"), vocab_size=4)
        file.create_dataset("tokens", data=np.arange(200, dtype=np.uint16) % 4, chunks=(64,), compression=1)
        if pieces is not None:
            file["pieces"] = pieces


def hostile_checkpoint(seeds, folder, name, change):
    """Sound HDF5, but no reader must follow it to the end."""
    path = f"{folder}/{name}.h5"
    shutil.copy(f"{seeds}/checkpoint.h5", path)
    with h5py.File(path, "r+") as file:
        change(file)


def endless_tensor(file):
    bias = file["parameters"].create_dataset("endless", (1 << 40,), np.float32, chunks=(1 << 16,))
    bias.attrs["xxh3"] = np.bytes_("0" * 16)


def group_in_itself(file):
    file["optimizer/m/again"] = file["optimizer"]


def weights(folder):
    """Safetensors of one tensor, of two, and of none."""
    for number, shapes in enumerate((((2, 3),), ((2,), (1, 2, 2)), ())):
        header, place = {"__metadata__": {"format": "pt"}}, 0
        for shape in shapes:
            end = place + 4 * int(np.prod(shape))
            header[f"x{place}"] = {"dtype": "F32", "shape": shape, "data_offsets": [place, end]}
            place = end
        text = json.dumps(header).encode()
        with open(f"{folder}/weights-{number}", "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text + bytes(place))


def tokenizers(folder):
    """The one of the tests, and a small one with what that has not."""
    shutil.copy("tests/data/tokenizer.json", f"{folder}/kept")
    steps = [{"type": "Digits", "individual_digits": True},
             {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": True},
             {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}]
    small = {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "NFKC"}]},
             "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
             "added_tokens": [{"id": 5, "content": "<x>", "lstrip": True, "rstrip": True, "normalized": True}],
             "model": {"type": "BPE", "unk_token": "?", "fuse_unk": True, "ignore_merges": True,
                       "vocab": {"a": 0, "b": 1, "ab": 2, "?": 3, "aba": 4}, "merges": [["a", "b"], "ab a"]}}
    write(folder, "small", json.dumps(small))


def main():
    seeds, corpora = sys.argv[1:]
    for name in ("options", "token_file", "checkpoint", "weights", "tokenizer"):
        os.makedirs(f"{corpora}/{name}", exist_ok=True)
    options(f"{corpora}/options")
    weights(f"{corpora}/weights")
    tokenizers(f"{corpora}/tokenizer")
    for kind, folder in (("tokens", "token_file"), ("checkpoint", "checkpoint")):
        shutil.copy(f"{seeds}/{kind}.h5", f"{corpora}/{folder}/ours.h5")
        in_oldest_form(f"{seeds}/{kind}.h5", f"{corpora}/{folder}/oldest.h5")
    hostile_checkpoint(seeds, f"{corpora}/checkpoint", "endless", endless_tensor)
    hostile_checkpoint(seeds, f"{corpora}/checkpoint", "cycle", group_in_itself)
    foreign_tokens(f"{corpora}/token_file", "plain", None)
    foreign_tokens(f"{corpora}/token_file", "strings", np.array(["a", "", "bc", "\n"], "S2"))


if __name__ == "__main__":
    main()
