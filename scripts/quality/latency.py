#!/usr/bin/python3
"""Times one training step of the model of configs/quality/time.ini at growing contexts, one sequence a step, all kinds in turn.

    scripts/quality/latency.py OUTPUT.csv [--smoke]        (usually: quality.sh time)

The kinds are the lines of configs/quality/latency.txt, whose options differ from time.ini; quality.longest is the longest
context of a line. OUTPUT.csv gets a row for each kind and context; rows that are there are not measured again. Lines with
quality.peer need PyTorch ($PEER_PYTHON) and are left out without it.
"""
import csv
import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import run_table
from run_table import PEER_PYTHON, PROGRAM, Run, Table, can_run, processor

CONTEXTS = (512, 1024, 2048, 4096, 8192, 16384, 32768)
COLUMNS = ("name", "context", "microseconds_per_token", "sgemm_gflops", "options", "version", "processor")
NOT_FOR_BENCH = ("quality.", "data.", "output.", "evaluate.", "train.steps", "train.warmup_steps")


def own_step(run, context, folder):
    """(microseconds per token, rate of sgemm beside it) of `polysketch bench step`."""
    path = Path(folder, "bench.csv")
    options = [f"--{name}={value}" for name, value in run.config.items()
               if not name.startswith(NOT_FOR_BENCH) and name != "model.context_length"]
    run_table.call(run, PROGRAM, "bench", "step", "--variants=config", f"--contexts={context}", "--repeats=1", f"--csv={path}",
                   *options)
    with open(path, encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    path.unlink()
    return float(row["microseconds_per_token"]), row["sgemm_gflops"], row["source_version"]


@functools.lru_cache
def torch_version():
    return subprocess.run([PEER_PYTHON, "-c", "import torch; print('torch', torch.__version__)"], capture_output=True,
                          text=True, check=True).stdout.strip()


def peer_step(run, context, folder):
    path = Path(folder, "run.ini")
    run_table.write_ini(run, path)
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"[quality]\npeer = {run.config['quality.peer']}\n")
    seconds = float(run_table.call(run, PEER_PYTHON, "scripts/quality/peer_torch.py", "latency", path, str(context)))
    return 1e6 * seconds / context, "", torch_version()


def measure(run, context):
    with tempfile.TemporaryDirectory() as folder:
        step = peer_step if run.config["quality.peer"] else own_step
        taken, sgemm, version = step(run, context, folder)
    return {"name": run.name, "context": context, "microseconds_per_token": f"{taken:.5g}", "sgemm_gflops": sgemm,
            "options": run.options, "version": version, "processor": processor()}


def read_runs():
    lists = {}
    base = run_table.flat("configs/quality/time.ini") | {"train.batch_sequences": "1"}
    list(run_table.read_lines(Path("configs/quality/common.txt"), lists))
    lines = run_table.read_lines(Path("configs/quality/latency.txt"), lists)
    return [Run("latency", name, options, base, "1") for name, options, _ in lines]


def main():
    table, smoke = Table(sys.argv[1], COLUMNS), "--smoke" in sys.argv[2:]
    done = {(row["name"], int(row["context"])) for row in table.rows}
    runs = [run for run in read_runs() if can_run(run)]
    for context in CONTEXTS[:1] if smoke else CONTEXTS:
        for run in runs:
            if (run.name, context) in done or context > int(run.config.get("quality.longest", CONTEXTS[-1])):
                continue
            row = measure(run, context)
            table.add_rows([row])
            print(f"{run.name} at {context}: {row['microseconds_per_token']} us per token", flush=True)


if __name__ == "__main__":
    sys.exit(main())
