#!/usr/bin/python3
"""Trains and evaluates the models of one table of results/quality, as many at a time as there is room for.

    scripts/quality/run_table.py TABLE --output FOLDER [--only PATTERNS] [--seeds LIST] [--smoke]    (usually: quality.sh TABLE)

The models are the lines of configs/quality/TABLE.txt,

    name | section.key=value ... | seeds

where the options are those that differ from configs/quality/TABLE.ini, and seeds may be left out (1). A line whose name begins
with @, there or in configs/quality/common.txt, only gives its options a name for later lines; of an option given twice the last
counts. FOLDER/TABLE.csv gets a row for each model, seed and evaluated context; FOLDER/TABLE-curves.csv the evaluations during
training. A model whose rows are there is not trained again; one that was cut off continues from its checkpoint in
$QUALITY_RUNS/TABLE (build/quality unless set). Rows belong to a name, a seed, a number of steps and a hash of all options, so a
changed configuration is a new row. A model that fails is reported, and the others go on.

Options of this program stand in a section of their own, [quality]:

    jobs, threads      models at a time, threads of each
    eval_tokens        how many tokens are scored, of the validation file or of a made source (256 sequences at most)
    eval_contexts      contexts to evaluate at, separated by commas; 0 is that of training
    stages             T:SEQUENCES:STEPS:RATE, separated by commas: trained at one context after the other, in one run, with so
                       many times the learning rates of the configuration, constant within a stage
    peer               torch: the same model by scripts/quality/peer_torch.py
"""
import argparse
import concurrent.futures
import configparser
import csv
import fnmatch
import functools
import hashlib
import os
import platform
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np

PROGRAM = "build/release/polysketch"
DEFAULTS = {"quality.jobs": "2", "quality.threads": "1", "quality.eval_tokens": "262144", "quality.eval_contexts": "0",
            "quality.stages": "", "quality.peer": ""}
PEER_PYTHON = os.environ.get("PEER_PYTHON", "python3")  # the one that has torch
RUNS = os.environ.get("QUALITY_RUNS", "build/quality")
SMOKE = {"train.steps": "4", "train.warmup_steps": "2", "train.batch_sequences": "1", "model.width": "32", "model.heads": "1",
         "model.context_length": "256", "attention.block_length": "32", "evaluate.every": "2", "evaluate.sequences": "2",
         "quality.eval_tokens": "1024", "quality.eval_contexts": "256,512"}
STARTS = (0, 16, 64, 256, 1024, 4096, 16384)  # of the buckets of "loss by position"
KEY = ("name", "seed", "steps", "configuration")
COLUMNS = [*KEY, "evaluated_at", "loss", "bits_per_byte", "accuracy", "sequences_right",
           *(f"loss_from_{start}" for start in STARTS), "tokens", "parameters", "seconds", "tokens_per_second",
           "memory_mb", "options", "version", "processor"]
CURVE_COLUMNS = [*KEY, "step", "seconds", "loss"]
NOT_THE_MODEL = ("quality.jobs", "quality.threads", "output.", "evaluate.")  # what does not make another row


class Failed(Exception):
    """A model could not be trained or evaluated; the others can."""


# ---- what is to be run ----

def flat(path):
    parser = configparser.ConfigParser(inline_comment_prefixes=(";", "#"), interpolation=None)
    with open(path, encoding="utf-8") as file:
        parser.read_file(file)
    return {f"{section}.{key}": value for section in parser.sections() for key, value in parser[section].items()}


class Run:
    """One model with one seed."""

    def __init__(self, table, name, options, base, seed):
        self.name, self.options, self.seed = name, " ".join(f"{key}={value}" for key, value in options.items()), seed
        self.config = DEFAULTS | base | options | {"train.seed": seed}
        defining = sorted((key, value) for key, value in self.config.items()
                          if not key.startswith(NOT_THE_MODEL) and DEFAULTS.get(key) != value)
        self.hash = hashlib.sha256(repr(defining).encode()).hexdigest()[:8]
        self.folder = Path(RUNS, table, f"{name}-{seed}-{self.hash}")

    def key(self):
        return self.name, self.seed, (self.config | self.stages()[-1])["train.steps"], self.hash

    def stages(self):
        """The options of one call of `train` after the other."""
        if not self.config["quality.stages"]:
            return [{}]
        stages, steps = [], 0
        for text in self.config["quality.stages"].split(","):
            context, sequences, more, rate = text.split(":")
            steps += int(more)
            stages.append({"model.context_length": context, "train.batch_sequences": sequences, "train.steps": str(steps),
                           "train.schedule": "constant"}
                          | {name: f"{float(rate) * float(self.config[name]):g}"
                             for name in ("train.learning_rate", "train.muon_learning_rate")})
        return stages

    def context(self):
        return int(self.config["model.context_length"])

    def eval_contexts(self):
        if self.config["quality.peer"]:
            return [self.context()]  # where it writes its losses
        return [int(text) or self.context() for text in self.config["quality.eval_contexts"].split(",")]


def read_options(words, lists):
    """{section.key: value} of words that are section.key=value or @list."""
    options = {}
    for word in words:
        if word in lists:
            options |= lists[word]
        elif re.fullmatch(r"\w+\.\w+=\S+", word):
            options |= [word.split("=", 1)]
        else:
            raise ValueError(f"'{word}' is neither section.key=value nor a list of options defined above")
    return options


def small(base, options):
    """For smoke: the same kind of model, tiny, on the text of `make run`; of its contexts the two shortest."""
    data = {key: f"build/data/kjv/{key.split('.')[1]}.h5" for key, value in (base | options).items() if value.endswith(".h5")}
    stages = [stage.split(":") for stage in (base | options).get("quality.stages", "").split(",") if stage]
    return options | SMOKE | data | {"quality.stages": ",".join(f"{context}:1:2:{rate}" for context, _, _, rate in stages[:2])}


def read_lines(path, lists):
    """(name, options, seeds) of each line; those of @name go into `lists`."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        name, options, seeds = ([part.strip() for part in line.split("#")[0].split("|")] + ["", ""])[:3]
        try:
            options = read_options(options.split(), lists)
        except ValueError as problem:
            sys.exit(f"run_table.py: {path}, line {number}: {problem}")
        if name.startswith("@"):
            lists[name] = options
        elif name:
            yield name, options, [seed.strip() for seed in (seeds or "1").split(",")]


def read_list(table, smoke):
    """Every model with every seed; with smoke one seed."""
    folder, lists = Path("configs/quality"), {}
    base = flat(folder / f"{table}.ini")
    list(read_lines(folder / "common.txt", lists))
    for name, options, seeds in read_lines(folder / f"{table}.txt", lists):
        for seed in seeds[:1] if smoke else seeds:
            yield Run(table, name, small(base, options) if smoke else options, base, seed)


# ---- the tables ----

class Table:
    """A CSV file that grows by whole rows. Columns of an older file stay as they are."""

    def __init__(self, path, columns):
        self.path, self.columns, self.lock = Path(path), columns, threading.Lock()
        self.rows = []
        if self.path.exists():
            with open(self.path, encoding="utf-8", newline="") as file:
                self.rows = list(csv.DictReader(file))

    def has(self, run):
        return any(tuple(row[column] for column in KEY) == run.key() for row in self.rows)

    def add(self, run, rows):
        """The rows of a run appear together: the file is written anew beside the old one and takes its place."""
        self.add_rows([dict(zip(KEY, run.key())) | row for row in rows])

    def add_rows(self, rows):
        with self.lock:
            self.rows += rows
            part = self.path.with_suffix(".part")
            with open(part, "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
                writer.writeheader()
                writer.writerows(self.rows)
            os.replace(part, self.path)


@functools.lru_cache
def processor():
    fields = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
                  if os.path.exists("/proc/cpuinfo") else [])
    name = fields.get("model name", platform.processor() or platform.machine())
    return name + (f" (family {fields['cpu family']} model {fields['model']})" if "cpu family" in fields else "")


# ---- one run ----

children = set()  # commands under way


def call(run, *command):
    """The output of a command; its last line, if it fails, is the reason."""
    environment = os.environ | {"OMP_NUM_THREADS": run.config["quality.threads"]}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    children.add(child)
    output, _ = child.communicate()
    children.discard(child)
    if child.returncode != 0:
        raise Failed((output.strip() or f"exit code {child.returncode}").splitlines()[-1])
    return output


def write_ini(run, path):
    """The configuration of this run for the program, and for people who look at it."""
    sections = {}
    for name, value in run.config.items():
        section, key = name.split(".", 1)
        if section not in ("quality", "output"):
            sections.setdefault(section, []).append(f"{key} = {value}")
    sections["output"] = [f"folder = {run.folder}", "checkpoint_minutes = 5", "keep = 1", "log_every = 50"]
    path.write_text("\n".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items()), encoding="utf-8")


def train(run):
    """Starts or continues; does nothing more where all steps are done."""
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    ini = run.folder.parent / (run.folder.name + ".ini")
    write_ini(run, ini)
    if run.config["quality.peer"]:
        peer = f"scripts/quality/peer_{run.config['quality.peer']}.py"
        return call(run, PEER_PYTHON, peer, "train", str(ini), run.config["quality.eval_tokens"])
    for stage in run.stages():
        call(run, PROGRAM, "train", str(ini), *(f"--{name}={value}" for name, value in stage.items()))


def columns_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def newest_checkpoint(run):
    return max(run.folder.glob("checkpoints/step-*.h5"))


def loss_by_position(losses):
    """Means over all windows; buckets beyond the context stay empty."""
    places = {}
    for start, end in zip(STARTS, (*STARTS[1:], losses.shape[1])):
        if start < losses.shape[1]:
            places[f"loss_from_{start}"] = f"{np.nanmean(losses[:, start:end]):.5f}"
    return places


def scored(path):
    with h5py.File(path) as file:
        losses = file["per_token_loss"][...].astype(float)
    loss = np.nanmean(losses)
    return {"loss": f"{loss:.5f}", "bits_per_byte": f"{loss / np.log(2):.5f}"} | loss_by_position(losses)


def evaluate_text(run, context):
    path = run.folder / f"losses-{context}.h5"
    sequences = max(1, int(run.config["quality.eval_tokens"]) // context)
    if not run.config["quality.peer"]:
        call(run, PROGRAM, "eval", f"--checkpoint={newest_checkpoint(run)}", f"--sequences={sequences}",
             f"--data={run.config['data.validation']}", f"--model.context_length={context}", f"--per_token_loss={path}")
    row = scored(path)
    path.unlink()
    return row


def evaluate_made(run, context):
    """A test of recall: what `eval` prints about its answers."""
    sequences = min(256, max(1, int(run.config["quality.eval_tokens"]) // context))
    command = [PROGRAM, "eval", f"--checkpoint={newest_checkpoint(run)}", f"--model.context_length={context}",
               f"--sequences={sequences}"]
    if run.config["data.source"] == "needle":
        command.append(f"--data={run.config['data.validation']}")
    output = call(run, *command)
    found = {name: re.search(rf"^{name}\s+(\S+)", output, re.M) for name in ("loss", "accuracy", "sequences right")}
    return {name.replace(" ", "_"): match[1] for name, match in found.items() if match}


def made_by(run):
    """(parameters, version) of what was trained."""
    if run.config["quality.peer"]:
        with open(run.folder / "peer.csv", encoding="utf-8", newline="") as file:
            return tuple(next(csv.DictReader(file)).values())
    with h5py.File(newest_checkpoint(run)) as file:
        trained = {name for state in file["optimizer"].values() for name in state}
        version = file.attrs["source_version"]
        return (sum(file["parameters"][name].size for name in trained),
                version.decode() if isinstance(version, bytes) else version)


def memory_mb(run):
    """The largest that the ends of training have told of rank 0; nothing of peers."""
    log = run.folder / "train.log"
    units = {"kB": 1e-3, "MB": 1, "GB": 1e3}
    told = re.findall(r"peak memory of rank 0 (\S+) ([kMG]B)", log.read_text(encoding="utf-8")) if log.exists() else []
    return f"{max(float(number) * units[unit] for number, unit in told):.0f}" if told else ""


def facts(run):
    """Columns that all rows of a run share."""
    metrics, (parameters, version) = columns_of(run.folder / "metrics.csv"), made_by(run)
    seconds, tokens = metrics["seconds"].sum(), int(metrics["tokens_seen"][-1])
    return {"tokens": tokens, "parameters": parameters, "seconds": f"{seconds:.1f}",
            "tokens_per_second": f"{tokens / seconds:.0f}",
            "memory_mb": memory_mb(run), "options": run.options, "version": version, "processor": processor()}


def curve(run):
    """Evaluations during training, by the seconds that the steps before them took."""
    if not (run.folder / "evaluations.csv").exists():
        return []
    metrics, evaluations = columns_of(run.folder / "metrics.csv"), columns_of(run.folder / "evaluations.csv")
    seconds = np.cumsum(metrics["seconds"])
    return [{"step": int(step), "seconds": f"{seconds[int(step) - 1]:.1f}", "loss": f"{loss:.5f}"}
            for step, loss in zip(evaluations["step"], evaluations["loss"])]


def finish(run, table, curves):
    """Trains and evaluates one model; its row appears when all is done."""
    train(run)
    made = run.config.get("data.source", "file") != "file"
    evaluate = evaluate_made if made else evaluate_text
    shared = facts(run)
    rows = [shared | {"evaluated_at": context} | evaluate(run, context)
            for context in run.eval_contexts()]
    curves.add(run, curve(run))
    table.add(run, rows)
    return " ".join(f"{row.get('accuracy') or row['loss']} at {row['evaluated_at']}" for row in rows)


# ---- the validation text ----

def mixed_validation(source, target, slices, length):
    """A short validation file: slices of the long one, evenly spaced, so that all its sources are in it. Windows of a power of
    two tokens up to the length of a slice do not cross from one to the next."""
    with h5py.File(source) as file:
        tokens = file["tokens"][...]
    length = min(length, (len(tokens) - 1) // slices)
    starts = np.linspace(0, len(tokens) - length - 1, slices).astype(int)
    cut = np.concatenate([tokens[start:start + length] for start in starts] + [tokens[starts[-1] + length:][:1]])
    with h5py.File(f"{target}.part", "w") as file:
        file.attrs.update(format="polysketch-tokens", format_version=1, tokenizer="bytes", vocab_size=256)
        file.create_dataset("tokens", data=cut, chunks=True)
    os.replace(f"{target}.part", target)


def prepare_validation(runs):
    for target in {run.config["data.validation"] for run in runs if run.config.get("data.validation")}:
        source = target.replace("-mixed.h5", ".h5")
        if source != target and not os.path.exists(target):
            mixed_validation(source, target, 8, 32768)


# ---- all runs ----

def report(future, run):
    """Whether the run is done."""
    try:
        text, done = future.result(), True
    except Failed as problem:
        text, done = f"FAILED: {problem}", False
    print(f"{run.name} seed {run.seed}: {text}", flush=True)
    return done


def run_all(runs, table, curves):
    """How many are done. Upon SIGINT or SIGTERM the runs under way save and end, and no other begins."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with concurrent.futures.ThreadPoolExecutor(int(runs[0].config["quality.jobs"])) as pool:
        futures = {pool.submit(finish, run, table, curves): run for run in runs}
        try:
            return sum(report(future, futures[future]) for future in concurrent.futures.as_completed(futures))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(children):
                child.terminate()
            sys.exit("run_table.py: stopped; the same command goes on")


def can_run(run):
    """Peers need not be there."""
    peer = run.config["quality.peer"].split("-")[0]
    there = not peer or subprocess.run([PEER_PYTHON, "-c", f"import {peer}"], capture_output=True).returncode == 0
    if not there:
        print(f"{run.name} is left out: {PEER_PYTHON} has no {peer}")
    return there


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--output", required=True, help="folder of the CSV files")
    parser.add_argument("--only", default="*", metavar="PATTERNS", help="names to run, such as 'long-*,softmax'")
    parser.add_argument("--seeds", metavar="LIST", help="seeds to run, such as 1 or 2,3, of those that a line has")
    parser.add_argument("--smoke", action="store_true", help="a few steps of tiny models, to try the whole")
    arguments = parser.parse_args()
    os.makedirs(arguments.output, exist_ok=True)
    table = Table(f"{arguments.output}/{arguments.table}.csv", COLUMNS)
    curves = Table(f"{arguments.output}/{arguments.table}-curves.csv", CURVE_COLUMNS)
    runs = [run for run in read_list(arguments.table, arguments.smoke)
            if any(fnmatch.fnmatch(run.name, pattern) for pattern in arguments.only.split(","))
            and (not arguments.seeds or str(run.seed) in arguments.seeds.split(","))]
    missing = [run for run in runs if not table.has(run) and can_run(run)]
    print(f"{arguments.table}: {len(runs)} runs, {len(missing)} to do", flush=True)
    if not missing:
        return 0
    prepare_validation(missing)
    done = run_all(missing, table, curves)
    print(f"{arguments.table}: {done} runs done, {len(missing) - done} failed", flush=True)
    return 0 if done == len(missing) else 1


if __name__ == "__main__":
    sys.exit(main())
