#!/usr/bin/env python3
"""Trains in PyTorch what a configuration file of table `time` describes: scaled_dot_product_attention and AdamW.

    scripts/quality/peer_torch.py RUN.ini SCORED_TOKENS          (run_table.py calls it for lines with quality.peer=torch)

The model is that of scripts/bench_peer_torch.py: the shape, loss, distribution of initial values, optimizer, schedule and tokens
per step of `polysketch train` with attention.kind = softmax; the order of the data is its own. Into output.folder go metrics.csv
and evaluations.csv as `polysketch train` writes them, losses-CONTEXT.h5 as `polysketch eval` does, and peer.csv. A run that was
cut off begins anew. Needs torch (pip install torch==2.13.0, the CPU build), numpy and h5py.
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


def main():
    config = configparser.ConfigParser(inline_comment_prefixes=(";", "#"))
    config.read(sys.argv[1])
    model_options, train, evaluate = config["model"], config["train"], config["evaluate"]
    T, sequences = model_options.getint("context_length"), train.getint("batch_sequences")
    folder = Path(config["output"]["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(train.getint("seed"))
    generator = torch.Generator().manual_seed(train.getint("seed"))
    text, validation = tokens_of(config["data"]["train"]), tokens_of(config["data"]["validation"])
    model = make_model(torch, model_options.getint("layers"), 256, model_options.getint("width"), model_options.getint("heads"))
    optimizer = make_optimizer(model, train)
    metrics = Csv(folder / "metrics.csv", ("step", "loss", "learning_rate", "seconds", "tokens_seen"))
    evaluations = Csv(folder / "evaluations.csv", ("step", "loss"))
    for step in range(1, train.getint("steps") + 1):
        start, rate = time.perf_counter(), rate_of(step, train)
        loss = train_step(model, optimizer, rate, *batch_of(text, T, sequences, generator))
        metrics.add(step, f"{loss:.6f}", f"{rate:.6g}", f"{time.perf_counter() - start:.4f}", step * sequences * T)
        if step % evaluate.getint("every") == 0:
            losses = window_losses(model, validation, T, evaluate.getint("sequences"))
            evaluations.add(step, f"{losses.mean().item():.6f}")
    with h5py.File(folder / f"losses-{T}.h5", "w") as file:
        file["per_token_loss"] = window_losses(model, validation, T, max(1, int(sys.argv[2]) // T)).numpy()
    parameters = sum(p.numel() for p in model.parameters())
    Csv(folder / "peer.csv", ("parameters", "version")).add(parameters, f"torch {torch.__version__}")


if __name__ == "__main__":
    main()
