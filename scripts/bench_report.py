#!/usr/bin/env python3
"""The table and the picture of the benchmark, from the CSV files that scripts/bench.sh wrote.

    scripts/bench_report.py FOLDER        prints the table; writes table.txt, profile.txt, latency.png there

How figures are made. A shared machine changes its speed between runs, so a run is judged by sgemm beside it: its cost is
useful operations / fraction of peak, the operations that sgemm would have done in its time. Ratios of times are ratios of
costs; where several rounds were run, of their medians. A step of 12 layers is six times two layers with a vocabulary of 256
(six small output layers are counted, 1 %) plus the output layer and its optimizer (one layer with a vocabulary of 50,304
minus one with 256, at 2,048 or 8,192 tokens). A step at 131,072 tokens is twelve times one layer plus that output layer, and
so is the step at 2,048 it is compared with. Generated tokens and PyTorch are compared by plain times, taken in turn.
"""
import csv
import os
import shutil
import subprocess
import sys

LAYERS = 12
VARIANTS = {"random": "polysketch, random r = 32", "learned": "polysketch, learned r = 32", "softmax": "softmax, blocked"}


def variant_of(row):
    return row["sketch"] if row["kind"] == "polysketch" else row["kind"]


class Rows:
    """Rows of one CSV file; none when the part has not been run."""

    def __init__(self, folder, name):
        path = os.path.join(folder, name)
        self.rows = []
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.rows = list(csv.DictReader(file))

    def find(self, **wanted):
        """Rows with these values, in the order of the file."""
        return [
            row
            for row in self.rows
            if all(str(value) == (variant_of(row) if key == "variant" else row[key]) for key, value in wanted.items())
        ]

    def contexts(self, variant):
        return sorted({int(row["context"]) for row in self.find(variant=variant)})

    def median(self, what, **wanted):
        """Of a figure of these rows, which several rounds may have written."""
        return median([what(row) for row in self.find(**wanted)])


def operations(row):
    """Useful operations per token, in thousands."""
    return time_of(row) * float(row["useful_gflops"])


def time_of(row):
    return float(row["microseconds_per_token"])


def cost(row):
    return operations(row) / float(row["fraction_of_peak"])


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def nearest_output(context):
    """The context at which the output layer was measured for a step of this one."""
    return 2048 if context < 8192 else 8192


def complete(output, context):
    near = nearest_output(context)
    return all(output.find(context=near, vocab_size=size) for size in (50304, 256))


def output_layer(output, context, what):
    """The output layer and its optimizer, at the context nearest to this one."""
    near = nearest_output(context)
    return output.median(what, context=near, vocab_size=50304) - output.median(what, context=near, vocab_size=256)


class Step:
    """A whole step of 12 layers, added up."""

    def __init__(self, layers, output, variant, context):
        two = layers.find(variant=variant, context=context)[0]
        self.name = name_of(two)
        self.sketched = two["kind"] == "polysketch" and int(two["block_length"]) < context
        self.operations = LAYERS / 2 * operations(two) + output_layer(output, context, operations)
        self.cost = LAYERS / 2 * layers.median(cost, variant=variant, context=context) + output_layer(output, context, cost)
        self.fraction = self.operations / self.cost


def with_block(variant, block, context):
    """The variant, with its block length where it has blocks; a sequence of a single block has no sketches."""
    name = VARIANTS.get(variant, variant)
    if variant not in ("random", "learned") or not block:
        return name
    return f"{name}, b = {block}" + (" (exact polynomial)" if int(block) >= int(context) else "")


def name_of(row):
    return with_block(variant_of(row), row["block_length"], row["context"])


class Table:
    def __init__(self):
        self.lines = [f"{'figure':<90} {'bar':>9} {'measured':>10}"]
        self.lines.append("-" * 123)

    def add(self, name, bar, value, good, shape="{:.3g}"):
        self.lines.append(f"{name:<90} {bar:>9} {shape.format(value):>10}   {'ok' if good else 'FALLS SHORT'}")

    def note(self, name, value):
        self.lines.append(f"{name:<90} {'':>9} {value:>10}")


def steps_of(layers, output):
    if not output.rows:
        return {}
    return {(v, c): Step(layers, output, v, c) for v in VARIANTS for c in layers.contexts(v) if complete(output, c)}


def add_steps(table, steps, whole):
    for variant in ("random", "learned"):
        for context in (2048, 4096, 8192, 16384, 32768):
            if (variant, context) in steps:
                fraction = steps[variant, context].fraction
                name = f"whole step, {steps[variant, context].name}, {context} tokens: of sgemm"
                table.add(name, ">= 80 %", 100 * fraction, fraction >= 0.8, "{:.1f} %")
    for row in whole.rows:
        name = f"  12 layers in one run, {name_of(row)}, {row['context']} tokens"
        table.note(name, f"{100 * float(row['fraction_of_peak']):.1f} %")


def add_attention(table, rows):
    """Attention alone; the bar is that of softmax, so that every comparison with it is honest."""
    for row in rows.rows:
        fraction = float(row["fraction_of_peak"])
        name = f"attention alone, {name_of(row)}, {row['context']} tokens: of sgemm"
        if variant_of(row) == "softmax":
            table.add(name, ">= 65 %", 100 * fraction, fraction >= 0.65, "{:.1f} %")
        else:
            table.note(name, f"{100 * fraction:.1f} %")


def add_ratios(table, steps):
    for variant, bar in (("learned", 3.0), ("random", 3.5)):
        if ("softmax", 32768) in steps and (variant, 32768) in steps:
            ratio = steps["softmax", 32768].cost / steps[variant, 32768].cost
            name = f"softmax step / {steps[variant, 32768].name} step, 32768 tokens"
            table.add(name, f">= {bar}", ratio, ratio >= bar, "{:.2f}")
    for variant, bar in (("random", 2048), ("learned", 4096)):
        contexts = sorted(c for v, c in steps if v == variant and steps[v, c].sketched and ("softmax", c) in steps)
        behind = [c for c in contexts if steps[variant, c].cost > steps["softmax", c].cost]
        even = [c for c in contexts if not behind or c > max(behind)]
        if contexts:
            value = even[0] if even else float("inf")
            name = f"break-even with own softmax, {VARIANTS[variant]}, b < context: from tokens"
            table.add(name, f"<= {bar}", value, value <= bar, "{:.0f}")


def add_long(table, rows, output):
    """A whole step, and beside it a layer alone: it shows the blocks that need no sketch, of which a short context has more."""
    for variant in ("random", "learned"):
        contexts = (2048, 131072)
        if not all(rows.find(variant=variant, context=context) for context in contexts):
            continue
        layer = [rows.median(cost, variant=variant, context=context) for context in contexts]
        name = name_of(rows.find(variant=variant)[0])
        if all(complete(output, context) for context in contexts):
            step = [LAYERS * value + output_layer(output, context, cost) for value, context in zip(layer, contexts)]
            ratio = step[1] / step[0]
            table.add(f"whole step, us/token at 131072 / at 2048 tokens, {name}", "<= 1.05", ratio, ratio <= 1.05, "{:.3f}")
        table.note(f"  a layer alone, {name}", f"{layer[1] / layer[0]:.3f}")


def add_grid(table, rows):
    def of_grid(ranks, threads, what):
        found = rows.find(ranks=ranks, threads=threads, context=4096)
        return median([what(row) for row in found]) if found else None

    # Costs are relative to sgemm on the same cores.
    one, threads, ranks = of_grid(1, 1, cost), of_grid(1, 2, cost), of_grid(2, 1, cost)
    if one and threads and ranks:
        difference = abs(threads - ranks) / min(threads, ranks)
        name = "2 ranks x 1 thread against 1 rank x 2 threads: difference"
        table.add(name, "<= 5 %", 100 * difference, difference <= 0.05, "{:.1f} %")
        for name, value in (("1 rank x 2 threads", threads), ("2 ranks x 1 thread", ranks)):
            speedup = 2 * one / value
            table.add(f"{name} / 1 x 1 in speed, where sgemm would have 2", ">= 1.9", speedup, speedup >= 1.9, "{:.2f}")
        alone = of_grid(1, 1, time_of)
        plain = f"{alone / of_grid(1, 2, time_of):.2f}, {alone / of_grid(2, 1, time_of):.2f}"
        table.note("  in plain times, to 1 x 2 and to 2 x 1", plain)


def add_communication(table, rows):
    for row in rows.rows:
        fraction = float(row["communication_fraction"])
        name = f"communication, 2 ranks, 32768 tokens, {VARIANTS[variant_of(row)]}"
        table.add(name, "< 2 %", 100 * fraction, fraction < 0.02, "{:.2f} %")
        table.note("  waiting of the faster rank for the slower", f"{100 * float(row['waiting_fraction']):.2f} %")


def add_scan(table, rows):
    """Time of a step with each sum over ranks; the default is the first."""
    found = {scan: rows.find(scan=scan) for scan in ("iexscan", "exscan", "chain")}
    if all(found.values()):
        default = median([cost(row) for row in found["iexscan"]])
        for scan in ("exscan", "chain"):
            ratio = median([cost(row) for row in found[scan]]) / default
            table.note(f"2 ranks, 8192 tokens: step with parallel.scan = {scan} / with iexscan, the default", f"{ratio:.3f}")


def add_memory(table, rows):
    for row in rows.rows:
        planned, peak = float(row["planned_bytes"]), float(row["peak_rss_bytes"])
        shape = f"{row['layers']} layers, width {row['width']}, {row['context']} tokens"
        table.add(f"{shape}: peak memory, GB", "<= 24 GiB", peak / 1e9, peak < 24 * 2**30, "{:.2f}")
        over = peak / planned - 1
        table.add("  beside what `polysketch plan` says", "<= 10 %", 100 * over, abs(over) <= 0.1, "{:+.1f} %")


def add_decode(table, rows):
    for variant in ("random", "learned"):
        near, far = (
            [time_of(row) for row in rows.find(variant=variant, context=c)] for c in (1024, 102400)
        )
        if near and far:
            ratio = median(far) / median(near)
            name = f"generated token at 102400 / at 1024, {VARIANTS[variant]}"
            table.add(name, "<= 1.05", ratio, ratio <= 1.05, "{:.3f}")
            table.note("  milliseconds per generated token", f"{median(near) / 1000:.1f}")


def peer_seconds(rows):
    """Seconds of a whole step: (side, context) -> seconds."""
    parts = {(r["side"], r["part"]): float(r["seconds"]) for r in rows.rows}
    found = {}
    for side in ("torch", *VARIANTS):
        rest = side if side == "torch" else "softmax"
        if (side, "whole") in parts:
            found[side, 1024] = parts[side, "whole"]
        if (side, "layers") in parts and (rest, "output") in parts:
            output = (parts[rest, "output"] - parts[rest, "no output"]) * 32768 / 8192
            found[side, 32768] = LAYERS / 2 * parts[side, "layers"] + output
    return found


def peer_name(rows, variant, context):
    blocks = [r.get("block_length") for r in rows.rows if r["side"] == variant and r["context"] == str(context)]
    return with_block(variant, next(iter(blocks), None), context)


def add_peer(table, rows):
    seconds = peer_seconds(rows)
    for context, bar in ((1024, 1.0), (32768, 4.0)):
        for variant in VARIANTS:
            if ("torch", context) in seconds and (variant, context) in seconds:
                ratio = seconds["torch", context] / seconds[variant, context]
                name = f"PyTorch step / {peer_name(rows, variant, context)} step, {context} tokens"
                if variant == "softmax":
                    table.note(name, f"{ratio:.2f}")
                else:
                    table.add(name, f">= {bar}", ratio, ratio >= bar, "{:.2f}")
    if not rows.rows:
        table.lines.append("PyTorch: no peer.csv, so it is not compared")


def profile_lines(rows):
    """Time of a 12-layer step at 32768 tokens by phase, added up like the step itself."""

    def phases(**wanted):
        found = rows.find(**wanted)
        return {row["phase"]: rows.median(time_of, phase=row["phase"], **wanted) for row in found}

    large, small = phases(context=8192, layers=1, vocab_size=50304), phases(context=8192, layers=1, vocab_size=256)
    lines = []
    for variant, name in VARIANTS.items():
        two = phases(variant=variant, context=32768, layers=2)
        if not two or not large or not small:
            continue
        whole = {phase: LAYERS / 2 * time for phase, time in two.items()}
        for phase in ("output layer, loss", "optimizer", "embedding"):
            whole[phase] = whole.get(phase, 0) + large[phase] - small[phase]
        total = sum(whole.values())
        lines += [f"{name}, 32768 tokens, 12 layers", f"{'phase':<30} {'us/token':>10} {'share':>8}"]
        lines += [f"{phase:<30} {time:>10.1f} {100 * time / total:>6.1f} %" for phase, time in whole.items()] + [""]
    return lines


def draw(folder, steps, peak, peer):
    """Time per token against the context, as in figure 1 of the paper; costs at one rate of sgemm, the median of the run."""
    blocks, curves = [], []
    colours = {"softmax": "#d94801", "random": "#6baed6", "learned": "#08519c"}
    style = "with linespoints linewidth 2.5 pointtype 7 linecolor rgb"
    for variant, name in VARIANTS.items():
        points = sorted((c, step.cost / peak) for (v, c), step in steps.items() if v == variant)
        blocks.append(f"${variant} << EOD\n" + "".join(f"{c} {t / 1000}\n" for c, t in points) + "EOD\n")
        curves.append(f"${variant} using 1:2 {style} '{colours[variant]}' title '{name}'")
    points = [(c, s) for (side, c), s in peer_seconds(peer).items() if side == "torch"]
    if points:
        blocks.append("$torch << EOD\n" + "".join(f"{c} {1000 * s / c}\n" for c, s in points) + "EOD\n")
        style = "with points pointtype 4 pointsize 2 linewidth 2 linecolor rgb"
        curves.append(f"$torch using 1:2 {style} '#666666' title 'PyTorch, SDPA'")
    script = "".join(blocks) + f"""
set terminal png size 1000,620 font 'DejaVu Sans,13'
set output '{folder}/latency.png'
set title 'GPT-2 small, one training step: time per token (polysketch with the fastest blocks)' font ',15'
set xlabel 'context length (tokens)'
set ylabel 'milliseconds per token'
set logscale x 2
set logscale y 2
set xrange [400:42000]
set grid xtics ytics linecolor rgb '#dddddd' linetype 1
set key top left box linecolor rgb '#bbbbbb' spacing 1.2 opaque
plot {', '.join(curves)}
"""
    if not shutil.which("gnuplot"):
        print("no picture: gnuplot is not installed. Try: make install-packages")
        return
    print(f"picture: {folder}/latency.png")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/bench_report.py FOLDER")
    folder = sys.argv[1]
    parts = {name: Rows(folder, f"{name}.csv") for name in (
        "layers", "output", "whole", "attention", "long", "grid", "communication", "scan", "profile", "decode", "memory", "peer")}
    steps = steps_of(parts["layers"], parts["output"])
    table = Table()
    add_steps(table, steps, parts["whole"])
    add_attention(table, parts["attention"])
    add_long(table, parts["long"], parts["output"])
    add_ratios(table, steps)
    add_peer(table, parts["peer"])
    add_grid(table, parts["grid"])
    add_communication(table, parts["communication"])
    add_scan(table, parts["scan"])
    add_memory(table, parts["memory"])
    add_decode(table, parts["decode"])
    text = "\n".join(table.lines)
    print(text)
    with open(os.path.join(folder, "table.txt"), "w", encoding="utf-8") as file:
        print(text, file=file)
    with open(os.path.join(folder, "profile.txt"), "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in profile_lines(parts["profile"]))
    if steps:
        rates = [float(row["sgemm_gflops"]) for name in ("layers", "output") for row in parts[name].rows]
        draw(folder, steps, median(rates), parts["peer"])


if __name__ == "__main__":
    main()
