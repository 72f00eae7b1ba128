#!/usr/bin/env python3
"""Trains in PyTorch what a configuration file of table `time` describes: scaled_dot_product_attention and AdamW.

    scripts/quality/peer_torch.py train RUN.ini SCORED_TOKENS    (run_table.py calls it for lines with quality.peer=torch)
    scripts/quality/peer_torch.py latency RUN.ini CONTEXT        (latency.py, for these and for quality.peer=torch-matrix)

The model is that of scripts/bench_peer_torch.py: the shape, loss, distribution of initial values, optimizer, schedule and tokens
per step of `polysketch train` with attention.kind = softmax; the order of the data is its own. Into output.folder go metrics.csv
and evaluations.csv as `polysketch train` writes them, losses-CONTEXT.h5 as `polysketch eval` does, and peer.csv. A run that was
cut off begins anew. `latency` prints the seconds of a training step; torch-matrix keeps the whole matrix of weights, as softmax
attention was computed before there were better ways. Needs torch (pip install torch==2.13.0, the CPU build), numpy and h5py.
"""
import configparser
import csv
import math
import os
import sys
import time
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench_peer_torch import make_model

try:
    import torch
except ImportError:
    sys.exit("torch is not installed, so there is no peer. Try: pip install torch==2.13.0")


def tokens_of(path):
    with h5py.File(path) as file:
        return torch.from_numpy(file["tokens"][...].astype(np.int64))


def rate_of(step, train):
    """The learning rate of docs/format.md, cosine."""
    peak, least = train.getfloat("learning_rate"), train.getfloat("min_learning_rate")
    warmup, steps = train.getint("warmup_steps"), train.getint("steps")
    if step <= warmup:
        return peak * step / warmup
    return least + (peak - least) * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def make_optimizer(model, train):
    """Weight decay for matrices, not for norms, biases and the embedding."""
    plain = [p for name, p in model.named_parameters() if p.dim() < 2 or name.startswith("embedding")]
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and not name.startswith("embedding")]
    groups = [{"params": matrices, "weight_decay": train.getfloat("weight_decay")}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-8)


def batch_of(tokens, T, sequences, generator):
    starts = torch.randint(len(tokens) - T, (sequences,), generator=generator)
    windows = torch.stack([tokens[start : start + T + 1] for start in starts.tolist()])
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


def train_step(model, optimizer, rate, inputs, targets):
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss = model(inputs, targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def window_losses(model, tokens, T, windows):
    """The loss of every token of the first windows: (windows, T)."""
    windows = min(windows, (len(tokens) - 1) // T)
    cuts = [tokens[i * T : i * T + T + 1] for i in range(windows)]
    return torch.stack([model.token_losses(cut[None, :-1], cut[None, 1:]).view(T) for cut in cuts])


class Csv:
    """Rows that are in the file as soon as they are added."""

    def __init__(self, path, columns):
        self.file = open(path, "w", encoding="utf-8", newline="")
        self.writer = csv.writer(self.file)
        self.add(*columns)

    def add(self, *row):
        self.writer.writerow(row)
        self.file.flush()


def matrix_attention(q, k, v):
    """Softmax attention by its definition: a matrix of n x n weights for every head."""
    n = q.shape[-2]
    later = torch.ones(n, n, dtype=torch.bool).triu(1)
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).masked_fill_(later, -math.inf).softmax(-1)
    return weights @ v


def model_of(config, attention=None):
    options = config["model"]
    return make_model(torch, options.getint("layers"), 256, options.getint("width"), options.getint("heads"), attention)


def train_and_score(config, scored_tokens):
    train, evaluate = config["train"], config["evaluate"]
    T, sequences = config["model"].getint("context_length"), train.getint("batch_sequences")
    folder = Path(config["output"]["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(train.getint("seed"))
    text, validation = tokens_of(config["data"]["train"]), tokens_of(config["data"]["validation"])
    model = model_of(config)
    optimizer = make_optimizer(model, train)
    metrics = Csv(folder / "metrics.csv", ("step", "loss", "learning_rate", "seconds", "tokens_seen"))
    evaluations = Csv(folder / "evaluations.csv", ("step", "loss"))
    steps, every = train.getint("steps"), evaluate.getint("every")
    for step in range(1, steps + 1):
        start, rate = time.perf_counter(), rate_of(step, train)
        loss = train_step(model, optimizer, rate, *batch_of(text, T, sequences, generator))
        metrics.add(step, f"{loss:.6f}", f"{rate:.6g}", f"{time.perf_counter() - start:.4f}", step * sequences * T)
        if step == steps or every and step % every == 0:
            losses = window_losses(model, validation, T, evaluate.getint("sequences"))
            evaluations.add(step, f"{losses.mean().item():.6f}")
    with h5py.File(folder / f"losses-{T}.h5", "w") as file:
        file["per_token_loss"] = window_losses(model, validation, T, max(1, scored_tokens // T)).numpy()
    parameters = sum(p.numel() for p in model.parameters())
    Csv(folder / "peer.csv", ("parameters", "version")).add(parameters, f"torch {torch.__version__}")


def print_step_seconds(config, T):
    """The second of two steps on random tokens."""
    model = model_of(config, matrix_attention if config["quality"]["peer"] == "torch-matrix" else None)
    optimizer = make_optimizer(model, config["train"])
    inputs, targets = torch.randint(256, (2, 1, T))
    for _ in range(2):
        start = time.perf_counter()
        train_step(model, optimizer, 1e-6, inputs, targets)
    print(f"{time.perf_counter() - start:.6f}")


def main():
    task, path, number = sys.argv[1:]
    config = configparser.ConfigParser(inline_comment_prefixes=(";", "#"))
    config.read(path)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(config["train"].getint("seed"))
    {"train": train_and_score, "latency": print_step_seconds}[task](config, int(number))


if __name__ == "__main__":
    main()
