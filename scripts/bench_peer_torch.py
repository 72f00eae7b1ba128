#!/usr/bin/env python3
"""Training steps of the same model in PyTorch and here, in turn, on the same cores; medians and ratios.

    scripts/bench_peer_torch.py OUTPUT.csv [--rounds N] [--blocks VARIANT:CONTEXT:B ...]

The model is that of `polysketch train` with attention.kind = softmax: rotary embedding, gated feed-forward, tied output
layer with a bias, AdamW, clipping; f32. On PyTorch's side attention is scaled_dot_product_attention, everything else what a
careful user writes; the loss is taken in chunks of rows where all logits at once would not fit into memory. Here: softmax,
and polysketch with random and learned sketches.

A row is a part of GPT-2 small (12 layers, width 768, 12 heads, vocabulary 50,304): all of it at 1,024 tokens; at 32,768
tokens two layers, and the output layer apart (at 8,192 tokens). scripts/bench_report.py adds them up. Needs torch (pip
install torch==2.13.0, the CPU build); without it the script says so and ends well.
"""
import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time

WIDTH, HEADS, VOCABULARY, SMALL_VOCABULARY = 768, 12, 50304, 256
CHUNK_LOGITS = 4096 * 50304

# name, context, layers, vocabulary, timed steps per round, steps before them
PARTS = [
    ("whole", 1024, 12, VOCABULARY, 2, 1),
    ("layers", 32768, 2, SMALL_VOCABULARY, 1, 0),
    ("output", 8192, 1, VOCABULARY, 1, 1),
    ("no output", 8192, 1, SMALL_VOCABULARY, 1, 1),
]


def make_model(torch, layers, vocabulary, width=WIDTH, heads=HEADS, attention=None):
    """The model as a module whose forward pass returns the mean loss; attention(q, k, v) is scaled_dot_product_attention
    unless given."""
    nn, functional = torch.nn, torch.nn.functional
    attention = attention or (lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True))
    feedforward = width * 8 // 3 // 8 * 8

    def rotate(x, cosine, sine):  # pairs (c, c + h/2)
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention_norm, self.feedforward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.out = nn.Linear(width, width, bias=False)
            self.feedforward_in = nn.Linear(width, 2 * feedforward, bias=False)
            self.feedforward_out = nn.Linear(feedforward, width, bias=False)

        def forward(self, x, cosine, sine):
            batch, tokens, _ = x.shape
            qkv = self.qkv(self.attention_norm(x)).view(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            q, k, v = rotate(qkv[0], cosine, sine), rotate(qkv[1], cosine, sine), qkv[2]
            y = attention(q, k, v)
            x = x + self.out(y.transpose(1, 2).reshape(batch, tokens, width))
            a, g = self.feedforward_in(self.feedforward_norm(x)).chunk(2, dim=-1)
            return x + self.feedforward_out(a * functional.gelu(g, approximate="tanh"))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, width)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.norm = nn.LayerNorm(width)
            self.bias = nn.Parameter(torch.zeros(vocabulary))
            for name, parameter in self.named_parameters():
                if parameter.dim() == 2:  # those that end a branch begin smaller
                    nn.init.normal_(parameter, std=0.02 / (2 * layers) ** 0.5 if name.endswith("out.weight") else 0.02)

        def chunk_loss(self, rows, targets, reduction="sum"):
            logits = functional.linear(rows, self.embedding.weight, self.bias)
            return functional.cross_entropy(logits, targets, reduction=reduction)

        def rows(self, inputs):
            """What the output layer sees, a row per token."""
            half = width // heads // 2
            angles = torch.outer(torch.arange(inputs.shape[1]), 10000.0 ** (-torch.arange(half) / half))
            cosine, sine = angles.cos(), angles.sin()
            x = self.embedding(inputs)
            for layer in self.layers:
                x = layer(x, cosine, sine)
            return self.norm(x).view(-1, width)

        def token_losses(self, inputs, targets):
            return self.chunk_loss(self.rows(inputs), targets.view(-1), "none")

        def forward(self, inputs, targets):
            rows, targets = self.rows(inputs), targets.view(-1)
            step = max(CHUNK_LOGITS // vocabulary, 1)
            if rows.shape[0] <= step:
                return self.chunk_loss(rows, targets) / targets.numel()
            total = 0
            for first in range(0, rows.shape[0], step):
                total = total + torch.utils.checkpoint.checkpoint(
                    self.chunk_loss, rows[first : first + step], targets[first : first + step], use_reentrant=False
                )
            return total / targets.numel()

    return Model()


def torch_seconds(torch, context, layers, vocabulary, steps, warmups):
    """Seconds of each timed training step."""
    torch.manual_seed(1)
    model = make_model(torch, layers, vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, betas=(0.9, 0.95), weight_decay=0.1)
    inputs = torch.randint(vocabulary, (1, context))
    targets = torch.randint(vocabulary, (1, context))
    seconds = []
    for step in range(warmups + steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(inputs, targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step >= warmups:
            seconds.append(time.perf_counter() - start)
    return seconds


def own_seconds(program, threads, variant, block, context, layers, vocabulary, steps, warmups):
    """The median step of `polysketch bench step`, as a list of one."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.csv")
        command = [program, "bench", "step", f"--variants={variant}", f"--contexts={context}", f"--csv={path}",
                   f"--repeats={steps}", f"--warmups={warmups}", f"--model.width={WIDTH}", f"--model.heads={HEADS}",
                   f"--model.layers={layers}", f"--model.vocab_size={vocabulary}", "--train.batch_sequences=1",
                   "--attention.sketch_size=32", f"--attention.block_length={block}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        with open(path, encoding="utf-8") as file:
            row = next(csv.DictReader(file))
    return [float(row["microseconds_per_token"]) * context * 1e-6], row["source_version"]


def write_rows(path, seconds, blocks, threads, torch_version, source_version):
    """Medians over all rounds so far."""
    with open(path, "w", encoding="utf-8") as file:
        print("side,part,context,layers,vocab_size,block_length,seconds,runs,threads,torch_version,source_version", file=file)
        for part, values in seconds.items():
            print(*part, blocks.get(part, ""), f"{statistics.median(values):.6g}", len(values), threads, torch_version,
                  source_version, sep=",", file=file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="CSV file, overwritten")
    parser.add_argument("--rounds", type=int, default=2, help="how often both sides run in turn (default 2)")
    parser.add_argument("--blocks", nargs="*", default=[], metavar="VARIANT:CONTEXT:B",
                        help="block lengths of random and learned sketches by context (default 256)")
    parser.add_argument("--program", default="build/release/polysketch")
    arguments = parser.parse_args()
    try:
        import torch
        import torch.utils.checkpoint
    except ImportError:
        print("bench_peer_torch.py: torch is not installed, so nothing is compared. Try: pip install torch==2.13.0")
        return
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    blocks = {(variant, int(context)): int(b) for variant, context, b in (entry.split(":") for entry in arguments.blocks)}
    seconds, used, version = {}, {}, "unknown"
    for round_number in range(arguments.rounds):
        for name, context, layers, vocabulary, steps, warmups in PARTS:
            part = (name, context, layers, vocabulary)
            taken = torch_seconds(torch, context, layers, vocabulary, steps, warmups)
            seconds.setdefault(("torch", *part), []).extend(taken)
            for variant in ("softmax", "random", "learned"):
                block = blocks.get((variant, context), 256)
                if name in ("output", "no output") and variant != "softmax":
                    continue  # the same for all
                taken, version = own_seconds(arguments.program, threads, variant, block, context, layers, vocabulary, steps,
                                             warmups)
                seconds.setdefault((variant, *part), []).extend(taken)
                used[variant, *part] = block
            print(f"round {round_number + 1}: {name}, {context} tokens done", flush=True)
        write_rows(arguments.output, seconds, used, threads, torch.__version__, version)


if __name__ == "__main__":
    sys.exit(main())
