#!/usr/bin/python3
"""The pictures of results/quality, from those of its CSV files that are there. Needs gnuplot.

    scripts/quality/plot.py FOLDER
"""
import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

COLOURS = "#08519c #d94801 #238b45 #6a51a3 #000000 #c51b8a #8c6d31 #17a2b8 #969696 #fdae6b".split()


def read(path):
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def find(rows, **wanted):
    return [row for row in rows if all(row[key] == str(value) for key, value in wanted.items())]


class Curve:
    """A line of a panel: points (x, y), a title, a gnuplot style; columns are x:y unless `using` says more."""

    def __init__(self, points, title="", style="linespoints pointtype 7 pointsize 0.8 linewidth 2", using="1:2"):
        self.points, self.title, self.style, self.using = points, title, style, using


def panel(settings, curves, number):
    """gnuplot commands of one panel; the data stand in blocks of their own."""
    curves = [curve for curve in curves if curve.points]
    blocks = "".join(f"$d{number}_{i} << END\n" + "\n".join(" ".join(map(str, point)) for point in curve.points) + "\nEND\n"
                     for i, curve in enumerate(curves))
    plots = ", ".join(f"$d{number}_{i} using {curve.using} with {curve.style} linecolor rgb '{COLOURS[i % len(COLOURS)]}' "
                      f"title '{curve.title}'" for i, curve in enumerate(curves))
    return f"{blocks}{settings}\nplot {plots}\n" if curves else ""


def draw(path, size, layout, panels, margins="0.09,0.98,0.12,0.93"):
    """Panels are (settings, curves); those without data are left out. Margins: left, right, bottom, top of all panels."""
    if not any(curve.points for _, curves in panels for curve in curves):
        return
    script = f"""set terminal pngcairo size {size} font 'DejaVu Sans,12' noenhanced
set output '{path}'
set grid linecolor rgb '#dddddd' linetype 1
set key spacing 1.1 opaque box linecolor rgb '#bbbbbb'
set multiplot layout {layout} margins {margins} spacing 0.1,0.16
"""
    script += "".join(panel(settings, curves, number) for number, (settings, curves) in enumerate(panels)) + "unset multiplot\n"
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    print(f"picture: {path}")


# ---- approximation ----

def series(rows, x, **wanted):
    return [(float(row[x]), float(row["value"])) for row in find(rows, **wanted)]


def approximation(folder):
    rows = read(folder / "approximation.csv")
    logarithmic = ("set logscale x 2; set logscale y; set format x '%g'; set format y '%g'; set yrange [*:*]; "
                   "set key bottom left; set xlabel 'sketch size r'")
    names = [name for name in dict.fromkeys(row["vectors"] for row in rows) if name == "normed" or name.startswith("layer")]

    def errors(part, quantity):
        return [Curve(series(rows, "sketch_size", part=part, quantity=quantity, degree=4, matrices="gaussian", vectors=name),
                      name) for name in names]

    match = [Curve(series(rows, "tokens", part="match", degree=p, matrices=matrices, sketch_size=r), title)
             for p, matrices, r, title in (("", "softmax", "", "softmax"), (4, "exact", "", "exact, p = 4"),
                                           (4, "gaussian", 512, "r = 512"), (4, "gaussian", 128, "r = 128"),
                                           (4, "gaussian", 64, "r = 64"), (4, "gaussian", 32, "r = 32"))]
    swap = [Curve(series(rows, "sketch_size", part="swap", matrices="gaussian", quantity=quantity), title)
            for quantity, title in (("loss", "sketch everywhere"), ("loss with exact blocks", "exact in blocks of 128"))]
    exact = [(r, loss) for _, loss in series(find(rows, part="swap", matrices="exact"), "degree") for r in (8, 512)]
    draw(folder / "approximation.png", "1200,900", "2,2", [
        (f"set title 'error of the weights / weights, p = 4'; {logarithmic}", errors("kernel", "error / weights")),
        (f"set title 'error of the output / output, p = 4, all sketched'; {logarithmic}; unset logscale y; set yrange [0:1.2]",
         errors("attention", "output error")),
        (f"set title 'weight of one match among T unrelated keys'; {logarithmic}; set xlabel 'T'; set xrange [*:*]", match),
        (f"set title 'loss of a trained model whose kernel is replaced'; {logarithmic}; unset logscale y; set yrange [0.4:3.2]",
         swap + [Curve(exact, "exact", "lines linewidth 2 dashtype 2")])])


# ---- tables of trained models ----

def means(rows, column="loss"):
    """{name: (mean, least, largest)} over seeds; names in the order of the file."""
    values = {}
    for row in rows:
        if row[column]:
            values.setdefault(row["name"], []).append(float(row[column]))
    return {name: (sum(list_) / len(list_), min(list_), max(list_)) for name, list_ in values.items()}


def by_kind(folder):
    """The loss of every model of a context, the best on top; the bar reaches from the best to the worst seed."""
    table = read(folder / "text.csv")
    for steps, context in sorted({(row["steps"], row["evaluated_at"]) for row in table}):
        rows = [row for row in table if (row["steps"], row["evaluated_at"]) == (steps, context)]
        names = sorted(means(rows).items(), key=lambda item: -item[1][0])
        if not names:
            continue
        points = [(mean, place, low, high) for place, (_, (mean, low, high)) in enumerate(names)]
        labels = ", ".join(f"'{name}' {place}" for place, (name, _) in enumerate(names))
        least, most = min(low for _, _, low, _ in points), max(high for *_, high in points)
        spare = max(0.01, 0.05 * (most - least))  # what a seed moves is not to look large
        settings = (f"set title 'books, {steps} steps, context {context}'; "
                    f"set xlabel 'nats per byte'; set ytics ({labels}); unset key; "
                    f"set yrange [-1:{len(names)}]; set xrange [{least - spare:.3f}:{most + spare:.3f}]")
        height = 120 + 20 * len(names)
        draw(folder / f"kinds-{steps}-{context}.png", f"1000,{height}", "1,1",
             [(settings, [Curve(points, style="xerrorbars pointtype 7 linewidth 2", using="1:2:3:4")])],
             f"0.25,0.97,{60 / height:.3f},{1 - 45 / height:.3f}")


def by_size(folder):
    """Loss against r: names are SKETCH-R."""
    values = means(read(folder / "text.csv"))
    curves = []
    for family in ("random", "learned", "projection", "full-random", "full-projection"):
        found = {int(match[1]): values[match[0]][0] for match in (re.fullmatch(rf"{family}-(\d+)", name) for name in values)
                 if match}
        curves.append(Curve(sorted(found.items()), family))
    for name in ("softmax", "softmax-norm-gate", "polynomial-4", "full-none"):
        curves.append(Curve([(r, values[name][0]) for r in (16, 64) if name in values], name, "lines linewidth 1.5 dashtype 2"))
    draw(folder / "sizes.png", "900,600", "1,1",
         [("set title 'books: loss by sketch size'; set logscale x 2; set xlabel 'r'; set ylabel 'nats per byte'; "
           "set key top left", curves)],
         "0.12,0.98,0.12,0.93")


def by_position(folder):
    """Where in a long context the loss falls, of models trained at one context and evaluated at the longest."""
    rows = read(folder / "length.csv")
    if not rows:
        return
    longest = max(int(row["evaluated_at"]) for row in rows)
    buckets = [column for column in rows[0] if column.startswith("loss_from_")]
    panels = []
    for trained in sorted({row["name"].split("-")[1] for row in rows}, key=int):
        curves = [Curve([(max(1, int(bucket.split("_")[-1])), float(row[bucket])) for bucket in buckets if row[bucket]],
                        row["name"].split("-", 2)[2])
                  for row in find(rows, evaluated_at=longest, seed="1") if row["name"].split("-")[1] == trained]
        panels.append((f"set title 'trained at {trained} tokens'; set logscale x; set xrange [1:20000]; "
                       "set xtics (1, 16, 64, 256, '1k' 1024, '4k' 4096, '16k' 16384); set key samplen 1.5; "
                       "set xlabel 'position from'; set ylabel 'nats per byte'", curves))
    draw(folder / "positions.png", f"{450 * len(panels)},550", f"1,{len(panels)}", panels)


def by_context(folder):
    """Accuracy of the tests of recall against the context."""
    rows = read(folder / "recall.csv")
    panels = []
    for test in dict.fromkeys(row["name"].split("-")[0] for row in rows):
        of_test = [row for row in rows if row["name"].split("-")[0] == test]
        curves = [Curve([(int(row["evaluated_at"]), float(row["accuracy"])) for row in find(of_test, name=name, seed="1")],
                        name.split("-", 1)[1]) for name in dict.fromkeys(row["name"] for row in of_test)]
        panels.append((f"set title '{test}'; set logscale x 2; set yrange [0:1.02]; set xlabel 'context'; "
                       "set ylabel 'accuracy'; set key center right", curves))
    down, across = (len(panels) + 1) // 2, min(2, len(panels))
    draw(folder / "recall.png", f"{650 * across},{450 * down}", f"{down},{across}", panels, "0.13,0.94,0.14,0.9")


def by_time(folder):
    """What a minute of training earns, and what a token costs at each context."""
    curves, costs = read(folder / "time-curves.csv"), read(folder / "latency.csv")
    names = [name for name in dict.fromkeys(row["name"] for row in curves) if not name.startswith("rate-")]
    draw(folder / "time.png", "1300,560", "1,2", [
        ("set title 'books, contexts of 32,768 tokens: loss of held-out text'; set logscale x; set xlabel 'minutes of training'; "
         "set ylabel 'nats per byte'; set key top right",
         [Curve([(float(row["seconds"]) / 60, float(row["loss"])) for row in find(curves, name=name)], name) for name in names]),
        ("set title 'a training step, two layers of width 128'; set logscale xy 2; set xlabel 'context'; "
         "set ylabel 'microseconds per token' offset 1; set key top left",
         [Curve(series_of(costs, name), name) for name in dict.fromkeys(row["name"] for row in costs)])],
         "0.07,0.98,0.12,0.92")


def series_of(costs, name):
    return [(int(row["context"]), float(row["microseconds_per_token"])) for row in find(costs, name=name)]


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/quality/plot.py FOLDER")
    if not shutil.which("gnuplot"):
        print("no pictures: gnuplot is not installed. Try: make install-packages")
        return
    for picture in (approximation, by_kind, by_size, by_position, by_context, by_time):
        picture(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
