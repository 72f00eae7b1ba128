#!/usr/bin/python3
"""What polysketch export and import wrote, read with NumPy and the json module alone.

check_weights.py folder FOLDER CHECKPOINT.h5    the files of the folder hold the checkpoint, number by number
check_weights.py same CHECKPOINT.h5 OTHER.h5    the other holds the same model, at the same step or the one that follows
check_weights.py near CHECKPOINT.h5 OTHER.h5    the other has its numbers as bfloat16
check_weights.py damage FOLDER OTHER NAME       a copy of the folder with one thing wrong
"""
import json
import pathlib
import shutil
import sys

import h5py
import numpy as np

import numpy_reference as reference

# Options of the model that have a name of their own in config.json; others are section_key.
KEYS = {"model.layers": "num_hidden_layers", "model.width": "hidden_size", "model.heads": "num_attention_heads",
        "model.vocab_size": "vocab_size", "model.context_length": "max_position_embeddings",
        "model.feedforward": "feedforward", "model.feedforward_width": "intermediate_size", "model.dropout": "dropout",
        "model.rotary_share": "rotary_share", "model.logit_soft_cap": "final_logit_softcapping",
        "train.document_mask": "document_mask"}
TRUTH_VALUES = ("train.document_mask", "attention.qk_norm")


def read_safetensors(path):
    """(header, {name: array}) of a file, of which every byte must belong to one tensor."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0, "numbers do not begin at a multiple of 8 bytes"
    header = json.loads(data[8:8 + length])
    tensors, end = {}, 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        begin, end_before, end = tensor["data_offsets"][0], end, tensor["data_offsets"][1]
        assert begin == end_before and tensor["dtype"] == "F32", name
        tensors[name] = np.frombuffer(data[8 + length + begin:8 + length + end], "<f4").reshape(tensor["shape"])
    assert 8 + length + end == len(data), "bytes that belong to no tensor"
    return header, tensors


def write_safetensors(path, header, tensors):
    """Offsets anew, whatever the header has; types and shapes stay."""
    place = 0
    for name, values in tensors.items():
        header[name] = header.get(name, {"dtype": "F32", "shape": list(values.shape)})
        header[name]["data_offsets"] = [place, place + values.nbytes]
        place += values.nbytes
    text = json.dumps({name: header[name] for name in ["__metadata__", *tensors]}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(values.tobytes() for values in tensors.values()))


def model_options(file):
    """Those of a checkpoint that are the model's, as Python values."""
    options = {name: reference.plain(value) for name, value in file["config"].attrs.items()}
    return {name: value for name, value in options.items() if name.startswith("attention.") or name in KEYS}


def pieces_of(file):
    if "ends" not in file["tokenizer"]:
        return None
    text, ends = file["tokenizer/bytes"][...].tobytes(), file["tokenizer/ends"][...]
    return [text[start:end] for start, end in zip([0, *ends[:-1]], ends)]


def check_folder(folder, checkpoint):
    folder = pathlib.Path(folder)
    header, tensors = read_safetensors(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    with h5py.File(checkpoint) as file:
        assert header["__metadata__"]["format"] == "pt"
        assert header["__metadata__"]["polysketch_step"] == str(file.attrs["step"])
        assert sorted(tensors) == sorted(file["parameters"])
        for name, data in file["parameters"].items():
            assert tensors[name].shape == data.shape and tensors[name].tobytes() == data[...].tobytes(), name
        for name, value in model_options(file).items():
            value = bool(value) if name in TRUTH_VALUES else value
            assert config[KEYS.get(name, name.replace(".", "_"))] == value, name
        pieces = pieces_of(file)
        if pieces is None:
            assert not (folder / "pieces.json").exists()
            return
        table = json.loads((folder / "pieces.json").read_text())
        assert [piece.encode("latin-1") for piece in table["pieces"]] == pieces
        assert table["name"] == reference.plain(file["tokenizer"].attrs["name"])
        assert table.get("end_of_document") == config.get("eos_token_id")


def check_same(one, other, step=None):
    with h5py.File(one) as one, h5py.File(other) as other:
        assert reference.check_checkpoint(other)[1] == ["/optimizer/m: no such group", "/optimizer/v: no such group"]
        assert other.attrs["step"] == (one.attrs["step"] if step is None else int(step))
        assert model_options(one) == model_options(other)
        assert pieces_of(one) == pieces_of(other) and one["tokenizer"].attrs["name"] == other["tokenizer"].attrs["name"]
        for name, data in one["parameters"].items():
            assert data[...].tobytes() == other["parameters"][name][...].tobytes(), name


def check_near(one, other):
    with h5py.File(one) as one, h5py.File(other) as other:
        for name, data in one["parameters"].items():
            values, halves = data[...], other["parameters"][name][...]
            assert np.all(np.abs(halves - values) <= np.abs(values) * 2.0 ** -8), name
            assert not np.any(halves.view(np.uint32) & 0xFFFF), name


def damage(folder, other, what):
    """`what` names a tensor as missing, surplus, shape, type, or a file as cut."""
    folder, other = pathlib.Path(folder), pathlib.Path(other)
    shutil.copytree(folder, other)
    path, name = other / "model.safetensors", "layers.1.attention.out.weight"
    header, tensors = read_safetensors(path)
    if what == "cut":
        path.write_bytes(path.read_bytes()[:-4])
    elif what == "missing":
        del tensors[name]
    elif what == "surplus":
        tensors["lm_head.weight"] = tensors[name]
    elif what == "shape":
        header[name]["shape"] = header[name]["shape"] + [1]
    elif what == "type":
        header[name]["dtype"] = "I32"
    elif what == "infinite":
        tensors[name] = np.where(tensors[name] == tensors[name].max(), np.float32(np.inf), tensors[name])
    if what != "cut":
        write_safetensors(path, header, tensors)


if __name__ == "__main__":
    {"folder": check_folder, "same": check_same, "near": check_near, "damage": damage}[sys.argv[1]](*sys.argv[2:])
