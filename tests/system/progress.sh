#!/bin/bash
# What a run says while it trains: lines of fixed fields whose figures follow from its tables and its plan, signs of life, and a
# table of phases over the ranks at its end.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# check NAME RANKS OPTIONS...: the figures of a run's progress lines, and its table of phases.
check() {
    local name=$1 ranks=$2
    shift 2
    train "$ranks" "$name" --train.steps=7 --output.log_every=3 "$@"
    "$program" plan tests/data/tiny.ini --data.train="$data/train.h5" --ranks="$ranks" "$@" >"$TEST_FOLDER/$name.plan"
    quiet python - "$TEST_FOLDER/$name" "$ranks" <<'END'
import math, re, sys
import numpy as np

run, ranks = sys.argv[1], int(sys.argv[2])
lines = open(f"{run}/train.log", encoding="utf-8").read().splitlines()
table = np.genfromtxt(f"{run}/metrics.csv", delimiter=",", names=True)
planned = next(line.split()[-1] for line in open(f"{run}.plan") if "flops per step  " in line)
rate, useful = map(float, re.search(r"sgemm: (\S+) GF/s on all ranks together; .* are (\S+) GF", "\n".join(lines)).groups())
assert math.isclose(useful * 1e9, float(planned), rel_tol=1e-3), (useful, planned)

shape = re.compile(r"step (\d+)/7 \| loss (\d+\.\d{4}) bpb (\d+\.\d{3}|-) \| lr (\d\.\de[-+]\d\d) norm (\S+) \| (\d+) tokens/s"
                   r" \| sgemm (\d+)% comm (\d+)% wait (\d+)% \| end \d\d:\d\d")
steps = [line for line in lines if line.startswith("step ")]
assert all(len(line) <= 130 for line in steps), steps
said = [shape.fullmatch(line) for line in steps]
assert all(said) and [int(match[1]) for match in said] == [1, 3, 6, 7], steps
before = 0
for match in said:
    step = int(match[1])
    now, since = table[step - 1], table[before:step]
    before = step
    seconds, tokens = since["seconds"].sum(), now["tokens_seen"] / step * len(since)
    assert abs(float(match[2]) - now["loss"]) <= 0.51e-4 and abs(float(match[3]) - now["loss"] / math.log(2)) <= 0.51e-3
    assert math.isclose(float(match[4]), now["learning_rate"], rel_tol=0.06)
    assert math.isclose(float(match[5]), now["gradient_norm"], rel_tol=0.006)
    assert math.isclose(float(match[6]), tokens / seconds, abs_tol=0.51, rel_tol=1e-5), (match[6], tokens / seconds)
    share = 100 * useful * len(since) / seconds / rate
    assert math.isclose(float(match[7]), share, abs_tol=0.51, rel_tol=3e-3), (match[7], share)
    own = 100 * since["communication_seconds"].sum() / seconds  # of rank 0: from the least to the most
    least, waiting = int(match[8]), int(match[9])
    assert least - 0.51 <= own <= least + waiting + 1.01 and (ranks > 1 or waiting == 0), (own, match[0])

start = next(i for i, line in enumerate(lines) if line.startswith("time of 7 steps (s) "))
row = re.compile(r"  (\S.*\S) +(\d+\.\d{3}) +(\d+\.\d{3}) +(\d+\.\d{3})   rank (\d+) +(\d+\.\d) %")
rows = []
for line in lines[start + 1:]:
    if not (match := row.fullmatch(line)):
        break
    rows.append((match[1], *map(float, match.groups()[1:])))
names = [name for name, *_ in rows]
assert {"dense products of layers", "output layer, loss", "optimizer"} <= set(names) and names[-1] == "all of it", rows
for name, least, mean, most, rank, share in rows:
    assert least - 0.001 <= mean <= most + 0.001 and rank < ranks and 0 <= share <= 100.01, (name, least, mean, most)
whole = rows[-1]
assert abs(sum(mean for _, _, mean, *_ in rows[:-1]) - whole[2]) <= 0.001 * len(rows) + 0.01 * whole[2], rows
assert whole[3] + 0.001 >= table["seconds"].sum() > 0
slowest = [line for line in lines if line.startswith("slowest: rank ")]
assert len(slowest) == (ranks > 1) and all(int(re.search(r"rank (\d+)", line)[1]) < ranks for line in slowest), slowest
END
}

# Where the bytes of tokens are not known, as in a test of recall, no bits are.
test_no_bits() {
    train 2 recall --data.source=recall --data.items=4
    says recall ' bpb - | '
}

# Steps and evaluations of some milliseconds, watched every fraction of one; a second run is not asked to.
test_signs_of_life() {
    train 2 watched --output.heartbeat_seconds=0.001 --model.width=64 --model.context_length=256 \
        --data.validation="$data/validation.h5"
    grep -qE '^step [1-5]/5 \| under way for [0-9]+s \| now: [a-z]' "$TEST_FOLDER/watched/train.log" ||
        give_up "no sign of life: $(<"$TEST_FOLDER/watched/train.log")"
    train 2 unwatched --output.heartbeat_seconds=0 --model.width=64 --model.context_length=256 \
        --data.validation="$data/validation.h5"
    ! grep -F 'under way' "$TEST_FOLDER/unwatched/train.log" >&2 || give_up 'nobody asked'
    require_equal_losses watched unwatched
}

prepare_data
start check one 1
start check three 3
start check grid 4 --parallel.data_ranks=2 --attention.kind=softmax
start test_no_bits
start test_signs_of_life
finish
