#!/usr/bin/python3
"""How well random sketches stand for the exact kernel <x, y>^p: table 1 of results/quality, in NumPy alone.

    scripts/quality/approximation.py OUTPUT.csv [--checkpoint STEP.h5 --tokens VALIDATION.h5] [--smoke]

Parts of the table (column `part`; README.md of results/quality explains them):

    moments     mean and variance of the estimate <u, u'>^2 for pairs of a given cosine, beside the closed forms
    vectors     what the vectors are like: their lengths and cosines
    kernel      error of all weights, and how much too large they are on average
    slope       of that error in r, both logarithmic
    attention   error of the output of causal attention, normaliser one + sum
    match       share of the weight that one matching key has among unrelated ones
    swap        loss of a model trained with the exact kernel when sketches take its place, nothing trained again

Vectors: `unit` (random directions), `normed` (layer norm of random ones: length sqrt(h)), and q', k' of the layers of a trained
model on text. The sketch and the model are those of tests/system/numpy_reference.py.
"""
import argparse
import csv
import itertools
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # products here are small: more threads only wait for each other

import h5py
import numpy as np

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/system"))
import numpy_reference as reference

h = 64
COLUMNS = "part vectors matrices degree sketch_size tokens cosine quantity value expected draws".split()


# ---- matrices: E[g g^T] = 1 for every column g, so that E[<x, g> <y, g>] = <x, y> ----

def gaussian(random, rows, columns):
    return random.standard_normal((rows, columns))


def rademacher(random, rows, columns):
    return random.choice((-1.0, 1.0), (rows, columns))


def side_by_side(block, rows, columns):
    """Independent square blocks, cut to the number of columns."""
    return np.concatenate([block() for _ in range(-(-columns // rows))], axis=1)[:, :columns]


def orthogonal(random, rows, columns):
    return side_by_side(lambda: np.linalg.qr(random.standard_normal((rows, rows)))[0] * np.sqrt(rows), rows, columns)


def hadamard(random, rows, columns):
    """Columns of a Hadamard matrix in a random order, the rows with random signs."""
    H = np.ones((1, 1))
    while len(H) < rows:
        H = np.block([[H, H], [H, -H]])
    return side_by_side(lambda: random.choice((-1.0, 1.0), rows)[:, None] * H[:, random.permutation(rows)], rows, columns)


MATRICES = {"gaussian": gaussian, "orthogonal": orthogonal, "hadamard": hadamard, "rademacher": rademacher}


def draw(random, matrices, degree, r, prefix="s"):
    """The matrices of one random sketch for <x, y>^degree, by the names of a checkpoint."""
    return {name: MATRICES[matrices](random, *shape)
            for name, shape in reference.random_sketch_shapes(prefix, degree // 2, h, r).items()}


def sketched(P, degree, x, y):
    return (reference.random_sketch(x, P, degree // 2, "s") @ reference.random_sketch(y, P, degree // 2, "s").T) ** 2


# ---- what is expected of Gaussian matrices ----
# With a = <x, g>, b = <y, g>, c = <x, y>, n = |x| |y|: E[a b] = c, E[(a b)^2] = n^2 + 2 c^2, E[(a b)^3] = 9 n^2 c + 6 c^3,
# E[(a b)^4] = 9 n^4 + 72 n^2 c^2 + 24 c^4. For p = 4, <u, u'> is the mean of r independent products of two such a b.

def mean_of_square(r, first, second):
    """E of the squared mean of r independent numbers with these moments."""
    return first ** 2 + (second - first ** 2) / r


def expected_mean(degree, r, c, n=1.0):
    four = mean_of_square(r, c ** 2, (n ** 2 + 2 * c ** 2) ** 2)
    if degree == 4:
        return four
    # p = 8: x and y give way to two independent sketches of degree 2 each. For one of them E[<y, y'>^2] is `four`, and
    # E[|y|^2 |y'|^2] is `lengths`; (n^2 + 2 c^2) of each, in the mean, is lengths + 2 four.
    lengths = n ** 4 + ((n ** 2 + 2 * c ** 2) ** 2 - n ** 4) / r
    return four ** 2 + ((lengths + 2 * four) ** 2 - four ** 2) / r


def expected_variance(degree, r, c, n=1.0):
    if degree == 8:
        return None
    m1, m2, m3, m4 = (m ** 2 for m in (c, n ** 2 + 2 * c ** 2, 9 * n ** 2 * c + 6 * c ** 3,
                                       9 * n ** 4 + 72 * n ** 2 * c ** 2 + 24 * c ** 4))
    fourth = m4 + (r - 1) * (4 * m3 * m1 + 3 * m2 ** 2 + (r - 2) * (6 * m2 * m1 ** 2 + (r - 3) * m1 ** 4))
    return fourth / r ** 3 - expected_mean(4, r, c, n) ** 2


# ---- vectors ----

def directions(random, count):
    x = random.standard_normal((count, h))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def normed(random, count):
    x = random.standard_normal((count, h))
    x -= x.mean(axis=1, keepdims=True)
    return x * np.sqrt(h) / np.linalg.norm(x, axis=1, keepdims=True)


def pairs_of_cosine(random, count, c):
    x, z = directions(random, count), directions(random, count)
    z -= (z * x).sum(axis=1, keepdims=True) * x
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return x, c * x + np.sqrt(1 - c ** 2) * z


def made_heads(random, count):
    """(name, [(q', k', v)]): sets of vectors that nothing was trained for."""
    for name, make in (("unit", directions), ("normed", normed)):
        yield name, [(make(random, count), make(random, count), random.standard_normal((count, h))) for _ in range(4)]


class Trained:
    """A model trained with the exact kernel, and some sequences of text."""

    def __init__(self, checkpoint, tokens, sequences):
        with h5py.File(checkpoint) as file:
            self.config = reference.ABSENT | {name: reference.plain(value) for name, value in file["config"].attrs.items()}
            self.parameters = {name: value[...].astype(float) for name, value in file["parameters"].items()}
        T = int(self.config["model.context_length"])
        with h5py.File(tokens) as file:
            text = file["tokens"][:sequences * T + 1].astype(int)
        self.sequences = [(text[i:i + T], text[i + 1:i + T + 1]) for i in range(0, sequences * T, T)]

    def heads(self):
        """(name, [(q', k', v)]) for each layer: all heads on all sequences, taken down while the reference computes."""
        seen, attention = [], reference.attention

        def recording(spec, heads, P, x, *rest):
            seen.append((P, x))
            return attention(spec, heads, P, x, *rest)

        reference.attention = recording
        for inputs, targets in self.sequences:
            reference.token_losses(self.config, self.parameters, inputs, targets)
        reference.attention = attention
        layers = int(self.config["model.layers"])
        for I in range(layers):
            yield f"layer {I + 1}", [head for P, x in seen[I::layers] for head in self.heads_of(P, x)]

    def heads_of(self, P, x):
        q, k, v = (np.split(part, self.config["model.heads"], axis=1)
                   for part in np.split(x @ P["attention.qkv.weight"].T, 3, axis=1))
        for head in zip(q, k, v):
            yield (reference.layer_norm(reference.rotary(head[0]), P, "attention.query_norm"),
                   reference.layer_norm(reference.rotary(head[1]), P, "attention.key_norm"), head[2])

    def loss(self, random=None, r=0, local="exact"):
        """Nats per token; with r, random sketches take the place of the kernel in every layer."""
        config, parameters = dict(self.config), dict(self.parameters)
        if r:
            degree = int(config["attention.degree"])
            config |= {"attention.kind": "polysketch", "attention.sketch": "random", "attention.local": local,
                       "attention.sketch_size": r}
            for I in range(int(config["model.layers"])):
                parameters |= draw(random, "gaussian", degree, r, f"layers.{I}.attention.sketch.random")
        return np.mean([reference.token_losses(config, parameters, *sequence) for sequence in self.sequences])


# ---- the parts of the table ----

def moments(random, sizes, draws):
    for matrices, degree, c, r in itertools.product(MATRICES, (4, 8), (0.0, 0.5, 1.0), sizes):
        x, y = pairs_of_cosine(random, 64, c)
        values = []
        for _ in range(draws):
            P = draw(random, matrices, degree, r)
            u, v = (reference.random_sketch(z, P, degree // 2, "s") for z in (x, y))
            values.append((u * v).sum(axis=1) ** 2)
        common = {"part": "moments", "vectors": "unit", "matrices": matrices, "degree": degree, "sketch_size": r, "cosine": c,
                  "draws": draws}
        yield common | {"quantity": "mean", "value": np.mean(values), "expected": expected_mean(degree, r, c)}
        yield common | {"quantity": "variance", "value": np.var(values), "expected": expected_variance(degree, r, c)}


def describe(name, heads):
    """Lengths and cosines; only of pairs that attention looks at."""
    cosines = [np.tril(q @ k.T / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(k, axis=1)) for q, k, _ in heads]
    count = sum(np.tri(len(q)).sum() for q, _, _ in heads)
    power = {p: sum((c ** p).sum() for c in cosines) / count for p in (2, 4, 8)}
    values = {"length of q'": np.mean([np.linalg.norm(q, axis=1).mean() for q, _, _ in heads]),
              "length of k'": np.mean([np.linalg.norm(k, axis=1).mean() for _, k, _ in heads]),
              "rms cosine": power[2] ** 0.5, "mean cosine^4": power[4], "mean cosine^8": power[8]}
    return [{"part": "vectors", "vectors": name, "quantity": key, "value": value} for key, value in values.items()]


def weights_of(heads, P, degree):
    """(exact, sketched, bound) weights of each head; the bound |x|^p |y|^p is what the theorem measures errors by."""
    for q, k, _ in heads:
        mask = np.tri(len(q))
        x, y = q / h ** 0.25, k / h ** 0.25
        sizes = np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)) ** degree
        yield (x @ y.T) ** degree * mask, sketched(P, degree, x, y) * mask, sizes * mask


def relative(found, exact):
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


def errors_of(exact, w, bound, v, block=128):
    """Of one head, by (part, quantity). The output of causal attention: all weights sketched, or exact in the same block."""
    same = np.arange(len(v)) // block
    mixed = np.where(same[:, None] == same, exact, w)
    output = [weights @ v / (1 + weights.sum(axis=1, keepdims=True)) for weights in (exact, w, mixed)]
    return {("kernel", "error / bound"): np.linalg.norm(w - exact) / np.linalg.norm(bound),
            ("kernel", "error / weights"): relative(w, exact),
            ("kernel", "sketched / exact sum"): w.sum() / exact.sum(),
            ("attention", "output error"): relative(output[1], output[0]),
            ("attention", "output error with exact blocks"): relative(output[2], output[0])}


def mean_errors(heads, sketches, degree):
    """Means of the errors over heads and draws."""
    errors = [errors_of(*weights, head[2]) for P in sketches for weights, head in zip(weights_of(heads, P, degree), heads)]
    return {key: np.mean([error[key] for error in errors]) for key in errors[0]}


def compare(random, name, heads, sizes, draws):
    """The errors of one set of vectors for every kind of matrices, degree and size, and their slope in the size."""
    exact = mean_errors(heads, [{}], 2)["kernel", "error / weights"]
    yield {"part": "kernel", "vectors": name, "degree": 2, "quantity": "error / weights", "value": exact}
    for matrices, degree in itertools.product(MATRICES, (4, 8)):
        series = {}
        for r in sizes:
            errors = mean_errors(heads, [draw(random, matrices, degree, r) for _ in range(draws)], degree)
            common = {"vectors": name, "matrices": matrices, "degree": degree, "sketch_size": r, "tokens": len(heads[0][0]),
                      "draws": draws}
            for (part, quantity), value in errors.items():
                if (part, name) != ("attention", "unit"):  # whose weights vanish beside the one of the normaliser
                    yield common | {"part": part, "quantity": quantity, "value": value}
            series[r] = errors["kernel", "error / bound"]
        large = [r for r in sizes if r >= 32]
        if len(large) > 1:
            slope = np.polyfit(np.log(large), np.log([series[r] for r in large]), 1)[0]
            yield {"part": "slope", "vectors": name, "matrices": matrices, "degree": degree, "quantity": "error / bound",
                   "value": slope, "draws": draws}


def shares(random, tokens, weights):
    """Share of the first key, which is the query itself, among unrelated ones."""
    q = normed(random, 1)
    w = weights(q / h ** 0.25, np.concatenate((q, normed(random, tokens))) / h ** 0.25)[0]
    return w[0] / (1 + w.sum())


def match(random, sizes, lengths, draws):
    kinds = {("softmax", "", ""): lambda x, y: np.exp(x @ y.T)}
    for p in (2, 4, 8):
        kinds["exact", p, ""] = lambda x, y, p=p: (x @ y.T) ** p
    for p, r in itertools.product((4, 8), sizes):
        kinds["gaussian", p, r] = lambda x, y, p=p, r=r: sketched(draw(random, "gaussian", p, r), p, x, y)
    for (matrices, p, r), tokens in itertools.product(kinds, lengths):
        value = np.mean([shares(random, tokens, kinds[matrices, p, r]) for _ in range(draws)])
        yield {"part": "match", "vectors": "normed", "matrices": matrices, "degree": p, "sketch_size": r, "tokens": tokens,
               "quantity": "share of the match", "value": value, "draws": draws}


def swap(random, trained, sizes, draws):
    common = {"part": "swap", "vectors": "text", "degree": int(trained.config["attention.degree"])}
    yield common | {"matrices": "exact", "quantity": "loss", "value": trained.loss()}
    for local, r in itertools.product(("exact", "sketch"), sizes):
        value = np.mean([trained.loss(random, r, local) for _ in range(draws)])
        quantity = "loss with exact blocks" if local == "exact" else "loss"
        yield common | {"matrices": "gaussian", "sketch_size": r, "quantity": quantity, "value": value, "draws": draws}


def table(trained, smoke):
    """All rows. Every part has random numbers of its own."""
    sizes = (8, 32) if smoke else (8, 16, 32, 64, 128, 256, 512)
    few, some, many = (1, 2, 5) if smoke else (2, 20, 500)
    yield from moments(np.random.default_rng(1), sizes if smoke else (8, 32, 128), many)
    yield from match(np.random.default_rng(2), sizes[1:], (64, 256) if smoke else (64, 256, 1024, 4096, 16384), some)
    sets = [(name, heads, 5 * few) for name, heads in made_heads(np.random.default_rng(3), 64 if smoke else 512)]
    sets += [(name, heads, few) for name, heads in trained.heads()] if trained else []
    for name, heads, draws in sets:
        yield from describe(name, heads)
        yield from compare(np.random.default_rng(4), name, heads, sizes, draws)
    if trained:
        yield from swap(np.random.default_rng(5), trained, sizes, few)


def git_version():
    command = ["git", "-C", str(TOP), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"


def text_of(value):
    return f"{value:.6g}" if isinstance(value, float) else value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--checkpoint", help="of a model with attention.kind = polynomial")
    parser.add_argument("--tokens", help="token file of text")
    parser.add_argument("--smoke", action="store_true", help="few sizes and draws, to try the program")
    arguments = parser.parse_args()
    trained = Trained(arguments.checkpoint, arguments.tokens, 1 if arguments.smoke else 4) if arguments.checkpoint else None
    if trained and trained.config["attention.kind"] != "polynomial":
        parser.error("the checkpoint is not of a model with attention.kind = polynomial")
    version, part = git_version(), arguments.output + ".part"
    with open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS + ["version"], restval="", lineterminator="\n")
        writer.writeheader()
        for row in table(trained, arguments.smoke):
            writer.writerow({key: text_of(value) for key, value in row.items() if value is not None} | {"version": version})
            file.flush()
    os.replace(part, arguments.output)  # a file of this name is always whole


if __name__ == "__main__":
    main()
