#!/usr/bin/python3
"""The optimizers once more in plain NumPy, and a check of one step of a run: BEFORE.h5 AFTER.h5.

BEFORE is the checkpoint of some step, AFTER that of the next one. Gradients are not in them but
follow from the states, clipped as the optimizer saw them:

    AdamW   g = (m' - beta1 m) / (1 - beta1)
    Muon    g = momentum' - mu momentum

From them and BEFORE follow v' and x', which must be those of AFTER. Learning rates must be
constant, without warm-up. Every trained tensor must have states that are not zero, and must change
by much more than rounding; what is not trained must not change. Take a later step than the first:
states start at 0, and what is done with old ones does not show there.

A change x' - x may differ by --tolerance of its largest number in the tensor, by half a unit in the
last place of the largest x, because x' is stored in float32, and with Muon by what float32 makes of
the orthogonal matrix, which is measured. A failed check is a line and exit code 1.
"""
import argparse
import math
import sys

import h5py
import numpy as np

import numpy_reference as reference

VISIBLE = 100  # a change must be so many times its rounding, or it shows nothing


# ---- the optimizers ----

def adamw(x, g, m, v, rate, t, beta1, beta2, epsilon, decay):
    """(x', m', v') of one tensor with gradient g, at the t-th step that is used (t = 1, 2, ...).

        m' = beta1 m + (1 - beta1) g
        v' = beta2 v + (1 - beta2) g^2
        x' = x - rate (m' / (1 - beta1^t) / (sqrt(v' / (1 - beta2^t)) + epsilon) + decay x)

    x, g, m and v have one shape, any. decay is 0 for tensors that do not decay.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g ** 2
    step = m / (1 - beta1 ** t) / (np.sqrt(v / (1 - beta2 ** t)) + epsilon)
    return x - rate * (step + decay * x), m, v


def orthogonalise(u):
    """The matrix u (rows, columns) with singular values brought near 1 by five Newton-Schulz steps.

        X = u / (|u|_F + 1e-7)                                  (transposed if rows > columns)
        five times: A = X X^T;  X = 3.4445 X + (-4.7750 A + 2.0315 A A) X

    The result has the shape of u; it is computed in the precision of u.
    """
    tall = u.shape[0] > u.shape[1]
    X = u / (np.linalg.norm(u) + 1e-7)
    X = X.T if tall else X
    for _ in range(5):
        A = X @ X.T
        X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
    return X.T if tall else X


def muon(x, g, momentum, rate, mu, decay):
    """(x', momentum') of one matrix x (rows, columns) with gradient g; all have one shape.

        momentum' = mu momentum + g
        x' = x - rate (decay x + sqrt(max(1, rows / columns)) orthogonalise(g + mu momentum'))
    """
    momentum = mu * momentum + g
    rows, columns = x.shape
    step = math.sqrt(max(1, rows / columns)) * orthogonalise(g + mu * momentum)
    return x - rate * (decay * x + step), momentum


def matrices(config, name):
    """How many matrices, one below the other, Muon sees in this tensor."""
    if name.endswith(".attention.qkv.weight"):
        return 3
    glu = config["model.feedforward"] == "glu"
    return 2 if glu and name.endswith(".feedforward.in.weight") else 1


def adamw_options(config, name, x, t):
    decays = x.ndim > 1 and name != "token_embedding.weight"
    return {"rate": config["train.learning_rate"], "t": t, "beta1": config["train.beta1"],
            "beta2": config["train.beta2"], "epsilon": config["train.epsilon"],
            "decay": config["train.weight_decay"] if decays else 0}


def muon_options(config):
    """With a constant learning rate."""
    return {"rate": config["train.muon_learning_rate"], "mu": config["train.muon_momentum"],
            "decay": config["train.weight_decay"]}


# ---- one step, from file to file ----

def read(file):
    """group -> {name: values} of parameters and states."""
    groups = ["parameters"] + ["optimizer/" + state for state in file["optimizer"]]
    return {group: {name: data[...].astype(np.float64) for name, data in file[group].items()}
            for group in groups}


def half_unit(*arrays):
    """Half a unit in the last place of float32, at the largest number."""
    return float(np.spacing(np.float32(max(np.abs(x).max() for x in arrays)))) / 2


def compare(name, x, after, expected, tolerance, movement=0.0):
    """(difference from the expected change, relative to its size; lines about what is wrong)."""
    size = np.abs(expected - x).max()
    difference = np.abs(after - expected).max()
    rounding = half_unit(x, after) + movement
    if not VISIBLE * rounding < size:  # also where something is not finite
        return np.inf, [f"{name}: a change of {size:.1e} is too small, rounding is {rounding:.1e}"]
    allowed = tolerance * size + rounding
    line = f"{name}: a change of {size:.3e} differs by {difference:.3e}, allowed {allowed:.1e}"
    return difference / size, [] if difference <= allowed else [line]


def check_adamw(config, name, before, after, t, tolerance):
    """As compare(), of a tensor of AdamW."""
    groups = ("parameters", "optimizer/m", "optimizer/v")
    x, m, v = (before[group][name] for group in groups)
    new_x, new_m, new_v = (after[group][name] for group in groups)
    options = adamw_options(config, name, x, t)
    g = (new_m - options["beta1"] * m) / (1 - options["beta1"])
    expected, _, expected_v = adamw(x, g, m, v, **options)
    share, failures = compare(name, x, new_x, expected, tolerance)
    size, difference = expected_v.max(), np.abs(new_v - expected_v).max()
    if not difference <= tolerance * size + half_unit(expected_v):
        failures.append(f"{name}: v, at most {size:.3e}, differs by {difference:.3e}")
    return share, failures


def muon_movement(g, momentum, options, random):
    """What float32 explains of a difference in x': several times what it makes of the same step.

    The step is repeated in float32, with states moved by one unit in the last place. Small singular
    values are raised up to 500 times, and rounding with them.
    """
    nothing = np.zeros_like(g)
    exact = muon(nothing, g, momentum, **options)[0]
    new_momentum = options["mu"] * momentum + g
    movement = 0.0
    for _ in range(reference.ROUNDING_DRAWS):
        moved = reference.moved_parameters({"old": momentum, "new": new_momentum}, random)
        moved_g = moved["new"] - options["mu"] * moved["old"]
        values = [value.astype(np.float32) for value in (nothing, moved_g, moved["old"])]
        movement = max(movement, np.abs(muon(*values, **options)[0] - exact).max())
    return reference.ROUNDING_FACTOR * movement


def check_muon(config, name, before, after, tolerance):
    """As compare(), of a tensor of Muon, the worst of its matrices."""
    options, random = muon_options(config), np.random.default_rng(7)
    count = matrices(config, name)
    parts = [np.split(values[group][name], count)
             for group in ("parameters", "optimizer/momentum") for values in (before, after)]
    worst, failures = 0.0, []
    for i, (x, new_x, momentum, new_momentum) in enumerate(zip(*parts)):
        g = new_momentum - options["mu"] * momentum
        expected = muon(x, g, momentum, **options)[0]
        movement = muon_movement(g, momentum, options, random)
        label = f"{name}, matrix {i + 1} of {count}" if count > 1 else name
        share, lines = compare(label, x, new_x, expected, tolerance, movement)
        worst, failures = max(worst, share), failures + lines
    return worst, failures


def check_files(before, after):
    """(config of AFTER, t of its step, lines about why the step cannot be checked)."""
    failures, config = [], {}
    for label, file in (("BEFORE", before), ("AFTER", after)):
        config, lines = reference.check_checkpoint(file)
        failures += [f"{label}: {line}" for line in lines]
    if failures:
        return config, 0, failures
    if any(set(before[group]) != set(after[group]) for group in ("parameters", "optimizer")):
        return config, 0, ["the files have different tensors or states"]
    step, skipped = ([int(file.attrs.get(name, 0)) for file in (before, after)]
                     for name in ("step", "skipped_steps"))
    if step[1] != step[0] + 1:
        failures.append(f"AFTER is of step {step[1]}, BEFORE of step {step[0]}")
    if skipped[1] != skipped[0]:
        failures.append("the step was skipped")
    if config["train.schedule"] != "constant" or config["train.warmup_steps"] != 0:
        failures.append("train.schedule = constant and train.warmup_steps = 0 are required")
    for state in after["optimizer"]:
        failures += [f"{name}: {state} is zero" for name, data in after["optimizer"][state].items()
                     if not np.any(data[...])]
    return config, int(after.attrs.get("optimizer_steps", step[1] - skipped[1])), failures


def check_step(before, after, tolerance):
    """(lines about what was compared, lines about what is wrong) of two open checkpoints."""
    config, t, failures = check_files(before, after)
    if failures:
        return [], failures
    before, after = read(before), read(after)
    shares = {"AdamW": [], "Muon": []}
    for name, x in before["parameters"].items():
        if not reference.is_trained(name):
            if not np.array_equal(x, after["parameters"][name]):
                failures.append(f"{name}: changed, but it is not trained")
            continue
        if reference.is_muon(config, name):
            share, lines = check_muon(config, name, before, after, tolerance)
            shares["Muon"].append(share)
        else:
            share, lines = check_adamw(config, name, before, after, t, tolerance)
            shares["AdamW"].append(share)
        failures += lines
    if not shares["AdamW"] or config["train.optimizer"] == "muon" and not shares["Muon"]:
        failures.append("no tensor of the optimizer was found")
    report = [f"{optimizer}: {len(values)} tensors, equal to {max(values):.1e} of the largest"
              for optimizer, values in shares.items() if values]
    return report, failures


def run(arguments):
    with h5py.File(arguments.before, "r") as before, h5py.File(arguments.after, "r") as after:
        report, failures = check_step(before, after, arguments.tolerance)
    print("".join(line + "\n" for line in report), end="")
    return failures


# ---- self test ----

def test_orthogonalise(random):
    for rows, columns in ((64, 16), (16, 64), (24, 24), (100, 7), (7, 100), (1, 9), (9, 1), (2, 2)):
        count = min(rows, columns)
        left, right = (np.linalg.qr(random.normal(size=(size, count)))[0]
                       for size in (rows, columns))
        values = random.uniform(0.1, 1, size=count)
        X = orthogonalise(left * values @ right.T)
        inner = left.T @ X @ right  # the same singular vectors, each with a value near 1
        assert X.shape == (rows, columns) and np.allclose(left @ inner @ right.T, X, atol=1e-12)
        assert np.allclose(inner, np.diag(np.diag(inner)), atol=1e-12)
        assert ((0.6 < np.diag(inner)) & (np.diag(inner) < 1.3)).all(), np.diag(inner)
    for shape in ((64, 16), (16, 64), (200, 8), (30, 90)):
        u = random.normal(size=shape) * 1e-3
        values = np.linalg.svd(orthogonalise(u), compute_uv=False)
        assert ((0.6 < values) & (values < 1.3)).all(), values
        assert np.allclose(orthogonalise(u.T), orthogonalise(u).T, atol=1e-12)
        assert np.allclose(orthogonalise(u * 1000), orthogonalise(u), atol=1e-4)
    assert not orthogonalise(np.zeros((3, 4))).any()
    qkv = random.normal(size=(48, 16))
    parts = np.concatenate([orthogonalise(part) for part in np.split(qkv, 3)])
    assert np.abs(orthogonalise(qkv) - parts).max() > 0.1


def test_numbers():
    """Steps that are done by hand."""
    one = np.ones((1, 1))
    options = {"rate": 0.1, "t": 1, "beta1": 0.75, "beta2": 0.5, "epsilon": 1.0, "decay": 0.5}
    x, m, v = adamw(2 * one, -3 * one, 0 * one, 0 * one, **options)
    assert np.allclose([x, m, v], [[[2 - 0.1 * (-3 / 4 + 1)]], [[-0.75]], [[4.5]]])
    x, m, v = adamw(x, 0 * one, m, v, **(options | {"t": 2, "decay": 0}))
    assert np.allclose([x, m], [[[1.975 + 0.1 * 0.5625 / 0.4375 / (1 + 3 ** 0.5)]], [[-0.5625]]])
    f = 1.0
    for _ in range(5):
        f = 3.4445 * f - 4.7750 * f ** 3 + 2.0315 * f ** 5
    tall = np.array([[3.0], [0], [4], [0]])  # factor 2
    x, momentum = muon(0 * tall + 1, 3 * tall, -2 * tall, rate=0.1, mu=0.5, decay=0.25)
    assert np.allclose(momentum, 2 * tall)
    assert np.allclose(x, 1 - 0.1 * (0.25 + 2 * f * tall / 5), atol=1e-6)
    wide = tall.T  # factor 1
    x, _ = muon(0 * wide, wide, 0 * wide, rate=0.1, mu=0.5, decay=0.25)
    assert np.allclose(x, -0.1 * f * wide / 5, atol=1e-6)


def small_gradients(shapes, random):
    """As gradients are: matrices are nearly of low rank, with unequal rows."""
    gradients = {}
    for name, shape in shapes.items():
        g = random.normal(size=shape)
        if len(shape) == 2:
            g = random.normal(size=(shape[0], 5)) @ random.normal(size=(5, shape[1])) + 1e-3 * g
            g *= np.exp(random.normal(size=(shape[0], 1)))
        gradients[name] = 1e-2 * g
    return gradients


def float32_step(config, values, gradients, t):
    """The groups after a step, all computed in float32."""
    after = {group: dict(tensors) for group, tensors in values.items()}
    for name, g in gradients.items():
        arrays = [value.astype(np.float32) for value in (values["parameters"][name], g)]
        states = ["momentum"] if reference.is_muon(config, name) else ["m", "v"]
        arrays += [values["optimizer/" + state][name].astype(np.float32) for state in states]
        if states == ["m", "v"]:
            results = adamw(*arrays, **adamw_options(config, name, g, t))
        else:
            parts = zip(*(np.split(array, matrices(config, name)) for array in arrays))
            steps = [muon(*part, **muon_options(config)) for part in parts]
            results = map(np.concatenate, zip(*steps))
        groups = ["parameters"] + ["optimizer/" + state for state in states]
        for group, result in zip(groups, results):
            assert result.dtype == np.float32
            after[group][name] = result
    return after


def checkpoint(name, config, values, **attributes):
    file = h5py.File(name, "w", driver="core", backing_store=False)
    file.attrs.update(dict.fromkeys(reference.ROOT_ATTRIBUTES, 1))
    file.attrs.update({"format": "polysketch-checkpoint"} | attributes)
    file.create_group("config").attrs.update(config)
    for group, tensors in values.items():
        for tensor, value in tensors.items():
            file[f"{group}/{tensor}"] = value.astype(np.float32)
    return file


def found(config, before, after, step, old_step=None, skipped=0, **options):
    """The failures of a step, through files; AFTER has other options."""
    options = config | {"train." + key: value for key, value in options.items()}
    with (checkpoint("before.h5", config, before, step=old_step or step - 1) as old,
          checkpoint("after.h5", options, after, step=step, skipped_steps=skipped) as new):
        return check_step(old, new, 1e-6)[1]


def optimizer_config(optimizer, feedforward, **options):
    return reference.small_config(**options) | {
        "model.layers": 3, "model.feedforward": feedforward,
        "train.optimizer": optimizer, "train.schedule": "constant", "train.learning_rate": 0.002,
        "train.muon_learning_rate": 0.02, "train.muon_momentum": 0.95, "train.weight_decay": 0.1,
        "train.beta1": 0.9, "train.beta2": 0.95, "train.epsilon": 1e-5}


def test_steps(config, random):
    """Three steps in float32 are right; (before, after, gradients) of the last one."""
    parameters = reference.small_parameters(config, random)
    values = {"parameters": parameters}
    for state, shapes in reference.state_shapes(config).items():
        values["optimizer/" + state] = {name: np.zeros(shape) for name, shape in shapes.items()}
    shapes = {name: value.shape for name, value in parameters.items() if reference.is_trained(name)}
    values = {group: {name: value.astype(np.float32) for name, value in tensors.items()}
              for group, tensors in values.items()}
    for t in (1, 2, 3):
        before, gradients = values, small_gradients(shapes, random)
        values = float32_step(config, before, gradients, t)
        assert found(config, before, values, t) == []
        assert found(config, before, values, t, skipped=1) == ["the step was skipped"]
    return before, values, gradients


def wrong_tensors(config, before, gradients, t):
    """mistake -> (tensor, what the mistake makes of it)."""
    x, momentum = before["parameters"], before.get("optimizer/momentum", {})

    def wrong_adamw(name, g_factor=1, **changes):
        options = adamw_options(config, name, x[name], t) | changes
        m, v = before["optimizer/m"][name], before["optimizer/v"][name]
        return name, adamw(x[name], g_factor * gradients[name], m, v, **options)[0]

    def wrong_muon(name, count, factor=1.0, **changes):
        options = muon_options(config) | changes
        parts = zip(*(np.split(values[name], count) for values in (x, gradients, momentum)))
        steps = [(part[0], muon(*part, **options)[0]) for part in parts]
        return name, np.concatenate([old + factor * (new - old) for old, new in steps])

    decay = config["train.weight_decay"]
    projection = "layers.2.attention.sketch.projection.key.weight"
    learned = "layers.1.attention.sketch.learned.branch2.level1.in.weight"
    mistakes = {"the embedding decays": wrong_adamw("token_embedding.weight", decay=decay),
                "a norm decays": wrong_adamw("final_norm.weight", decay=decay),
                "a matrix does not decay": wrong_adamw(learned, decay=0),
                "the matrices of heads do not decay": wrong_adamw(projection, decay=0),
                "correction of the step before": wrong_adamw("logit_bias", t=t - 1),
                "no epsilon": wrong_adamw("final_norm.bias", epsilon=0),
                "another gradient": wrong_adamw("logit_bias", g_factor=1.001),
                "unchanged": ("logit_bias", x["logit_bias"])}
    if not momentum:
        return mistakes
    qkv, square, tall, wide = ("layers.0." + name for name in reference.MUON_TENSORS)
    mu, count = config["train.muon_momentum"], matrices(config, tall)
    (rows, columns), (short, long) = np.split(x[tall], count)[0].shape, x[wide].shape
    behind = mu * momentum[square] + gradients[square]
    heavy_ball = muon(x[square], behind, 0 * behind, **muon_options(config))[0]
    mistakes |= {"qkv as one matrix": wrong_muon(qkv, 1),
                 "heads apart": wrong_muon(qkv, 3 * config["model.heads"]),
                 "a matrix of Muon does not decay": wrong_muon(wide, 1, decay=0),
                 "rate of AdamW": wrong_muon(square, 1, rate=config["train.learning_rate"]),
                 "no factor of the shape": wrong_muon(tall, count, (columns / rows) ** 0.5),
                 "a factor for wide matrices": wrong_muon(wide, 1, (short / long) ** 0.5),
                 "momentum' instead of g + mu momentum'": (square, heavy_ball)}
    if count == 2:
        mistakes["both parts of glu as one matrix"] = wrong_muon(tall, 1)
    return mistakes


def test_mistakes(config, before, after, gradients):
    """A step with one mistake is wrong, and the tensor is named."""
    def found_in(group, values):
        return found(config, before, after | {group: after[group] | values}, 3)

    for mistake, (name, value) in wrong_tensors(config, before, gradients, 3).items():
        failures = found_in("parameters", {name: value})
        assert failures and all(line.startswith(name) for line in failures), (mistake, failures)
    for group in filter(lambda group: group != "parameters", after):
        name, value = next(iter(after[group].items()))
        for wrong in (0 * value, 1.01 * value, np.nan * value):
            failures = found_in(group, {name: wrong})
            assert failures and all(line.startswith(name) for line in failures), (group, failures)
        zeros = {name: 0 * value for name, value in after[group].items()}
        assert len(found_in(group, zeros)) == len(zeros)
        assert found(config, before, {key: after[key] for key in after if key != group}, 3)
    if config["train.optimizer"] == "muon":
        matrix = "layers.1.attention.out.weight"
        failures = found_in("optimizer/m", {matrix: after["parameters"][matrix]})
        assert failures == [f"AFTER: /optimizer/m/{matrix}: surplus"]
        assert found(config, before, after, 3, optimizer="adamw")
    fixed = "layers.0.attention.performer.projection"
    failures = found_in("parameters", {fixed: after["parameters"][fixed] * 1.001})
    assert failures == [f"{fixed}: changed, but it is not trained"]
    assert len(found(config, before, after, 3, schedule="cosine")) == 1
    assert len(found(config, before, after, 3, warmup_steps=1)) == 1
    assert len(found(config, before, after, 3, old_step=1)) == 1
    for rate in (1e-9, 0.00201):
        failures = found(config, before, after, 3, learning_rate=rate)
        assert len(failures) == len(after["optimizer/m"]), (rate, failures)


def self_test():
    random = np.random.default_rng(1)
    test_orthogonalise(random)
    test_numbers()
    for optimizer, feedforward in (("adamw", "glu"), ("muon", "glu"), ("muon", "gelu")):
        config = optimizer_config(optimizer, feedforward, pattern="performer,polysketch:learned,polysketch:projection")
        test_mistakes(config, *test_steps(config, random))
    print("self test passed")
    return []


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", nargs="?", metavar="BEFORE.h5")
    parser.add_argument("after", nargs="?", metavar="AFTER.h5")
    parser.add_argument("--tolerance", type=float, default=1e-6, metavar="SHARE",
                        help="of the largest change of a tensor, 1e-6 unless given")
    parser.add_argument("--self_test", action="store_true")
    arguments = parser.parse_args()
    if not arguments.self_test and arguments.after is None:
        parser.error("two checkpoints, or --self_test")
    try:
        failures = self_test() if arguments.self_test else run(arguments)
    except (OSError, KeyError, ValueError) as error:
        failures = [str(error)]
    for line in failures:
        print("FAILED " + line)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
