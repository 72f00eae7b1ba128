#!/usr/bin/python3
"""The model once more in plain NumPy: an oracle for the losses, and a check of the checkpoint format.

Written from the formulae and formats of docs/format.md alone, in float64, with explicit T x T weights for every kind
of attention: slow and without any algorithm. Prints `numpy loss <mean>`; every failed check is a line and exit code 1.
Letters: T context length, C width, H heads, h = C/H, F feed-forward width, V vocabulary, b block length,
r sketch size, p degree, m features of the performer.
"""
import argparse
import itertools
import re
import sys

import h5py
import numpy as np

ROOT_ATTRIBUTES = "format format_version step tokens_seen created source_version".split()
NUMBERS = """model.layers model.width model.heads model.context_length model.feedforward_width model.dropout
    model.vocab_size model.logit_soft_cap model.rotary_share attention.degree attention.scale
    attention.denominator_one attention.block_length
    attention.sketch_size attention.sketch_levels attention.sketch_expansion attention.features
    attention.window_blocks attention.far_scale
    train.steps train.batch_sequences train.micro_batch_sequences train.z_loss train.label_smoothing
    train.learning_rate train.min_learning_rate train.warmup_steps train.decay_share train.weight_decay
    train.beta1 train.beta2 train.epsilon train.muon_learning_rate train.muon_momentum train.clip_norm train.seed
    parallel.data_ranks output.checkpoint_every""".split()
TEXTS = "attention.pattern parallel.scan data.train data.validation output.folder".split()
KINDS, SKETCHES = ("softmax", "polynomial", "polysketch", "performer"), ("random", "learned", "projection")
CHOICES = {"model.feedforward": ("glu", "gelu"), "train.schedule": ("cosine", "linear", "constant", "wsd"),
           "train.optimizer": ("adamw", "muon"), "attention.kind": KINDS,
           "attention.sketch": SKETCHES, "attention.local": ("exact", "window", "sketch"),
           "attention.local_weight": ("power", "exp"), "attention.gate": ("none", "constant", "data"),
           "attention.qk_norm": (0, 1, "true", "false"), "train.document_mask": (0, 1, "true", "false"),
           "output.checkpoint_at_start": (0, 1, "true", "false")}
# What a checkpoint without these options means.
ABSENT = {"attention.pattern": "", "attention.sketch_levels": 2, "attention.sketch_expansion": 8,
          "attention.window_blocks": 1, "attention.local_weight": "power",
          "attention.far_scale": 0.0, "attention.gate": "none", "attention.qk_norm": 0,
          "model.logit_soft_cap": 0, "model.rotary_share": 1, "train.document_mask": 0, "train.z_loss": 0,
          "train.label_smoothing": 0, "train.optimizer": "adamw", "train.decay_share": 0.2,
          "train.muon_learning_rate": 0.02, "train.muon_momentum": 0.95}
# What an entry of attention.pattern says about its layers.
PATTERN_ENTRIES = {kind: {"kind": kind} for kind in KINDS}
PATTERN_ENTRIES |= {f"polysketch:{sketch}": {"kind": "polysketch", "sketch": sketch}
                    for sketch in SKETCHES}
# The tensors of a layer that Muon updates.
MUON_TENSORS = ("attention.qkv.weight", "attention.out.weight",
                "feedforward.in.weight", "feedforward.out.weight")


def attention_specs(config):
    """For each layer its attention options, {"kind": ..., "degree": ..., ...}.

    They are those of the model; kind and sketch are the layer's own where there is a pattern.
    """
    layers = int(config["model.layers"])
    common = {name.removeprefix("attention."): value for name, value in config.items()
              if name.startswith("attention.")}
    pattern = common.pop("pattern", "")
    if not pattern:
        return [common] * layers
    specs = []
    for entry in pattern.split(","):
        name, star, count = entry.partition("*")
        if name not in PATTERN_ENTRIES or star and not re.fullmatch("[1-9][0-9]*", count):
            raise ValueError(f"attention.pattern: {entry!r} is not KIND or KIND*N")
        specs += [common | PATTERN_ENTRIES[name]] * int(count or 1)
    if len(specs) != layers:
        raise ValueError(f"attention.pattern has {len(specs)} layers, model.layers is {layers}")
    return specs


# ---- the model ----

def layer_norm(x, P, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred ** 2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + 1e-5) * P[name + ".weight"] + P[name + ".bias"]


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))


def rotary(x, share=1):
    T, h = x.shape
    turned = np.arange(h // 2) < np.floor(share * (h // 2) + 0.5)
    angle = np.arange(T)[:, None] * turned * 10000.0 ** (-2 * np.arange(h // 2) / h)
    a, b = x[:, :h // 2], x[:, h // 2:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], axis=1)


def random_sketch(x, P, degree, name="attention.sketch.random"):
    """PolySketchWithNegativity: <sketch(x), sketch(y)> is about <x, y>^degree.

    For degree 1, which is p = 2, x is its own sketch, of size h.
    """
    if degree == 1:
        return x
    M1 = M2 = x
    if degree > 2:
        M1 = random_sketch(x, P, degree // 2, name + ".left")
        M2 = random_sketch(x, P, degree // 2, name + ".right")
    G1, G2 = P[name + ".g1"], P[name + ".g2"]
    return np.sqrt(1 / G1.shape[1]) * (M1 @ G1) * (M2 @ G2)


def learned_sketch(x, P, levels):
    y = [x, x]
    for J, K in itertools.product((1, 2), range(1, levels + 1)):
        level = f"attention.sketch.learned.branch{J}.level{K}"
        z = layer_norm(y[J - 1], P, level + ".norm")
        y[J - 1] = gelu_tanh(z @ P[level + ".in.weight"].T) @ P[level + ".out.weight"].T
    root = np.sqrt(y[0].shape[1])
    return root * np.tanh(y[0] * y[1] / root)


def projection_sketch(x, P, side, head):
    """side is "query" or "key"; each head has a matrix of its own, the norm is that of the layer."""
    name = "attention.sketch.projection." + side
    W = P[name + ".weight"][head]
    return layer_norm(x @ W.T, P, name + "_norm") / len(W) ** 0.25


def performer_features(x, W):
    m, h = W.shape
    z = x / h ** 0.25
    return np.exp(z @ W.T - (z ** 2).sum(axis=1, keepdims=True) / 2) / np.sqrt(m)


def packed_features(u):
    """The r(r+1)/2 different features of u (x) u; sqrt(2) off the diagonal."""
    i, j = np.triu_indices(u.shape[1])
    return u[:, i] * u[:, j] * np.where(i == j, 1, np.sqrt(2))


def gate_sums(spec, P, x):
    """G (T, H): sums of the gates of all tokens up to each; the normed input x is (T, C)."""
    z = P["attention.gate.bias"] + np.zeros((len(x), 1))
    if spec["gate"] == "data":
        z = z + x @ P["attention.gate.weight"].T
    return np.cumsum(-np.logaddexp(0, -z), axis=0)


def near_and_far(spec, near, far, score, one, visible):
    """(w, one): where `near`, powers or exponentials of the scores; else the weights `far`.

    Exponentials, and all that stands beside them, are divided by the largest of a row.
    """
    if spec["local_weight"] == "power":
        return np.where(near, score ** int(spec["degree"]), far), one
    visible = near & visible
    largest = np.maximum(np.where(visible, score, -np.inf).max(axis=1, keepdims=True), 0)
    return np.where(near, np.exp(np.where(visible, score - largest, 0)), far * np.exp(-largest)), one * np.exp(-largest)


def exact_pairs(spec, T):
    """(T, T): which weights are computed from queries and keys, not from their features."""
    if spec["kind"] != "polysketch" or spec["local"] == "sketch":
        return np.full((T, T), spec["kind"] in ("softmax", "polynomial"))
    block = np.arange(T) // int(spec["block_length"])
    window = int(spec["window_blocks"]) if spec["local"] == "window" else 0
    return block[:, None] - block[None, :] <= window


def head_shares(spec, w, one, G, visible):
    """(T, 5) of a head: the exact and the sketched share of each row of weights, its gate, its mean distance and that of
    equal weights on what it sees."""
    shares = w / (one + w.sum(axis=1, keepdims=True))
    exact = np.where(exact_pairs(spec, len(w)), shares, 0).sum(axis=1)
    places = np.arange(len(w))
    distances = places[:, None] - places[None, :]
    means = [(rows * distances).sum(axis=1) / rows.sum(axis=1) for rows in (w, visible)]
    return np.stack((exact, shares.sum(axis=1) - exact, np.diff(G, prepend=0), *means), axis=1)


def visible_tokens(T, documents):
    """(T, T): which tokens j token i sees. `documents` (T): numbers of the documents that they are of, or None."""
    earlier = np.tri(T, dtype=bool)
    return earlier if documents is None else earlier & (documents[:, None] == documents[None, :])


def attention_weights(spec, P, q, k, head, decay, visible):
    """(w, one) of a head: T x T weights before the mask, and what the normaliser adds to their sum.

    `decay` (T, T) is added to the logits of softmax; others are multiplied by its exponential afterwards.
    """
    T, h = q.shape
    kind, p, scale, one = spec["kind"], int(spec["degree"]), spec["scale"], spec["denominator_one"]
    if kind == "softmax":
        score = np.where(visible, q @ k.T / np.sqrt(h) + decay, -np.inf)
        return np.exp(score - score.max(axis=1, keepdims=True)), 0.0
    if kind == "performer":
        W = P["attention.performer.projection"]
        return performer_features(q, W) @ performer_features(k, W).T, one
    if uses_query_and_key_norm(spec):
        qn, kn = layer_norm(q, P, "attention.query_norm"), layer_norm(k, P, "attention.key_norm")
    if kind == "polynomial":
        return (scale * qn @ kn.T) ** p, one
    if spec["sketch"] == "learned":
        uq, uk = (learned_sketch(x, P, int(spec["sketch_levels"])) for x in (q, k))
    elif spec["sketch"] == "projection":
        uq, uk = projection_sketch(q, P, "query", head), projection_sketch(k, P, "key", head)
    else:
        uq, uk = (random_sketch(np.sqrt(scale) * x, P, p // 2) for x in (qn, kn))
    w = (uq @ uk.T) ** 2
    if spec["far_scale"] > 0:
        w = w * np.exp(P["attention.far_scale"][head])
    if spec["local"] == "sketch":
        return w, one
    return near_and_far(spec, exact_pairs(spec, T), w, scale * qn @ kn.T, one, visible)


def queries_and_keys(spec, P, q, k, rotary_share):
    """q and k of one head as the weights want them."""
    if norms_before_rotary(spec):
        q, k = layer_norm(q, P, "attention.query_norm"), layer_norm(k, P, "attention.key_norm")
    return rotary(q, rotary_share), rotary(k, rotary_share)


def attention(config, spec, P, x, visible, shares=None):
    (T, C), heads = x.shape, int(config["model.heads"])
    h = C // heads
    q, k, v = np.split(x @ P["attention.qkv.weight"].T, 3, axis=1)
    G = np.zeros((T, heads)) if spec["gate"] == "none" else gate_sums(spec, P, x)
    outputs = []
    for j in range(heads):
        head = slice(j * h, (j + 1) * h)
        decay = np.where(visible, G[:, j, None] - G[None, :, j], 0)
        normed = queries_and_keys(spec, P, q[:, head], k[:, head], config["model.rotary_share"])
        w, one = attention_weights(spec, P, *normed, j, decay, visible)
        w = np.where(visible, w, 0) * (1 if spec["kind"] == "softmax" else np.exp(decay))
        if shares is not None:
            shares.append(head_shares(spec, w, one, G[:, j], visible))
        outputs.append(w @ v[:, head] / (one + w.sum(axis=1, keepdims=True)))
    return np.concatenate(outputs, axis=1) @ P["attention.out.weight"].T


def feedforward(config, P, x):
    z = x @ P["feedforward.in.weight"].T
    a, g = np.split(z, 2, axis=1) if config["model.feedforward"] == "glu" else (1, z)
    return (a * gelu_tanh(g)) @ P["feedforward.out.weight"].T


def soft_capped(z, cap):
    return cap * np.tanh(z / cap) if cap > 0 else z


def logits(config, parameters, inputs, documents=None, shares=None):
    """out (T, V) of one sequence, in `documents` (T) if given.

    To the list `shares`, if given, each head of each layer adds its head_shares().
    """
    x, visible = parameters["token_embedding.weight"][inputs], visible_tokens(len(inputs), documents)
    for I, spec in enumerate(attention_specs(config)):
        prefix = f"layers.{I}."
        P = {name[len(prefix):]: value for name, value in parameters.items() if name.startswith(prefix)}
        x = x + attention(config, spec, P, layer_norm(x, P, "attention_norm"), visible, shares)
        x = x + feedforward(config, P, layer_norm(x, P, "feedforward_norm"))
    out = layer_norm(x, parameters, "final_norm") @ parameters["token_embedding.weight"].T + parameters["logit_bias"]
    return soft_capped(out, config["model.logit_soft_cap"])


def log_sum_exp(out):
    largest = out.max(axis=1)
    return largest + np.log(np.exp(out - largest[:, None]).sum(axis=1))


def token_losses(config, parameters, inputs, targets, documents=None):
    """-log softmax(out)[target] at each of the T positions of one sequence."""
    out = logits(config, parameters, inputs, documents)
    return log_sum_exp(out) - out[np.arange(len(targets)), targets]


def token_objectives(config, parameters, inputs, targets, documents=None):
    """What training minimises the mean of, at each of the T positions of one sequence."""
    out, z, s = logits(config, parameters, inputs, documents), config["train.z_loss"], config["train.label_smoothing"]
    expected = (1 - s) * out[np.arange(len(targets)), targets] + s * out.mean(axis=1)
    return log_sum_exp(out) - expected + z * log_sum_exp(out) ** 2


# ---- the format of the files ----

def norms_before_rotary(spec):
    return spec["kind"] == "softmax" and spec["qk_norm"] in (1, "true")


def uses_query_and_key_norm(spec):
    kind, sketch, local = (spec[key] for key in ("kind", "sketch", "local"))
    return (kind == "polynomial" or norms_before_rotary(spec)
            or kind == "polysketch" and (local != "sketch" or sketch == "random"))


def random_sketch_shapes(name, degree, h, r):
    if degree == 1:
        return {}
    rows = h if degree == 2 else r
    shapes = {name + ".g1": (rows, r), name + ".g2": (rows, r)}
    for side in (".left", ".right") if degree > 2 else ():
        shapes.update(random_sketch_shapes(name + side, degree // 2, h, r))
    return shapes


def layer_shapes(config, spec):
    """The tensors of a layer with this attention: name within the layer -> shape."""
    C, H = int(config["model.width"]), int(config["model.heads"])
    p, r, m = (int(spec[key]) for key in ("degree", "sketch_size", "features"))
    h, kind, sketch = C // H, spec["kind"], spec["sketch"]
    glu = config["model.feedforward"] == "glu"
    F = int(config["model.feedforward_width"]) or (8 * C // 3 // 8 * 8 if glu else 4 * C)
    layer = {"attention.qkv.weight": (3 * C, C), "attention.out.weight": (C, C),
             "feedforward.in.weight": (2 * F if glu else F, C), "feedforward.out.weight": (C, F)}
    norms = {"attention_norm": C, "feedforward_norm": C}
    if uses_query_and_key_norm(spec):
        norms.update({"attention.query_norm": h, "attention.key_norm": h})
    if spec["gate"] != "none":
        layer["attention.gate.bias"] = (H,)
    if spec["gate"] == "data":
        layer["attention.gate.weight"] = (H, C)
    if kind == "polysketch" and spec["far_scale"] > 0:
        layer["attention.far_scale"] = (H,)
    if kind == "performer":
        layer["attention.performer.projection"] = (m, h)
    if kind == "polysketch" and sketch == "random":
        layer.update(random_sketch_shapes("attention.sketch.random", p // 2, h, r))
    if kind == "polysketch" and sketch == "learned":
        wide = int(spec["sketch_expansion"]) * r
        for J, K in itertools.product((1, 2), range(1, int(spec["sketch_levels"]) + 1)):
            level, width = f"attention.sketch.learned.branch{J}.level{K}", h if K == 1 else r
            norms[level + ".norm"] = width
            layer.update({level + ".in.weight": (wide, width), level + ".out.weight": (r, wide)})
    if kind == "polysketch" and sketch == "projection":
        for side in ("query", "key"):
            layer[f"attention.sketch.projection.{side}.weight"] = (H, r, h)
            norms[f"attention.sketch.projection.{side}_norm"] = r
    for name, width in norms.items():
        layer.update({name + ".weight": (width,), name + ".bias": (width,)})
    return layer


def parameter_shapes(config):
    """Every tensor this configuration has, and no other: name -> shape."""
    C, V = int(config["model.width"]), int(config["model.vocab_size"])
    shapes = {"token_embedding.weight": (V, C), "logit_bias": (V,), "final_norm.weight": (C,), "final_norm.bias": (C,)}
    for I, spec in enumerate(attention_specs(config)):
        shapes.update({f"layers.{I}.{name}": shape
                       for name, shape in layer_shapes(config, spec).items()})
    return shapes


def is_trained(name):
    return ".sketch.random." not in name and not name.endswith(".performer.projection")


def is_muon(config, name):
    """Whether the tensor is updated by Muon."""
    in_layer = name.split(".", 2)[2] if name.startswith("layers.") else ""
    return config["train.optimizer"] == "muon" and in_layer in MUON_TENSORS


def state_shapes(config):
    """What /optimizer holds: state -> {name: shape} of the tensors that have it."""
    trained = {name: shape for name, shape in parameter_shapes(config).items() if is_trained(name)}
    muon = {name: shape for name, shape in trained.items() if is_muon(config, name)}
    others = {name: shape for name, shape in trained.items() if name not in muon}
    return {"m": others, "v": others} | ({"momentum": muon} if muon else {})


def plain(value):
    """An attribute as a Python number, bool or str, whatever string type the file has; otherwise as it came."""
    if isinstance(value, h5py.Empty):
        return "" if value.dtype.kind in "SO" else None
    value = np.asarray(value).item() if np.size(value) == 1 else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def check_config(config):
    failures = []
    for name in NUMBERS + TEXTS + list(CHOICES):
        value = config.get(name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name not in config:
            failures.append(f"/config: no attribute {name}")
        elif not (number if name in NUMBERS else isinstance(value, str) if name in TEXTS else value in CHOICES[name]):
            expected = "a number" if name in NUMBERS else "a string" if name in TEXTS else CHOICES[name]
            failures.append(f"/config: {name} is {value!r}, expected {expected}")
    if not failures and config["model.width"] % (2 * config["model.heads"]):
        failures.append("/config: model.width / model.heads is not an even number")
    if not failures:
        try:
            random = any(spec["kind"] == "polysketch" and spec["sketch"] == "random"
                         for spec in attention_specs(config))
            if random and config["attention.degree"] not in (2, 4, 8):
                failures.append("/config: attention.degree of a random sketch is not 2, 4 or 8")
        except ValueError as error:
            failures.append(f"/config: {error}")
    return failures


def check_group(file, group, shapes, failures):
    if group not in file:
        failures.append(f"{group}: no such group")
        return
    for name in sorted(set(shapes) | set(file[group])):
        data = file[group].get(name)
        if data is None:
            failures.append(f"{group}/{name}: missing")
        elif name not in shapes:
            failures.append(f"{group}/{name}: surplus")
        elif not isinstance(data, h5py.Dataset) or data.dtype.kind != "f" or data.dtype.itemsize != 4:
            failures.append(f"{group}/{name}: not a float32 dataset")
        elif data.shape != shapes[name]:
            failures.append(f"{group}/{name}: shape {data.shape}, expected {shapes[name]}")


def check_checkpoint(file):
    """(config, failures) of an open checkpoint."""
    failures = [f"/: no attribute {name}" for name in ROOT_ATTRIBUTES if name not in file.attrs]
    if "format" in file.attrs and plain(file.attrs["format"]) != "polysketch-checkpoint":
        failures.append(f"/: format is {plain(file.attrs['format'])!r}, expected 'polysketch-checkpoint'")
    if "config" not in file:
        return {}, failures + ["/config: no such group"]
    config = ABSENT | {name: plain(value) for name, value in file["config"].attrs.items()}
    config_failures = check_config(config)
    if not config_failures:
        check_group(file, "/parameters", parameter_shapes(config), failures)
        states = state_shapes(config)
        for state, tensors in states.items():
            check_group(file, "/optimizer/" + state, tensors, failures)
        failures += [f"/optimizer/{state}: surplus" for state in file.get("optimizer", ())
                     if state not in states]
    return config, failures + config_failures


def cut_windows(tokens, T, stride):
    """inputs and targets, each (windows, T), so that each token but the first is once a target. Other targets are -1."""
    inputs, targets = [], []
    for start in range(0, max(1, len(tokens) - 1 - T + stride), stride):
        window = np.zeros(T + 1, np.int64)
        there = tokens[start:start + T + 1]
        window[:len(there)] = there
        place = np.arange(T)
        scored = (place + 1 < len(there)) & ((start == 0) | (place >= T - stride))
        inputs.append(window[:-1])
        targets.append(np.where(scored, window[1:], -1))
    return np.array(inputs), np.array(targets)


def document_numbers(file, tokens):
    """For each token of an open token file the number of its document."""
    if "documents" in file:
        return np.searchsorted(file["documents"][...], np.arange(len(tokens)), side="right")
    return np.concatenate(([0], np.cumsum(tokens[:-1] == file.attrs["end_of_document"])))


def read_sequences(path, config, count, T=None, stride=None):
    """inputs and targets as cut_windows() has them, of the first `count` windows, their documents (or a None for each of them)
    where the model heeds them, and how many windows the whole file has."""
    T, V = T or int(config["model.context_length"]), int(config["model.vocab_size"])
    with h5py.File(path, "r") as file:
        if plain(file.attrs.get("format", "")) != "polysketch-tokens":
            raise ValueError(f"{path}: format is not 'polysketch-tokens'")
        tokens = file["tokens"]
        if tokens.ndim != 1 or tokens.dtype not in (np.uint8, np.uint16, np.uint32):
            raise ValueError(f"{path}: /tokens is not one-dimensional uint8, uint16 or uint32")
        tokens = tokens[...].astype(np.int64)
        masked = config["train.document_mask"] in (1, "true")
        documents = document_numbers(file, tokens) if masked else None
    if len(tokens) < 2:
        raise ValueError(f"{path}: {len(tokens)} tokens")
    if tokens.max() >= V:
        raise ValueError(f"{path}: token {tokens.max()} outside a vocabulary of {V}")
    inputs, targets = cut_windows(tokens, T, stride or T)
    documents = [None] * len(inputs) if documents is None else cut_windows(documents, T, stride or T)[0]
    return inputs[:count], targets[:count], documents[:count], len(inputs)


ROUNDING_DRAWS, ROUNDING_FACTOR = 3, 8  # as in tests/harness/rounding.h


def moved_parameters(parameters, random):
    """Each number one unit of float32 up or down."""
    unit = np.finfo(np.float32).eps
    return {name: value * (1 + unit * random.choice((-1, 1), size=value.shape)) for name, value in parameters.items()}


def rounding_tolerance(losses_of, parameters):
    """What float32 explains of a difference from losses_of(parameters): several times what moving the parameters moves."""
    random = np.random.default_rng(7)
    losses = losses_of(parameters)
    movement = max(np.nanmax(np.abs(losses_of(moved_parameters(parameters, random)) - losses)) for _ in range(ROUNDING_DRAWS))
    return ROUNDING_FACTOR * max(movement, np.finfo(np.float32).eps * np.nanmax(np.abs(losses)))


def compare_losses(path, losses, total, tolerance):
    """The file may hold just the sequences computed here, or all sequences of the token file."""
    with h5py.File(path, "r") as file:
        data = file["per_token_loss"]
        if data.dtype != np.float32:
            return [f"{path}: /per_token_loss is {data.dtype}, expected float32"]
        if data.shape not in (losses.shape, (total, losses.shape[1])):
            return [f"{path}: /per_token_loss has shape {data.shape}, expected {losses.shape}"]
        data = data[:len(losses)]
    scored = ~np.isnan(losses)
    difference = np.abs(data - losses)[scored].max()
    print(f"max abs difference {difference:.3e} of {tolerance:.3e} allowed")
    ok = difference <= tolerance and np.isnan(data[~scored]).all()  # false for nan too
    return [] if ok else [f"{path}: per-token losses differ by {difference:.3e}, tolerance {tolerance:g}"]


def mean_shares(config, parameters, inputs, documents, scored):
    """(layers * heads, 5): means of head_shares() over the scored rows of all sequences."""
    rows = []
    for x, of, counts in zip(inputs, documents, scored):
        shares = []
        logits(config, parameters, x, of, shares)
        rows.append(np.array(shares)[:, counts])
    return np.concatenate(rows, axis=1).mean(axis=1)


def has_all_heads(table, count, heads):
    return list(zip(table["layer"], table["head"])) == [divmod(i, heads) for i in range(count)]


def compare_attention(path, step, shares, heads, tolerance):
    """The rows of a step in the table `attention` of a run folder."""
    table = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
    table = table[table["step"] == step]
    if not has_all_heads(table, len(shares), heads):
        return [f"{path}: step {step} has {len(table)} rows, expected {len(shares)}, one for each layer and head"]
    gates = np.where(np.isnan(table["gate_length"]), 0, -1 / table["gate_length"])
    rows = np.stack((table["exact_share"], table["sketched_share"], gates), axis=1)
    difference = np.abs(rows - shares).max()
    print(f"shares: max abs difference {difference:.3e} of {tolerance:.3e} allowed")
    return [] if difference <= tolerance else [f"{path}: shares differ by {difference:.3e}, tolerance {tolerance:g}"]


def compare_distances(path, means, heads, tokens, tolerance):
    """The table of `eval --attention_distance`. Which queries its buckets are of is not known here."""
    table = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
    buckets = np.stack([table[name] for name in table.dtype.names if name.startswith("from_")], axis=1)
    if not has_all_heads(table, len(means), heads) or (table["tokens"] != tokens).any():
        return [f"{path}: not a row of {tokens} tokens for each layer and head"]
    difference = np.abs(np.stack((table["mean_distance"], table["uniform_distance"]), axis=1) - means).max()
    print(f"distances: max abs difference {difference:.3e} of {tolerance:.3e} allowed")
    failures = [] if difference <= tolerance else [f"{path}: distances differ by {difference:.3e}, tolerance {tolerance:g}"]
    if not (buckets > -1e-5).all() or np.abs(buckets.sum(axis=1) - 1).max() > 1e-5:
        failures.append(f"{path}: buckets do not add up to 1: {buckets.sum(axis=1)}")
    return failures


def run(arguments):
    with h5py.File(arguments.checkpoint, "r") as file:
        config, failures = check_checkpoint(file)
        step = int(file.attrs.get("step", -1))
        if any(line.startswith(("/config", "/parameters")) for line in failures):
            return failures  # nothing to compute with
        parameters = {name: data[...].astype(np.float64) for name, data in file["parameters"].items()}
    if arguments.document_mask:
        config["train.document_mask"] = arguments.document_mask
    inputs, targets, documents, total = read_sequences(arguments.tokens, config, arguments.sequences,
                                                       arguments.context_length, arguments.stride)
    scored = targets >= 0

    def losses_of(values):
        losses = np.array([token_losses(config, values, *one) for one in zip(inputs, targets, documents)])
        return np.where(scored, losses, np.nan)

    losses = losses_of(parameters)
    print(f"numpy loss {losses[scored].mean():.9f} of {scored.sum()} tokens")
    if not np.isfinite(losses[scored]).all():
        failures.append("the loss is not finite")
    if arguments.per_token_loss:
        tolerance = rounding_tolerance(losses_of, parameters)
        failures += compare_losses(arguments.per_token_loss, losses, total, tolerance)
    heads = int(config["model.heads"])

    def shares_of(values):
        return mean_shares(config, values, inputs, documents, scored)[:, :3]

    def distances_of(values):
        return mean_shares(config, values, inputs, documents, scored)[:, 3:]

    if arguments.attention:
        failures += compare_attention(arguments.attention, step, shares_of(parameters), heads,
                                      rounding_tolerance(shares_of, parameters))
    if arguments.attention_distance:
        failures += compare_distances(arguments.attention_distance, distances_of(parameters), heads, scored.sum(),
                                      rounding_tolerance(distances_of, parameters))
    return failures


# ---- self test ----

def small_config(**attention_options):
    config = dict.fromkeys(NUMBERS, 0) | dict.fromkeys(TEXTS, "")
    config |= {name: values[0] for name, values in CHOICES.items()}
    config |= {"model.layers": 2, "model.width": 24, "model.heads": 3, "model.vocab_size": 11, "model.rotary_share": 1,
               "attention.degree": 4, "model.context_length": 13, "attention.scale": 8 ** -0.5, "attention.denominator_one": 1,
               "attention.block_length": 4, "attention.sketch_size": 6, "attention.sketch_levels": 2,
               "attention.sketch_expansion": 8, "attention.features": 16}
    return config | {"attention." + key: value for key, value in attention_options.items()}


def small_parameters(config, random):
    """All large enough to matter: norm weights about 1, the rest N(0, 1/columns)."""
    return {name: random.normal(size=shape) * (0.3 if len(shape) == 1 else shape[-1] ** -0.5)
            + (1 if "norm.weight" in name else 0) for name, shape in parameter_shapes(config).items()}


def small_checkpoint(config, parameters):
    file = h5py.File("self_test.h5", "w", driver="core", backing_store=False)
    file.attrs.update(dict.fromkeys(ROOT_ATTRIBUTES, 1) | {"format": b"polysketch-checkpoint"})
    file.create_group("config").attrs.update(config)
    for name, value in parameters.items():
        file["parameters/" + name] = value.astype(np.float32)
    for state, names in state_shapes(config).items():
        for name in names:
            file[f"optimizer/{state}/{name}"] = parameters[name].astype(np.float32)
    return file


def test_configuration(config, random):
    P = small_parameters(config, random)
    V, T = config["model.vocab_size"], config["model.context_length"]
    x, y = random.integers(V, size=T), random.integers(V, size=T)
    losses = token_losses(config, P, x, y)
    assert np.isfinite(losses).all()
    for t in (2, 6, T - 1):  # causality, and the later positions do see token t
        changed = x.copy()
        changed[t] = (x[t] + 1) % V
        difference = np.abs(token_losses(config, P, changed, y) - losses)
        assert difference[:t].max() < 1e-12 and difference[t:].min() > 1e-9, (config, t, difference)
        documents = np.arange(T) // 5  # which do not see each other
        before, after = (token_losses(config, P, tokens, y, documents) for tokens in (x, changed))
        sees = (documents == t // 5) & (np.arange(T) >= t)
        assert np.abs(after - before)[~sees].max() < 1e-12 and np.abs(after - before)[sees].min() > 1e-9, (config, t)
    if config["attention.kind"] == "polysketch" and not config["attention.pattern"]:
        exact_kernel = config["attention.sketch"] == "random" and config["attention.degree"] == 2
        whole = token_losses(config | {"attention.block_length": T}, P, x, y)
        if config["attention.local"] == "sketch":
            assert np.array_equal(whole, losses)
        if config["attention.local"] == "exact" or exact_kernel:
            polynomial = token_losses(config | {"attention.kind": "polynomial"}, P, x, y)
            assert np.allclose(whole, polynomial, rtol=0, atol=1e-12)
            assert np.allclose(losses, whole, rtol=0, atol=1e-12) == exact_kernel
    with small_checkpoint(config, P) as file:  # the format: right, then spoilt one thing at a time
        assert check_checkpoint(file)[1] == [], check_checkpoint(file)[1]
        del file["parameters/logit_bias"], file["optimizer/v/final_norm.bias"]
        file["parameters/logit_bias"], file["parameters/more"] = np.zeros(3, np.float32), np.zeros(1, np.float32)
        assert len(check_checkpoint(file)[1]) == 3
        file["config"].attrs["attention.scale"] = "auto"
        del file["config"].attrs["train.seed"], file.attrs["step"]
        assert len(check_checkpoint(file)[1]) == 3


def test_pattern():
    """Which kinds, and so which tensors, the layers have; and what is not a pattern."""
    def shapes(pattern, **options):
        config = small_config(pattern=pattern, **options) | {"model.layers": 4}
        assert check_config(config) == [], (pattern, check_config(config))
        return parameter_shapes(config)

    for kind, sketch in itertools.product(KINDS, SKETCHES):
        single = parameter_shapes(small_config(kind=kind, sketch=sketch) | {"model.layers": 4})
        assert shapes(kind + "*4", sketch=sketch) == single
        assert shapes(f"{kind}*2,{kind},{kind}*1", sketch=sketch, kind="softmax") == single
    options = {"sketch": "learned", "degree": 8, "local": "sketch"}
    mixed = shapes("softmax,polysketch:random,polysketch:random,polysketch:learned", **options)
    assert mixed == shapes("softmax,polysketch:random*2,polysketch", **options)
    assert shapes("polysketch:projection*4", **options)["layers.3.attention.sketch.projection.key.weight"] == (3, 6, 8)
    parts = ("query_norm.bias", "sketch.random.left.g1", "sketch.learned.branch2.level2.out.weight")
    for I, has in enumerate(((0, 0, 0), (1, 1, 0), (1, 1, 0), (0, 0, 1))):
        assert has == tuple(f"layers.{I}.attention.{part}" in mixed for part in parts)
    for wrong in ("softmax", "softmax*5", "softmax*2,performer", "softmax*4,", ",softmax*4", "*4",
                  "softmax*0,softmax*4", "softmax*", "softmax*-4", "softmax*04", "softmax*4*1",
                  "softmax:random*4", "polysketch:*4", "linear*4", "softmax*4 "):
        failures = check_config(small_config(pattern=wrong) | {"model.layers": 4})
        assert len(failures) == 1 and "attention.pattern" in failures[0], (wrong, failures)
    assert check_config(small_config(pattern="softmax,polysketch:random", degree=6))
    assert not check_config(small_config(pattern="softmax,polysketch:learned", degree=6))


def test_layers(kinds, random):
    """Where one of two layers adds nothing, the model is that of the other's kind."""
    mixed = small_config(pattern=",".join(kinds))
    single = [small_config(**PATTERN_ENTRIES[kind]) for kind in kinds]
    P = {}
    for config in (*single, mixed):
        P |= small_parameters(config, random)
    x, y = random.integers(mixed["model.vocab_size"], size=(2, mixed["model.context_length"]))
    losses = token_losses(mixed, P, x, y)
    for I, config in enumerate(single):
        differs = np.abs(token_losses(config, P, x, y) - losses).max() > 1e-6
        assert differs != (set(kinds) == {"polysketch", "polysketch:random"}), kinds
        silenced = f"layers.{1 - I}.attention.out.weight"
        silent = P | {silenced: np.zeros(P[silenced].shape)}
        assert np.array_equal(token_losses(config, silent, x, y),
                              token_losses(mixed, silent, x, y)), (kinds, I)


def test_states(random):
    """What a checkpoint must hold, for each optimizer."""
    config = small_config(kind="polysketch", sketch="learned") | {"train.optimizer": "muon"}
    matrix = "layers.1.feedforward.in.weight"
    other = "layers.1.attention.sketch.learned.branch1.level1.out.weight"
    P = small_parameters(config, random)
    states = state_shapes(config)
    assert len(states["momentum"]) == 2 * len(MUON_TENSORS) and states["m"] == states["v"]
    assert sorted([*states["m"], *states["momentum"]]) == sorted(P)
    with small_checkpoint(config, P) as file:
        assert check_checkpoint(file)[1] == []
        del file["optimizer/momentum/" + matrix]
        file["optimizer/m/" + matrix] = P[matrix].astype(np.float32)
        file["optimizer/momentum/" + other] = P[other].astype(np.float32)
        assert len(check_checkpoint(file)[1]) == 3
        del file["optimizer/momentum"]
        assert "/optimizer/momentum: no such group" in check_checkpoint(file)[1]
    config["train.optimizer"] = "adamw"
    with small_checkpoint(config, P) as file:
        for name in ABSENT:
            del file["config"].attrs[name]
        assert check_checkpoint(file)[1] == []
        file.create_group("optimizer/momentum")
        assert check_checkpoint(file)[1] == ["/optimizer/momentum: surplus"]


def test_windows():
    for T, stride, count in itertools.product((1, 5), (1, 2, 5), range(2, 24)):
        if stride > T:
            continue
        tokens = np.arange(count) + 100
        inputs, targets = cut_windows(tokens, T, stride)
        assert sorted(targets[targets >= 0]) == list(tokens[1:]), (T, stride, count)
        assert (inputs + 1 == targets)[targets >= 0].all(), (T, stride, count)
        first = inputs[:, 0]
        assert (inputs[1:] - first[1:, None])[targets[1:] >= 0].min(initial=T) >= T - stride, (T, stride, count)


def test_features(random):
    x, y = random.normal(size=(2, 5, 8)) / 8 ** 0.5
    assert np.allclose(packed_features(x) @ packed_features(y).T, (x @ y.T) ** 2, atol=1e-12)
    assert packed_features(x).shape == (5, 36)
    for degree in (2, 4):  # unbiased: many columns come close to the polynomial
        P = {name: random.normal(size=shape) for name, shape in random_sketch_shapes("s", degree, 8, 3000).items()}
        error = random_sketch(x, P, degree, "s") @ random_sketch(y, P, degree, "s").T - (x @ y.T) ** degree
        size = np.outer((x ** 2).sum(axis=1), (y ** 2).sum(axis=1)) ** (degree / 2)
        assert np.all(np.abs(error) < 0.3 * size)  # standard deviation at most 0.09 of it
    W = random.normal(size=(100000, 8))
    kernel = performer_features(x, W) @ performer_features(y, W).T
    assert np.allclose(kernel, np.exp(x @ y.T / 8 ** 0.5), rtol=0.05)
    q, k = rotary(np.tile(x[0], (9, 1))), rotary(np.tile(y[0], (9, 1)))  # products depend on the distance alone
    assert np.allclose(np.diff(np.diagonal(q @ k.T, -3)), 0, atol=1e-12)


def self_test():
    random = np.random.default_rng(1)
    test_windows()
    test_features(random)
    cases = [{"kind": kind} for kind in ("softmax", "polynomial", "performer")]
    cases += [{"kind": "softmax", "qk_norm": 1}]
    cases += [{"kind": "polysketch", "sketch": "learned", "sketch_levels": levels, "sketch_expansion": 3} for levels in (1, 3)]
    cases += [{"kind": "polysketch", "sketch": sketch, "degree": p, "local": local}
              for sketch, p, local in itertools.product(SKETCHES, (2, 4, 8), ("exact", "sketch"))]
    patterns = ("polysketch:random,polysketch:learned", "performer,polysketch", "softmax,polynomial",
                "polysketch:projection,polysketch:learned")
    cases += [{"pattern": pattern, "degree": p, "local": local}
              for pattern, p, local in itertools.product(patterns, (2, 4), ("exact", "sketch"))]
    for case, kind in itertools.product(cases, ("glu", "gelu")):
        test_configuration(small_config(**case) | {"model.feedforward": kind}, random)
    test_pattern()
    for kinds in itertools.permutations(PATTERN_ENTRIES, 2):
        test_layers(kinds, random)
    test_states(random)
    print(f"self test passed: {2 * len(cases)} configurations")
    return []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", metavar="CHECKPOINT.h5")
    parser.add_argument("tokens", nargs="?", metavar="TOKENS.h5")
    parser.add_argument("--per_token_loss", metavar="FILE.h5", help="losses of the other program, to compare with")
    parser.add_argument("--attention", metavar="FILE.csv", help="shares of heads at the checkpoint's step, to compare with")
    parser.add_argument("--attention_distance", metavar="FILE.csv", help="distances of heads, to compare with")
    parser.add_argument("--sequences", type=int, metavar="N", help="only the first N sequences")
    parser.add_argument("--stride", type=int, metavar="S", help="tokens from one window to the next, T unless given")
    parser.add_argument("--context_length", type=int, metavar="T", help="instead of model.context_length")
    parser.add_argument("--document_mask", choices=("true", "false"), help="instead of train.document_mask")
    parser.add_argument("--self_test", action="store_true")
    arguments = parser.parse_args()
    if not arguments.self_test and arguments.tokens is None:
        parser.error("a checkpoint and a token file, or --self_test")
    try:
        failures = self_test() if arguments.self_test else run(arguments)
    except (OSError, KeyError, ValueError) as error:
        failures = [str(error)]
    for line in failures:
        print("FAILED " + line)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
