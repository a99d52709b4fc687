"""Comparisons of every shape a report may meet: the usual one first, then the awkward ones."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import matplotlib as mpl
from matplotlib.figure import Figure

from widthwise.comparison import Comparison, Finding, Row

NAN = float("nan")
INPUTS, CLASSES, BASE, SEEDS = 64, 10, 3, 5
BUDGET = BASE * (INPUTS + CLASSES)
HOSTILE = "</script><img src=http://evil.example/x onerror=alert(1)>\"'&$x$\x1b[31m\udc80\u202e{{[red]"
SETTLED = {"dense": 0.976, "sparse": 0.915, "magnitude": 0.926, "snip": 0.938}
READOUT = {"dense": 1.0, "sparse": 1.0, "magnitude": 1.5, "snip": 2.6}
FALL = {"dense": 0.0, "sparse": 0.013, "magnitude": 0.009, "snip": 0.006}


def digits(factors=(2, 4, 8, 16, 32), seeds=SEEDS) -> Comparison:
    """21 rows of 5 seeds: the shape, the counts and about the numbers of the default run."""
    rows = [_row("dense", 1, seeds), *(_row(m, f, seeds) for m in SETTLED for f in factors)]
    rows = _rank(rows)
    best = min((r for r in rows if r.rank), key=lambda r: r.rank)
    sparse = [r for r in rows if r.predicted]
    foretold, seen = min(sparse, key=lambda r: r.predicted), min(sparse, key=lambda r: r.measured)
    return Comparison(
        data="digits",
        task="classification",
        metric="accuracy",
        budget=BUDGET,
        rows=tuple(rows),
        findings=(
            Finding(
                f"{best.label} is the best use of {BUDGET} weights: {100 * best.mean:.1f} % "
                f"against {100 * rows[0].mean:.1f} % for dense x1.",
                rows=(best.label, "dense x1"),
            ),
            Finding(
                f"The predicted distance is least for {foretold.label}, the measured one for {seen.label}.",
                "distance",
                (foretold.label, seen.label),
            ),
            Finding(
                f"After 50 epochs {best.label} has learnt more than dense x1 does in 200.", "curves", (best.label,)
            ),
        ),
        settings={
            "base_width": BASE,
            "budget": BUDGET,
            "factors": factors,
            "methods": ("sparse", "magnitude", "snip"),
            "seeds": seeds,
            "epochs": 200,
            "lr": 0.1,
            "batch_size": 100,
            "activation": "relu",
            "dtype": "float32",
        },
        machine={
            "widthwise": "0.1.0",
            "torch": "2.13.0",
            "python": "3.11.7",
            "cpu": "2 cores",
            "device": "cpu",
        },
        seconds=93.4,
    )


def _row(method: str, factor: int, seeds: int) -> Row:
    draw = random.Random(f"{method}{factor}")
    width = BASE * factor
    weights = width * (INPUTS + CLASSES) if method == "dense" else BUDGET
    p = weights / (width * (INPUTS + CLASSES))
    rise = (SETTLED[method] - 0.8) * (1 - math.exp(-(factor - 1) / 1.5))
    level = 0.8 + rise - FALL[method] * max(0.0, math.log2(factor) - 2) ** 2
    deviation = 0.06 / factor**0.7 + 0.008
    test = tuple(round(min(0.99, draw.gauss(level, deviation)), 4) for _ in range(seeds))
    validation = tuple(round(v + draw.gauss(0.004, 0.004), 4) for v in test)
    final = sum(validation) / len(validation)
    rate = 12 + 40 / factor
    curve = tuple((e, round(final - (final - 0.1) * math.exp(-e / rate), 4)) for e in range(0, 201, 5))
    distance = ((p**-0.5 - 1) ** 2 / 4 + INPUTS / width * (1 - math.pi**-2)) / (4 * INPUTS)
    sparse = method == "sparse" or factor == 1
    return Row(
        method=method,
        factor=factor,
        width=width,
        weights=weights,
        connectivity=p,
        layer_connectivity=(1.0, 1.0) if p == 1 else _layers(p, READOUT[method]),
        within_budget=method != "dense" or factor == 1,
        test=test,
        validation=validation,
        predicted=distance if sparse else None,
        measured=1.7 / width * (1 + 0.02 * (factor - 1) ** 1.5) if sparse else None,
        curve=curve,
    )


def _layers(p: float, readout: float) -> tuple[float, float]:
    """Both layers' connectivity where the readout keeps ``readout`` times its share, as far as it can."""
    last = min(1.0, readout * p)
    return (p * (INPUTS + CLASSES) - last * CLASSES) / INPUTS, last


def _rank(rows: list[Row]) -> list[Row]:
    eligible = [r for r in rows if r.within_budget and all(map(math.isfinite, r.validation))]
    order = sorted(eligible, key=lambda r: -sum(r.validation) / len(r.validation))
    return [replace(r, rank=order.index(r) + 1 if r in order else None) for r in rows]


def one_seed() -> Comparison:
    return digits(seeds=1)


def one_row() -> Comparison:
    full = digits()
    return replace(full, rows=(replace(full.baseline, rank=1),), findings=())


def regression() -> Comparison:
    """R2, better than the mean for all but one row, which is far worse."""
    full = digits()
    rows = [replace(r, test=tuple(v - 0.2 for v in r.test)) for r in full.rows]
    rows[5] = replace(rows[5], test=(-40.0, -55.0, 0.1, -3.0, -9.0))
    return replace(full, data="diabetes", task="regression", metric="R2", rows=tuple(rows))


def diverged() -> Comparison:
    """One row lost two seeds (one in each metric), another lost all."""
    full = digits()
    rows = list(full.rows)
    rows[7] = replace(
        rows[7],
        test=(NAN, *rows[7].test[1:]),
        validation=(*rows[7].validation[:4], math.inf),
        curve=tuple((e, v if e < 50 else NAN) for e, v in rows[7].curve),
    )
    rows[9] = replace(rows[9], test=(NAN,) * SEEDS, validation=(NAN,) * SEEDS, curve=())
    return replace(full, rows=tuple(_rank(rows)))


def all_diverged() -> Comparison:
    full = digits()
    lost = (NAN,) * SEEDS
    return replace(full, rows=tuple(replace(r, test=lost, validation=lost, rank=None) for r in full.rows))


def bare() -> Comparison:
    """Nothing but the metric: no distances, no curves, no layers, no findings, no settings."""
    full = digits()
    bare = [replace(r, predicted=None, measured=None, curve=(), layer_connectivity=()) for r in full.rows]
    return Comparison(full.data, full.task, full.metric, full.budget, tuple(bare))


def interrupted() -> Comparison:
    """Stopped before the baseline was trained: rows without rank, without seeds."""
    full = digits()
    rows = (replace(full.rows[6], rank=None), replace(full.rows[7], test=(), validation=(), rank=None))
    return replace(full, rows=rows, findings=())


def huge() -> Comparison:
    """1000 rows: 40 methods by 25 widths."""
    full = digits()
    names = ["sparse", "snip", *(f"method{i}" for i in range(38))]
    rows = [full.baseline]
    for j, name in enumerate(names):
        for i in range(25):
            shape = _row("snip" if j % 2 else "sparse", 2 + i, 3)
            shift = tuple(v - 0.001 * j for v in shape.test)
            rows.append(replace(shape, method=name, test=shift, validation=shift))
    return replace(full, rows=tuple(_rank(rows[:1000])))


def hostile() -> Comparison:
    """Every string a user can choose is an attack."""
    full = digits()
    rows = tuple(replace(r, method=HOSTILE) if r.method == "snip" else r for r in full.rows)
    return replace(
        full,
        data=HOSTILE,
        rows=rows,
        findings=(HOSTILE, Finding(HOSTILE, HOSTILE, (f"{HOSTILE} x4",))),
        settings={HOSTILE: HOSTILE, "set": {"b", "a"}, "nested": {"x": [1, HOSTILE]}},
        machine={HOSTILE: HOSTILE},
    )


ALL = (digits, one_seed, one_row, regression, diverged, all_diverged, bare, interrupted, huge, hostile)


def experiment(folder, name="fig3", **changes):
    """What ``reproduce`` leaves in a folder: numbers, a table, a drawing; the path of the numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "experiment": name,
        "scale": "small",
        "command": f"widthwise reproduce robust-pruning/{name} --scale small --out DIR",
        "settings": {"depth": 3, "widths": [4, 8]},
        "machine": {"python": "3.11"},
        "notes": ["Rescaling trains at every depth.", "One seed."],
        "rows": [{"depth": d, "scheme": s, "accuracy": 0.9 - 0.01 * d} for d in (2, 20) for s in ("EOC", "ordered")],
    } | changes
    path = folder / f"{name}-{record['scale']}.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    figure = Figure(figsize=(5, 3))
    figure.subplots().plot([2, 20], [0.88, 0.7], label="black as matplotlib has it", color="black")
    figure.legend()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path.with_suffix(".svg"), format="svg")
    return path
