#!/usr/bin/env python3
"""Tables and pictures of what the job scripts in slurm/ have made; those scripts call it, and it can be called at any time.

    scripts/job_tables.py sweep FOLDER LINES              runs of slurm/sweep.sh: FOLDER/sweep.csv, sweep.txt, sweep.png
    scripts/job_tables.py scaling FOLDER [--ranks-per-node=N]        rows of slurm/scaling.sbatch: FOLDER/scaling.csv, ...

The text is the table in aligned columns, and is printed. Without gnuplot there is no picture, which a line says.

Columns of sweep.csv: `name` and `options` as in the line; `state`: finished, unfinished, or none where nothing was trained;
`steps` so far; `loss`, the mean training loss of the last 1 % of them, as compare_runs.sh has it; of the last evaluation
`validation_loss` and `bits_per_byte`; `tokens_per_second`, the median; `communication`, rank 0's share of all its time;
`skipped` steps.

Columns of scaling.csv: `scaling`, strong or weak; `ranks`, `nodes`, `threads` of a rank, `sequences` of a step, their `context`;
`tokens_per_second`; `speedup`, by useful operations per second against the fewest ranks, and `efficiency`, that by the number of
ranks; the shares of the time in `communication` and in `waiting`; `of_sgemm`, the useful operations beside those of sgemm in the
same run, which tells the program from a machine that slows down when all its cores work.
"""
import argparse
import configparser
import contextlib
import csv
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "quality"))
from plot import Curve, draw, read  # noqa: E402  # lies beside the tables that it draws


def write_whole(path, write):
    """Beside and renamed: who looks meanwhile sees the old one."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    with open(beside, "w", encoding="utf-8", newline="") as file:
        write(file)
    os.replace(beside, path)


def aligned(columns, rows):
    """Numbers to the right, words to the left."""
    cells = [columns, *([str(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    words = [any(not is_number(line[i]) for line in cells[1:]) for i in range(len(columns))]
    return "".join("  ".join(cell.ljust(width) if word else cell.rjust(width)
                             for cell, width, word in zip(line, widths, words)).rstrip() + "\n" for line in cells)


def is_number(text):
    try:
        float(text or 0)
        return True
    except ValueError:
        return False


def write_tables(folder, name, rows):
    """FOLDER/NAME.csv and NAME.txt; every row has the same columns."""
    columns = list(rows[0])

    def write_csv(file):
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

    text = aligned(columns, rows)
    write_whole(folder / f"{name}.csv", write_csv)
    write_whole(folder / f"{name}.txt", lambda file: file.write(text))
    print(text, end="")


def draw_whole(path, *arguments):
    if not shutil.which("gnuplot"):
        print("no picture: gnuplot is not installed. Try: make install-packages")
        return
    beside = path.with_name(f"{os.getpid()}-{path.name}")
    with contextlib.redirect_stdout(None):  # it would say this name
        draw(beside, *arguments)
    if beside.exists():  # there is something to draw
        os.replace(beside, path)
        print(f"picture: {path}")


def number(value, form):
    return "" if value is None or value != value else format(value, form)


# ---- sweeps ----

def sweep_lines(path):
    """(name, options) of each run, as slurm/common.bash reads them."""
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, options = line.split("#")[0].partition("|")
        if name.strip():
            yield name.strip(), " ".join(options.split())


def column(rows, name):
    """(step, value) of a column, without what is not a number."""
    pairs = ((int(row["step"]), float(row[name])) for row in rows if row[name])
    return [pair for pair in pairs if pair[1] == pair[1]]


def averaged(pairs):
    """(step, value) with the average around each step in place of the value."""
    lines = "".join(f"{step} {value!r}\n" for step, value in pairs)
    said = subprocess.run(["awk", "-f", Path(__file__).resolve().with_name("moving_average.awk")], input=lines, text=True,
                          stdout=subprocess.PIPE, check=True, env={**os.environ, "LC_ALL": "C"}).stdout
    return [(int(step), float(mean)) for step, _, mean in map(str.split, said.splitlines())]


def asked_steps(folder):
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=None)
    parser.read(folder / "config.ini", encoding="utf-8")
    return parser.getint("train", "steps", fallback=None)


def sweep_row(name, options, folder):
    steps, evaluations = read(folder / "metrics.csv"), read(folder / "evaluations.csv")
    losses = averaged(column(steps, "loss"))
    seconds = sum(float(row["seconds"]) for row in steps)
    done = int(steps[-1]["step"]) if steps else 0
    state = "none" if not steps else "finished" if done == asked_steps(folder) else "unfinished"

    def evaluated(what):
        values = column(evaluations, what)
        return values[-1][1] if values else None

    return {"name": name, "state": state, "steps": done,
            "loss": number(losses[-1][1] if losses else None, ".4f"),
            "validation_loss": number(evaluated("loss"), ".4f"), "bits_per_byte": number(evaluated("bits_per_byte"), ".4f"),
            "tokens_per_second": number(statistics.median(float(row["tokens_per_second"]) for row in steps) if steps else None,
                                        ".0f"),
            "communication": number(sum(float(row["communication_seconds"]) for row in steps) / seconds if seconds else None,
                                    ".3f"),
            "skipped": sum(int(row["skipped"]) for row in steps), "options": options}


def sweep(arguments):
    folder, runs = arguments.folder, list(sweep_lines(arguments.lines))
    if not runs:
        sys.exit(f"job_tables.py: '{arguments.lines}' has no runs. A line is NAME | section.key=value ...")
    write_tables(folder, "sweep", [sweep_row(name, options, folder / name) for name, options in runs])
    training = [Curve(averaged(column(read(folder / name / "metrics.csv"), "loss")), name, "lines linewidth 1.5")
                for name, _ in runs]
    validation = [Curve(column(read(folder / name / "evaluations.csv"), "loss"), name) for name, _ in runs]
    draw_whole(folder / "sweep.png", "1300,560", "1,2", [
        ("set title 'training loss, mean around each step over 2 % of the run'; set xrange [0:*]; set xlabel 'step'; "
         "set ylabel 'nats per token'", training),
        ("set title 'validation loss'; set xlabel 'step'; set ylabel 'nats per token'", validation)])
    return 0


# ---- scaling ----

def scaling_rows(folder, ranks_per_node):
    for scaling in ("strong", "weak"):
        rows = sorted(read(folder / f"{scaling}.csv"), key=lambda row: int(row["ranks"]))
        for row in rows:
            ranks, rate = int(row["ranks"]), float(row["useful_gflops"])
            speedup = rate / float(rows[0]["useful_gflops"]) * int(rows[0]["ranks"])
            yield {"scaling": scaling, "ranks": ranks, "nodes": -(-ranks // ranks_per_node), "threads": row["threads"],
                   "sequences": row["batch_sequences"], "context": row["context"],
                   "tokens_per_second": f"{1e6 / float(row['microseconds_per_token']):.0f}",
                   "speedup": f"{speedup:.3f}", "efficiency": f"{speedup / ranks:.3f}",
                   "communication": row["communication_fraction"], "waiting": row["waiting_fraction"],
                   "of_sgemm": row["fraction_of_peak"]}


def scaling(arguments):
    folder = arguments.folder
    rows = list(scaling_rows(folder, arguments.ranks_per_node))
    if not rows:
        sys.exit(f"job_tables.py: there are no rows in {folder}/strong.csv and weak.csv. slurm/scaling.sbatch makes them")
    write_tables(folder, "scaling", rows)

    def curves(name, factor=1, title=""):
        return [Curve([(row["ranks"], factor * float(row[name])) for row in rows if row["scaling"] == kind], f"{kind}{title}")
                for kind in ("strong", "weak")]

    counts = sorted({row["ranks"] for row in rows})
    ideal = Curve([(count, count) for count in counts], "ideal", "lines linewidth 1.5 dashtype 2")
    ticks = f"set logscale x 2; set xtics ({', '.join(map(str, counts))}); set xlabel 'ranks'"
    draw_whole(folder / "scaling.png", "1300,560", "1,2", [
        (f"set title 'useful operations per second'; {ticks}; set logscale y 2; set key top left; set ylabel 'speed-up'",
         [*curves("speedup"), ideal]),
        (f"set title 'time of a step that is not computing'; {ticks}; unset logscale y; set yrange [0:*]; "
         "set ylabel '% of the time'", [*curves("communication", 100, ", communication"), *curves("waiting", 100, ", waiting")])])
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, metavar="sweep|scaling")
    kind = kinds.add_parser("sweep", help="of the runs of slurm/sweep.sh")
    kind.add_argument("folder", type=Path)
    kind.add_argument("lines", type=Path, help="the sweep file: FOLDER/lines-*.txt")
    kind.set_defaults(make=sweep)
    kind = kinds.add_parser("scaling", help="of the rows of slurm/scaling.sbatch")
    kind.add_argument("folder", type=Path)
    kind.add_argument("--ranks-per-node", type=int, default=1)
    kind.set_defaults(make=scaling)
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        sys.exit(f"job_tables.py: there is no folder '{arguments.folder}'")
    sys.exit(arguments.make(arguments))


if __name__ == "__main__":
    main()
