#!/bin/bash
# What plan, eval, inspect and bench say: the same facts as text and, with --json, as one document; statistics of tensors and
# differences of checkpoints as NumPy has them. What messages take on a network, as worked out by hand.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# document NAME RANKS ARGUMENTS...: the text of a subcommand in NAME.txt, its document in NAME.json and what that says beside it.
document() {
    local name=$TEST_FOLDER/$1 ranks=$2
    shift 2
    launch "$ranks" 1 "$program" "$@" >"$name.txt" 2>"$name.warnings" || give_up "$*"
    launch "$ranks" 1 "$program" "$@" --json >"$name.json" 2>"$name.warnings" || give_up "$* --json"
    python -m json.tool "$name.json" >/dev/null || give_up "no document: $(<"$name.json")"
}

# Every configuration that comes with the program is one.
test_configurations() {
    local file
    for file in configs/*.ini; do
        quiet "$program" plan "$file" --model.vocab_size=257
    done
}

test_plan() {
    document plan 2 plan tests/data/tiny.ini --model.vocab_size=300 --model.width=48 --model.width=32 --ranks=4 \
        --train.optimizer=muon
    grep -q 'model.width' "$TEST_FOLDER/plan.warnings" || give_up 'the warning about two widths is lost'
    quiet python - "$TEST_FOLDER/plan" <<'END'
import json, re, sys
said = json.load(open(f"{sys.argv[1]}.json"))
text = open(f"{sys.argv[1]}.txt").read()
def after(label):
    return re.search(rf"^ *{re.escape(label)} +(\S.*)$", text, re.M)[1]
def reads_as(value, words):
    number, unit = words.split()
    unit = {"kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
    return abs(value / unit - float(number)) <= 0.051
assert f"plan for {said['ranks']} ranks = {said['data_ranks']} data x {said['sequence_ranks']} sequence" in text
assert (said["ranks"], said["context_length"], said["batch_sequences"]) == (4, 64, 4)
assert said["parameters"]["trained"] == int(after("all trained")) > said["parameters"]["token_embedding"] == 300 * 32
memory = said["memory_per_rank"]
assert {"parameters", "gradients", "optimizer: momentum", "activations", "total"} <= set(memory)
for name, value in memory.items():
    assert reads_as(value, after(name)), (name, value)
assert memory["total"] == sum(value for name, value in memory.items() if name != "total")
for name in ("per_token", "per_step", "per_step_and_rank"):
    label = "flops " + name.replace("_", " ")
    assert f"{said['operations'][name]:.4g}" == f"{float(after(label)):.4g}", name
messages = said["messages_per_step_and_rank"]
assert messages["attention"] == int(after("of attention")) > 0 and messages["matrix_step_bytes"] > 0
assert messages["gradient_bytes"] == memory["gradients"] >= 4 * said["parameters"]["trained"]
END
}

# A learned sketch by hand: 2 layers of 2 heads of 16 numbers, r = 4, three levels whose hidden values are 10 r.
test_plan_sketch() {
    "$program" plan tests/data/tiny.ini --model.vocab_size=256 --attention.sketch=learned --attention.sketch_size=4 \
        --attention.local=sketch --attention.sketch_levels=3 --attention.sketch_expansion=10 --json >"$TEST_FOLDER/sketch.json"
    quiet python - "$TEST_FOLDER/sketch.json" <<'END'
import json, sys
said = json.load(open(sys.argv[1]))
matrices = 40 * 16 + 5 * 40 * 4  # numbers in those of a branch
assert said["parameters"]["attention.sketch"] == 2 * 2 * (matrices + 2 * (16 + 4 + 4)), said["parameters"]
products = 2 * 2 * 2 * 2 * matrices  # layers, heads, q and k, branches
assert said["operations"]["features_per_token"] == 3 * 2 * products < said["operations"]["per_token"], said["operations"]
END
}

# A sample by softmax keeps keys and values of all its tokens: 2 layers x 2 x 32 numbers for 7 of the prompt and 100,000 more.
# A linear kind keeps a state, however long the sample.
test_plan_samples() {
    local job=(plan tests/data/tiny.ini --model.vocab_size=256 --sample.prompt='a lamb,' --json)
    "$program" "${job[@]}" --attention.kind=softmax --sample.every=5 --sample.tokens=100000 >"$TEST_FOLDER/softmax.json"
    "$program" "${job[@]}" --sample.every=5 --sample.tokens=100000 >"$TEST_FOLDER/long.json"
    "$program" "${job[@]}" --sample.every=5 --sample.tokens=10 >"$TEST_FOLDER/short.json"
    "$program" "${job[@]}" >"$TEST_FOLDER/none.json"
    quiet python - "$TEST_FOLDER" <<'END'
import json, sys
softmax, long, short, none = (json.load(open(f"{sys.argv[1]}/{name}.json"))["memory_per_rank"]
                              for name in ("softmax", "long", "short", "none"))
keys = 2 * 2 * 32 * 4 * 100_007
assert keys < softmax["samples"] < 1.02 * keys, (softmax, keys)
assert 0 < short["samples"] == long["samples"] < keys / 20, (short, long)
assert "samples" not in none and short["total"] - none["total"] == short["samples"], (short, none)
END
}

# The closed forms by hand: 1 GB/s and 10 us; 4 ranks of a sequence, 2 layers of 2 heads of 16 numbers, sketches of 4.
test_network() {
    local model=(tests/data/tiny.ini --model.vocab_size=300) attention=(--attention.kind=polysketch --attention.sketch=random
        --attention.sketch_size=4 --attention.local=exact --attention.gate=none)
    local job=(plan "${model[@]}" "${attention[@]}" --train.recompute=none --train.optimizer=adamw --tokens_per_second=1000)
    document network 1 "${job[@]}" --ranks=4 --network=8Gb,10us --parallel.scan=chain
    document network_exscan 2 "${job[@]}" --ranks=4 --network=1GB,0.01ms --parallel.scan=exscan
    document network_wide 1 "${job[@]}" --model.width=768 --model.heads=12 --attention.sketch_size=32 --ranks=1024 \
        --model.context_length=65536 --network=100Gb,1us --train.batch_sequences=1
    quiet python - "$TEST_FOLDER" <<'END'
import json, sys
from math import isclose
def read(name):
    return json.load(open(f"{sys.argv[1]}/{name}.json"))
said = read("network")
network = said["network"]
assert (network["bytes_per_second"], said["sequence_ranks"]) == (1e9, 4) and isclose(network["latency_seconds"], 1e-5)
micro_batches = network["sums"] / 4  # forward and backward in two layers
assert micro_batches == said["messages_per_step_and_rank"]["attention"] / 4 >= 1
scan = network["largest_sum_bytes"]
assert scan == 4 * 2 * 10 * (16 + 1) * said["batch_sequences"] / micro_batches  # 2 heads, 10 features: one packet
hop = 1e-5 + scan / 1e9
assert isclose(network["chain_seconds"], 3 * hop) and isclose(network["exscan_seconds"], 3 * hop)
scans = network["all_chain_seconds"]
assert isclose(scans, 4 * micro_batches * 3 * hop) and isclose(network["all_exscan_seconds"], scans)
gradient = said["messages_per_step_and_rank"]["gradient_bytes"] / 1e9
halving = 4e-5 + 2 * gradient * 3 / 4
assert isclose(network["gradients_halving_seconds"], halving)
assert isclose(network["gradients_ring_seconds"], 6e-5 + 2 * gradient * 3 / 4)
assert isclose(network["gradients_tree_seconds"], 4e-5 + 4 * gradient)
compute = said["batch_sequences"] * said["context_length"] / 1000
assert isclose(network["compute_seconds"], compute)
step = compute + scans + halving
assert isclose(network["scan_share_percent"], 100 * scans / step)
assert isclose(network["gradient_share_percent"], 100 * halving / step)
assert isclose(network["strong_efficiency_percent"], 100 * compute / step)
assert isclose(network["strong_efficiency_hidden_percent"], 100 * compute / (compute + scans))
assert 0 < network["weak_efficiency_percent"] < network["weak_efficiency_hidden_percent"] < 100
other = read("network_exscan")["network"]
assert all(isclose(value, network[name]) for name, value in other.items() if name != "compute_basis"), other
wide = read("network_wide")["network"]  # 12 heads x 528 features x 65 numbers: 25 packets of 64 KiB and one of 8,960 bytes
assert wide["largest_sum_bytes"] == 1647360
assert isclose(wide["chain_seconds"], 1023 * (1e-6 + 65536 / 12.5e9) + (1647360 - 65536) / 12.5e9)
assert isclose(wide["exscan_seconds"], 1023 * (1e-6 + 1647360 / 12.5e9))
END
    require_refusal "--network = '100Gb' is not the rate.*Examples" plan "${model[@]}" --network=100Gb
    require_refusal "--network = '10Gx,1us' is not" plan "${model[@]}" --network=10Gx,1us
    require_refusal 'nothing of a network' plan "${model[@]}" --network=10Gb,1us --slurm
}

# Messages of shares by hand: four ranks, six groups (embedding, four layers, output). Where a message takes a second and its
# bytes nothing, seconds count messages: three from or to each keeper, in every round of every group. A million rows of 32 numbers
# are 8,000,000 for a rank, in eight rounds of 1,048,576. Of layers two are kept at a time.
test_network_shares() {
    local job=(plan tests/data/tiny.ini --model.layers=4 --train.optimizer=adamw --attention.gate=none --ranks=4
        --tokens_per_second=1000) counting=('--network=1000000000Tb,1s' --model.vocab_size=1000000)
    document shares_optimizer 1 "${job[@]}" "${counting[@]}" --parallel.shard=optimizer
    document shares_gradients 2 "${job[@]}" "${counting[@]}" --parallel.shard=gradients --train.micro_batch_sequences=2
    document shares_parameters 1 "${job[@]}" "${counting[@]}" --parallel.shard=parameters --train.micro_batch_sequences=2
    document shares_stretches 1 "${job[@]}" "${counting[@]}" --parallel.shard=parameters --parallel.data_ranks=4 \
        --train.stretch_length=32
    document shares_bytes 1 "${job[@]}" --network=1GB,1ns --model.vocab_size=256 --parallel.shard=parameters \
        --train.micro_batch_sequences=2
    quiet python - "$TEST_FOLDER" <<'END'
import json, sys
from math import isclose
def read(name):
    said = json.load(open(f"{sys.argv[1]}/shares_{name}.json"))
    return said["network"], said["messages_per_step_and_rank"], said["parameters"]["trained"] * 4
def check(name, gradients, parameters, passes):
    network, messages, trained = read(name)
    where = "gradients_halving_seconds" if name == "optimizer" else "gradients_keepers_seconds"
    assert isclose(network[where], gradients, rel_tol=1e-6), (name, network[where])
    assert isclose(network["parameters_seconds"], parameters, rel_tol=1e-6), (name, network["parameters_seconds"])
    assert isclose(messages["gradient_bytes"], passes * trained, rel_tol=1e-3), name  # and a few zeros behind tensors
    return network
pieces = 8  # of 4 Mi numbers, for 33 million and the layers
check("optimizer", 2 * 2 * pieces, 6 * 3, 1)
network = check("gradients", 2 * (5 + 8) * 3, 6 * 3, 2)
compute, scans = network["compute_seconds"], network["all_exscan_seconds"] + network.get("others_seconds", 0)
assert isclose(compute, 0.256)
step = compute + scans + 78 + 18
for name, part in (("gradient_share", 78), ("parameter_share", 18), ("strong_efficiency", compute)):
    assert isclose(network[name + "_percent"], 100 * part / step, rel_tol=1e-6), name
assert isclose(network["strong_efficiency_hidden_percent"], 100 * compute / (step - 78), rel_tol=1e-6)
# forward 6, backward 2 (layers 4 and 3 are still there), forward 2, backward 2
network = check("parameters", 2 * (5 + 8) * 3, (6 + 2 + 2 + 2) * 3, 2)
assert isclose(network["strong_efficiency_hidden_percent"], 100 * compute / (compute + scans), rel_tol=1e-6)
# the first stretch forward: 5; the second, forward again: 4 and the output layer, backward 2; the first: 2 and 2
check("stretches", 2 * (5 + 8) * 3, (5 + 5 + 2 + 2 + 2) * 3, 2)
# By bytes: twice from three ranks to the keeper of a quarter, cut at rows of at most 128 numbers. All groups come once, layers
# half a time three times more.
network, messages, trained = read("bytes")
assert 1 <= network["gradients_keepers_seconds"] * 1e9 / (2 * 0.75 * trained) < 1.1, network
assert 1 <= network["parameters_seconds"] * 1e9 / (0.75 * messages["parameter_bytes"]) < 1.1, network
layers = trained - 4 * 256 * 32
assert isclose(messages["parameter_bytes"], trained + 3 * layers / 2, rel_tol=0.01), (messages, trained)
END
}

# Bytes of a rank for each parameter on 1, 2, 4 and 8 ranks, by the formulae of docs/guide.md: what it keeps, to the rows at which
# it is cut, and the groups that it has whole for a while. The room of sums grows again where there are more ranks than 4,096.
test_plan_stages() {
    local many=(configs/gpt2-small.ini --train.batch_sequences=16384 --parallel.shard=gradients --json) ranks code=0
    FOLDER=$TEST_FOLDER scripts/shard_memory.sh --larger 2>"$TEST_FOLDER/usage.txt" || code=$?
    if [ $code -ne 2 ] || [ -e "$TEST_FOLDER/shards.csv" ]; then give_up "shard_memory.sh --larger: exit code $code"; fi
    FOLDER=$TEST_FOLDER PROGRAM=$program RANKS='1 2 4 8' quiet scripts/shard_memory.sh
    for ranks in 8192 16384; do
        "$program" plan "${many[@]}" --ranks=$ranks --parallel.data_ranks=$ranks >"$TEST_FOLDER/many-$ranks.json" ||
            give_up "plan on $ranks ranks"
    done
    quiet python - "$TEST_FOLDER" <<'END'
import csv, json, sys
forms = {"none": lambda P: 16, "optimizer": lambda P: 8 + 8 / P, "gradients": lambda P: 4 + 12 / P,
         "parameters": lambda P: 16 / P}
shapes = {"small": (12, 768), "large": (36, 1280)}  # layers, width
rows = list(csv.DictReader(open(f"{sys.argv[1]}/shards.csv")))
assert len(rows) == 4 * 4 * 2
for row in rows:
    ranks, stage, n, (layers, width) = int(row["ranks"]), row["shard"], int(row["parameters"]), shapes[row["shape"]]
    kept = float(row["kept_bytes_per_parameter"])
    assert abs(kept - forms[stage](ranks)) <= 0.01 * kept, row
    embedding = 50304 * width  # which is the output layer's too
    groups = 4 * (embedding + 2 * (n - embedding) / layers)
    times = 0 if ranks == 1 else {"gradients": 1, "parameters": 2}.get(stage, 0)
    expected = times * groups + (4 << 22 if times else 0)  # what arrives of sums
    assert abs(float(row["whole_bytes_per_parameter"]) * n - expected) <= 0.02 * expected, (row, expected / n)
arriving = [json.load(open(f"{sys.argv[1]}/many-{ranks}.json"))["memory_per_rank"]["whole gradients"] for ranks in (8192, 16384)]
assert arriving[1] - arriving[0] == 8192 * 1024 * 4, arriving
END
}

# What ranks keep with each parallel.shard, by the formulae of docs/guide.md, and which of them is the least that fits.
test_plan_shares() {
    local model=(configs/gpt2-small.ini --model.vocab_size=50304 --model.context_length=2048 --ranks=4) stage megabytes chosen
    document shares 1 plan "${model[@]}" --parallel.shard=gradients
    python - "$TEST_FOLDER/shares.json" >"$TEST_FOLDER/shares.needs" <<'END' || give_up "$(<"$TEST_FOLDER/shares.json")"
import json, sys
said = json.load(open(sys.argv[1]))
memory, stages, n = said["memory_per_rank"], said["memory_per_rank_by_shard"], said["parameters"]["trained"]
def near(value, expected):
    return abs(value - expected) <= 0.01 * expected
assert said["shard"] == "gradients" and memory["total"] == stages["gradients"]
assert near(memory["parameters"], 4 * n)
assert all(near(memory[name], 4 * n / 4) for name in ("gradients", "optimizer: m", "optimizer: v"))
assert near(memory["whole gradients"], 4 * (50304 * 769 + 2 * 7.17e6 + (4 << 20)))
assert near(stages["none"] - stages["optimizer"], 8 * n * 3 / 4)
assert near(stages["gradients"] - stages["parameters"], 4 * n * 3 / 4 - 4 * (50304 * 769 + 2 * 7.17e6))
for name, total in stages.items():
    print(name, 1 + int(2 * (1.1 * total + 256 * 2**20) / 1e6))
END
    document node 1 plan "${model[@]}" --parallel.shard=optimizer --parallel.node_shared=true --ranks_per_node=2
    quiet python - "$TEST_FOLDER" <<'END'
import json, sys
said, copies = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("node", "shares"))
memory, shared, ways = said["memory_per_rank"], said["node_shared"], said["node_shared_by_shard"]
n = said["parameters"]["trained"]
def near(value, expected):
    return abs(value - expected) <= 0.01 * expected
assert shared["ranks"] == said["ranks_per_node"] == 2 and near(shared["bytes"], 4 * n), shared
assert near(memory["parameters"], 4 * n / 2) and near(memory["optimizer: m"], 4 * n / 4), memory
assert memory["total"] == ways["optimizer"]["rank"] and list(ways) == ["none", "optimizer", "gradients"]
for name, way in ways.items():
    alone = copies["memory_per_rank_by_shard"][name]
    saved = 4 * n / 2 + (8 * n / 2 if name == "none" else 0)  # values, and states where they were copies
    assert near(alone - way["rank"], saved) and way["node"] == 2 * way["rank"] and way["node_without"] == 2 * alone, name
# To one other node, the rows of the other ranks on the rail.
assert near(said["messages_per_step_and_rank"]["parameter_bytes"], 4 * n / 2)
END
    document uneven 1 plan "${model[@]/--ranks=4/--ranks=3}" --parallel.shard=optimizer --parallel.node_shared=true \
        --ranks_per_node=2
    quiet python - "$TEST_FOLDER/uneven.json" <<'END'
import json, sys
said = json.load(open(sys.argv[1]))
memory, shared, ways = said["memory_per_rank"], said["node_shared"], said["node_shared_by_shard"]
n = said["parameters"]["trained"]
def near(value, expected):
    return abs(value - expected) <= 0.01 * expected
# A rank alone on the last node has all values, and is on the rails of both ranks of the other.
assert said["ranks_on_last_node"] == 1 and shared["ranks"] == 2 and near(shared["bytes"], 4 * n), shared
assert near(memory["parameters"], 4 * n) and near(memory["optimizer: m"], 4 * n / 3), memory
assert near(said["messages_per_step_and_rank"]["parameter_bytes"], 4 * n)
# Memory for a job is that of the node with two, which shares.
for name, way in ways.items():
    assert near(way["rank"], said["memory_per_rank_by_shard"][name]), name
    assert near(way["node_without"] - way["node"], 4 * n + (8 * n if name == "none" else 0)), name
END
    while read -r stage megabytes; do
        chosen=$("$program" plan "${model[@]}" --ranks_per_node=2 --memory="${megabytes}M" | grep ' fits into ')
        [[ $chosen == "parallel.shard = $stage is the least that fits"* ]] || give_up "$stage in $megabytes MB: $chosen"
    done <"$TEST_FOLDER/shares.needs"
    "$program" plan "${model[@]}" --ranks_per_node=2 --memory=1.5GiB >"$TEST_FOLDER/shares.none"
    grep -q '^nothing fits into .* Use more nodes, fewer ranks on each with more threads or train.stretch_length$' \
        "$TEST_FOLDER/shares.none" || give_up "$(<"$TEST_FOLDER/shares.none")" # the configuration has train.recompute = layer
    log_says <("$program" plan "${model[@]}" --memory=1.5GiB --train.recompute=none) 'threads, train.recompute = layer or '
    log_says <("$program" plan "${model[@]}" --memory=8GiB --parallel.node_shared=true) \
        'parallel.shard = none with parallel.node_shared is the least that fits into '
    "$program" plan "${model[@]}" --memory=5GiB >"$TEST_FOLDER/shares.shared"
    log_says "$TEST_FOLDER/shares.shared" 'no parallel.shard alone fits into ' \
        ' for 4 ranks on a node (all; --ranks_per_node says fewer)' \
        '; with parallel.node_shared = true parallel.shard = gradients fits'
    log_says <("$program" plan "${model[@]}" --memory=8GiB) ' beside; with parallel.node_shared = true parallel.shard = none fits'
    log_says <("$program" plan "${model[@]}" --memory=100M --attention.kind=softmax --train.recompute=none) \
        ' Use more nodes, fewer ranks on each with more threads or train.recompute = layer' # no stretches
    log_says <("$program" plan "${model[@]}" --memory=100M --train.stretch_length=1024) ' threads or another train.stretch_length'
    local alone=("${model[@]/--ranks=4/--ranks=5}" --ranks_per_node=1 --parallel.data_ranks=1)
    megabytes=$("$program" plan "${alone[@]}" --json=true | python -c 'import json, sys
stages = json.load(sys.stdin)["memory_per_rank_by_shard"]
print(int((1.1 * (stages["parameters"] + stages["gradients"]) / 2 + 256 * 2**20) / 1e6))')
    log_says <("$program" plan "${alone[@]}" --memory="${megabytes}M" --parallel.node_shared=true) \
        '; with parallel.node_shared = false parallel.shard = parameters fits'
    log_says <("$program" plan "${model[@]}" --ranks_per_node=2 --network=100Gb,1us --tokens_per_second=80000) \
        '(the 2 ranks of a node share one: '
    ! "$program" plan "${model[@]}" --network=100Gb,1us --tokens_per_second=80000 --parallel.node_shared=true |
        grep 'of a node share one' || give_up 'nothing leaves the only node'
    require_refusal '24 is no amount of memory.*24GiB' plan "${model[@]}" --memory=24
    require_refusal 'Plan without --slurm first' plan "${model[@]}" --memory=24G --slurm
}

test_eval() {
    document eval 3 eval --checkpoint="$final" --data="$data/validation.h5"
    document needles 2 eval --checkpoint="$final" --data="$data/train.h5" --data.source=needle --model.context_length=256 \
        --sequences=20
    quiet python - "$TEST_FOLDER" <<'END'
import json, re, sys
def read(name):
    return json.load(open(f"{sys.argv[1]}/{name}.json")), open(f"{sys.argv[1]}/{name}.txt").read()
said, text = read("eval")
def after(label):
    return re.search(rf"^{label} +(\S+)", text, re.M)[1]
assert f"{said['loss']:.9g}" == after("loss") and f"{said['perplexity']:.6g}" == after("perplexity")
assert f"{said['bits_per_byte']:.6g}" == after("bits per byte") and said["tokens"] == int(after("tokens"))
assert said["windows"] == int(after("windows")) and said["stride"] == said["context_length"] == 64 and said["step"] == 5
assert [layer["layer"] for layer in said["layers"]] == [0, 1] and after("    0") == f"{said['layers'][0]['exact_percent']:.1f}"
said, text = read("needles")
assert said["source"] == "needle" and f"{said['accuracy']:.6g}" == after("accuracy") and said["windows"] == 20
depths = re.findall(r"^ *\d+ to +\d+ % +(\S+)$", text, re.M)
assert depths == [f"{value:.6g}" for value in said["accuracy_by_depth"]] and len(depths) > 1
END
}

test_bench() {
    document bench 2 bench step tests/data/tiny.ini --variants=config,softmax --contexts=64 --repeats=1 --warmups=0 \
        --profile="$TEST_FOLDER/profile.csv"
    quiet python - "$TEST_FOLDER/bench" <<'END'
import json, sys
said = json.load(open(f"{sys.argv[1]}.json"))
lines = open(f"{sys.argv[1]}.txt").read().splitlines()
assert lines[0].startswith(f"bench {said['bench']} | polysketch {said['source_version']} | {said['ranks']} ranks x")
assert [(row["variant"], row["context_length"]) for row in said["rows"]] == [("config", 64), ("softmax", 64)]
for row in said["rows"]:
    assert row["useful_gflops"] > 0 and row["sgemm_gflops"] > 0 and row["microseconds_per_token"] > 0
    assert "output layer, loss" in [phase["phase"] for phase in row["phases"]]
    assert [line.split()[1] for line in lines if line.startswith(f"{row['variant']} ")] == ["64"]
END
}

# Steps of every parallel.shard, told apart in both tables, with their own phases.
test_bench_stages() {
    local stage
    for stage in none optimizer gradients parameters; do
        quiet launch 2 1 "$program" bench step tests/data/tiny.ini --variants=config --contexts=64 --repeats=1 --warmups=0 \
            --parallel.shard=$stage --attention.sketch_levels=3 \
            --csv="$TEST_FOLDER/stages.csv" --profile="$TEST_FOLDER/phases.csv"
    done
    quiet python - "$TEST_FOLDER" <<'END'
import csv, sys
stages, phases = (list(csv.DictReader(open(f"{sys.argv[1]}/{name}.csv"))) for name in ("stages", "phases"))
assert [row["shard"] for row in stages] == ["none", "optimizer", "gradients", "parameters"]
for row in stages:
    assert 0 < float(row["planned_bytes"]) < float(row["peak_rss_bytes"]) and float(row["communication_fraction"]) > 0, row
    assert (row["sketch_levels"], row["sketch_expansion"]) == ("3", "8"), row
    found = {phase["phase"] for phase in phases if phase["shard"] == row["shard"]
             and (phase["sketch_levels"], phase["sketch_expansion"]) == ("3", "8")}
    assert {"communication", "output layer, loss", "attention: exact pairs"} <= found, (row["shard"], found)
END
}

# Histograms, extremes and norms of all tensors, and all else that a checkpoint says.
test_checkpoint() {
    document checkpoint 1 inspect "$final" --stats
    quiet python - "$TEST_FOLDER/checkpoint" "$final" <<'END'
import json, sys
import h5py
import numpy as np
said = json.load(open(f"{sys.argv[1]}.json"))
text = open(f"{sys.argv[1]}.txt").read()
with h5py.File(sys.argv[2]) as file:
    assert said["step"] == file.attrs["step"] == 5 and said["tokens_seen"] == file.attrs["tokens_seen"]
    assert set(said["options"]) == set(file["config"].attrs)
    assert said["options"]["model.width"] == 32 and said["options"]["attention.kind"] == "polysketch"
    tensors = {name: data[...] for name, data in file["parameters"].items()}
    states = {name: [data[...] for data in group.values()] for name, group in file["optimizer"].items()}
assert len(said["tensors"]) == len(tensors)
ramp = " .:-=+*#%@"
for tensor in said["tensors"]:
    stored = tensors[tensor["name"]]
    values = stored.astype(float).ravel()
    assert tensor["shape"] == list(stored.shape) and tensor["use"] == "trained"
    for name, value in (("norm", np.linalg.norm(values)), ("min", values.min()), ("max", values.max()), ("mean", values.mean()),
                        ("deviation", values.std())):
        assert np.isclose(tensor[name], value, rtol=1e-6, atol=1e-7 * (1 + np.abs(values).max())), (tensor, name, value)
    least, reach = values.min(), np.ptp(values)
    bins = np.minimum((values - least) / reach * 16, 15).astype(int) if reach else np.zeros(len(values), int)
    counts = np.bincount(bins, minlength=16)
    assert tensor["histogram"] == counts.tolist(), tensor
    picture = "".join(ramp[-(-count * 9 // counts.max())] for count in counts)
    line = next(line for line in text.splitlines() if line.split(" ")[0] == tensor["name"])
    assert line.endswith(f"|{picture}|"), line
for state in said["optimizer_states"]:
    values = np.concatenate([data.ravel() for data in states[state["name"]]]).astype(float)
    assert state["values"] == len(values) and np.isclose(state["norm"], np.linalg.norm(values), rtol=1e-6)
assert said["trained"] == sum(data.size for data in tensors.values()) and said["constant"] == 0
END
}

# The attention of a layer takes no memory for others, which here would be 250 MB.
test_bench_memory() {
    local layers
    for layers in 1 40; do
        quiet "$program" bench attention tests/data/tiny.ini --variants=config --contexts=64 --repeats=1 --warmups=0 \
            --model.width=256 --model.layers=$layers --csv="$TEST_FOLDER/layers.csv"
    done
    column peak_rss_bytes "$TEST_FOLDER/layers.csv" | xargs |
        awk '{ exit !(NF == 2 && $1 > 10e6 && $2 < $1 + 50e6) }' || give_up "$(<"$TEST_FOLDER/layers.csv")"
}

test_other_files() {
    document tokens 1 inspect "$data/train.h5"
    document metrics 1 inspect "$TEST_FOLDER/run/metrics.h5"
    python - "$TEST_FOLDER/bytes.h5" <<'END'
import sys
import h5py
import numpy as np
with h5py.File(sys.argv[1], "w") as file:
    file.attrs.update({"format": "polysketch-tokens", "format_version": 1, "tokenizer": "mine", "vocab_size": 2})
    file["tokens"] = np.array([0, 1, 0], np.uint8)
    file["tokenizer/bytes"] = np.frombuffer("é".encode() + b"\xff\xfe", np.uint8)  # the second piece is no UTF-8
    file["tokenizer/ends"] = np.array([2, 4], np.uint64)
END
    document bytes 1 inspect "$TEST_FOLDER/bytes.h5"
    quiet python - "$TEST_FOLDER" "$data/train.h5" <<'END'
import collections, json, sys
import h5py
said = json.load(open(f"{sys.argv[1]}/tokens.json"))
tokens = h5py.File(sys.argv[2])["tokens"][...].tobytes()
assert said["tokens"] == len(tokens) and said["first_tokens"] == list(tokens[:16]) and said["token_bits"] == 8
assert said["first_text"].replace("\\n", "\n") == tokens[:64].decode()
counts = collections.Counter(tokens)
assert said["different"] == len(counts)
assert [entry["count"] for entry in said["most_frequent"]] == sorted(counts.values(), reverse=True)[:10]
assert all(counts[entry["token"]] == entry["count"] for entry in said["most_frequent"])
said = json.load(open(f"{sys.argv[1]}/bytes.json"))
assert said["first_text"] == "é\ufffd\ufffdé", said
assert [entry["piece"] for entry in said["most_frequent"]] == ["é", "\ufffd\ufffd"], said
columns = {column["name"]: column for column in json.load(open(f"{sys.argv[1]}/metrics.json"))["columns"]}
with h5py.File(f"{sys.argv[1]}/run/metrics.h5") as file:
    assert set(columns) == {data.name for group in file.values() for data in group.values()}
    assert columns["/steps/loss"]["rows"] == 5 and columns["/steps/loss"]["last"] == list(file["steps/loss"][-3:])
END
}

# Two checkpoints of a run, whose last step has a learning rate of 0 and changes nothing; and one against a copy that lacks a
# tensor, has one more, and one of another shape.
test_difference() {
    local changed=$TEST_FOLDER/changed.h5
    document steps 1 inspect "$(checkpoint run 3)" "$final"
    document same 1 inspect "$final" "$final"
    cp "$final" "$changed"
    python - "$changed" <<'END'
import sys
import h5py
with h5py.File(sys.argv[1], "r+") as file:
    parameters = file["parameters"]
    parameters["wings.weight"] = parameters["final_norm.bias"][...]
    del parameters["final_norm.bias"]
    weights = parameters["final_norm.weight"][...]
    del parameters["final_norm.weight"]
    parameters["final_norm.weight"] = weights.reshape(2, 16)
    file["config"].attrs["train.learning_rate"] = 0.5
END
    document changed 2 inspect "$final" "$changed"
    quiet python - "$TEST_FOLDER" "$(checkpoint run 3)" "$final" <<'END'
import json, sys
import h5py
import numpy as np
folder, first, second = sys.argv[1:]
def read(name):
    return json.load(open(f"{folder}/{name}.json")), open(f"{folder}/{name}.txt").read()
said, text = read("steps")
farthest = ("", 0)
with h5py.File(first) as a, h5py.File(second) as b:
    assert [tensor["name"] for tensor in said["tensors"]] and len(said["tensors"]) == len(a["parameters"]) == said["compared"]
    for tensor in said["tensors"]:
        x, y = (file["parameters"][tensor["name"]][...].astype(float) for file in (a, b))
        assert np.isclose(tensor["max_difference"], np.abs(x - y).max(), rtol=1e-9), tensor
        relative = np.linalg.norm(x - y) / np.linalg.norm(x) if np.abs(x - y).max() else 0
        assert np.isclose(tensor["relative_difference"], relative, rtol=1e-9), tensor
        farthest = max(farthest, (tensor["name"], relative), key=lambda pair: pair[1])
        line = next(line for line in text.splitlines() if line.startswith(tensor["name"] + " "))
        assert f" {tensor['max_difference']:.6g} " in line, line
assert said["farthest"] == farthest[0] and said["unpaired"] == 0 and said["options"] == []
assert said["first"]["step"] == 3 and said["second"]["step"] == 5
said, text = read("same")
assert said["same"] == said["compared"] == len(said["tensors"]) and "farthest" not in said and "only in" not in text
said, text = read("changed")
where = {tensor["name"]: tensor["where"] for tensor in said["tensors"] if tensor["where"] != "both"}
assert where == {"wings.weight": "second", "final_norm.bias": "first", "final_norm.weight": "both, of other shapes"}, where
assert said["unpaired"] == 3 and said["same"] == said["compared"]
assert said["options"] == [{"name": "train.learning_rate", "first": "0.003", "second": "0.5"}], said["options"]
assert text.count("only in the") == 2 and "(2, 16) in the second" in text and ", in the second 0.5" in text
END
}

# A value that is not a number, in either of the two or in both, is as far apart as can be, and said: "nan", in JSON null. Numbers
# beside it do not hide it, however far apart.
test_not_a_number() {
    local name
    python - "$final" "$TEST_FOLDER" <<'END'
import shutil, sys
import h5py
import numpy as np
for name, value in (("good", 1e30), ("bad", np.nan)):
    copy = shutil.copy(sys.argv[1], f"{sys.argv[2]}/{name}.h5")
    with h5py.File(copy, "r+") as file:
        bias = file["parameters/logit_bias"][...]
        bias[:3] = value, np.float32(value) * 2, 0
        del file["parameters/logit_bias"]  # and its digest
        file["parameters/logit_bias"] = bias
END
    document second-bad 1 inspect "$TEST_FOLDER/good.h5" "$TEST_FOLDER/bad.h5"
    document first-bad 1 inspect "$TEST_FOLDER/bad.h5" "$TEST_FOLDER/good.h5"
    document both-bad 1 inspect "$TEST_FOLDER/bad.h5" "$TEST_FOLDER/bad.h5"
    for name in second-bad first-bad both-bad; do
        grep -qE '^logit_bias .* nan +nan *$' "$TEST_FOLDER/$name.txt" || give_up "$name: $(<"$TEST_FOLDER/$name.txt")"
        grep -qE '^farthest apart  logit_bias: nan$' "$TEST_FOLDER/$name.txt" || give_up "$name: $(<"$TEST_FOLDER/$name.txt")"
        quiet python - "$TEST_FOLDER/$name.json" <<'END'
import json, sys
said = json.load(open(sys.argv[1]), parse_constant=lambda word: sys.exit(f"{word} is no JSON"))
bias = next(tensor for tensor in said["tensors"] if tensor["name"] == "logit_bias")
assert bias["where"] == "both" and bias["max_difference"] is None and bias["relative_difference"] is None, bias
assert said["farthest"] == "logit_bias" and said["farthest_relative_difference"] is None
assert said["same"] == said["compared"] - 1 == len(said["tensors"]) - 1
END
    done
}

test_refusals() {
    local damaged=$TEST_FOLDER/damaged.h5
    cp "$final" "$damaged"
    python -c "
import h5py, sys
with h5py.File(sys.argv[1], 'r+') as file:
    file['parameters/logit_bias'][3] = 7" "$damaged"
    require_refusal 'logit_bias' inspect "$final" "$damaged"
    require_refusal 'logit_bias' inspect "$damaged" "$final" --json
    require_refusal 'is a polysketch-tokens file, but a polysketch-checkpoint file is needed' inspect "$final" "$data/train.h5"
    require_refusal '--stats is for one checkpoint' inspect "$final" "$final" --stats
    require_refusal 'no such file' inspect "$final" "$TEST_FOLDER/missing.h5" --json
}

prepare_data
final=$(checkpoint run 5)
train 2 run --output.checkpoint_every=1 --output.keep=0 --data.validation="$data/validation.h5"
start test_configurations
start test_plan
start test_plan_sketch
start test_plan_samples
start test_network
start test_network_shares
start test_plan_stages
start test_plan_shares
start test_eval
start test_checkpoint
start test_other_files
start test_difference
start test_not_a_number
start test_bench
start test_bench_stages
start test_bench_memory
finish
test_refusals
