"""Does anything that can be measured before training tell the best width? Hit rates over data sets, budgets, depths."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn.functional import one_hot

from widthwise.data import Splits
from widthwise.errors import InputError
from widthwise.experiments.common import at, canvas, path_only, thin
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.experiments.wider_nets.predictor_sets import MOST, SEEN, UNSEEN, bases, splits
from widthwise.masks import Mask
from widthwise.models import mlp
from widthwise.report.style import LIGHT
from widthwise.training import TrainConfig
from widthwise.training.sparse_family import Rule, SparseFamily
from widthwise.training.sparse_loop import train_sparse
from widthwise.widening import sparsify_randomly
from widthwise.width import best_width
from widthwise.width.initial import initial_scores, limit_gram

__all__ = ["width_predictor"]

_FACTORS = (1, 2, 4, 8, 16)
_ADAM = Rule(0.9, 0.01, 0.999)
_SAMPLE, _BATCH, _RATE = 48, 50, 3e-3


@dataclass(frozen=True)
class _Part:
    """One data set, budget and depth, and all that its numbers depend on."""

    folder: str | None
    name: str
    base: int
    depth: int
    steps: int
    seeds: tuple[int, ...]


def width_predictor(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Which of several widths is best at a fixed number of weights, and what measured before training says of it.

    Perceptrons with ReLU of one and two hidden layers, the weights of a dense network spread at random (size-balanced)
    over networks up to 16 times as wide; Adam, the rate falling as a cosine. A predictor hits where the width that it
    picks is the best or cannot be told from it (two standard errors over seeds). Hits are counted on the sets on which
    the predictor of :func:`widthwise.best_width` was chosen, and on others: features of CIFAR-10 images, which a
    ResNet-18 trained here on other images gives, and three small sets of scikit-learn's.

    Args:
        scale: digits and diabetes at ``"smoke"``; the UCI sets, digits, MNIST and the other sets otherwise.
        data: folder that holds ``uci``, ``mnist`` and ``cifar-10``.
        seed: the first.
        seeds: how many networks of each kind.
    """
    folder = path_only(data)
    names = at(scale, ("digits", "diabetes"), (*SEEN, *UNSEEN), (*SEEN, *UNSEEN))
    if folder is None and scale != "smoke":
        raise InputError("data: got none, allowed is the folder that holds uci, mnist and cifar-10")
    chosen = tuple(range(seed, seed + (seeds or at(scale, 2, 8, 10))))
    steps = at(scale, 30, 1500, 10_000)
    parts = [
        _Part(folder, name, base, depth, steps, chosen) for name in names for base in bases(name) for depth in (1, 2)
    ]
    rows = [row for part in in_parts("settings", parts, _measure) for row in part["rows"]]
    settings = {"factors": _FACTORS, "steps": steps, "batch": _BATCH, "rate": _RATE, "examples": MOST}
    return Outcome("width_predictor", scale, {**settings, "seeds": chosen}, rows, _draw(rows), _notes(rows))


def _measure(part: _Part) -> dict[str, Any]:
    data = splits(part.folder, part.name)
    inputs, outputs = data.train[0].flatten(1).shape[1], data.n_outputs
    weights = part.base * (inputs + (part.depth - 1) * part.base + outputs)
    sample, targets = thin(data.train, _SAMPLE, 0)
    sample, targets = sample.flatten(1), targets if targets.is_floating_point() else one_hot(targets, outputs)
    widths = [part.base * factor for factor in _FACTORS]
    nets = [_net(inputs, outputs, weights, n, part.depth, s) for n in widths for s in part.seeds]
    limit, formula = limit_gram(sample, part.depth), _formula(inputs, weights, outputs, part.depth, widths)
    scores = [initial_scores(model, mask, sample, targets, limit) for model, mask in nets]
    found = _trained(nets, data, part)
    count = len(part.seeds)
    rows = []
    for i, n in enumerate(widths):
        mine, each = scores[i * count : (i + 1) * count], found[i * count : (i + 1) * count]
        rows.append(
            {
                "data": part.name,
                "depth": part.depth,
                "weights": weights,
                "width": n,
                "factor": _FACTORS[i],
                "metric": statistics.fmean(each),
                "std": statistics.stdev(each) if count > 1 else 0.0,
                "seeds": count,
                **{name: statistics.fmean(s[name] for s in mine) for name in mine[0]},
                "formula": formula.get(n),
            }
        )
    return {"rows": rows}


def _formula(inputs: int, weights: int, outputs: int, depth: int, widths: Sequence[int]) -> dict[int, float]:
    """What the paper's formula (4) says of each width, for the one hidden layer that it is about."""
    if depth > 1:
        return {}
    possible = [n for n in widths if n <= weights]
    found = best_width(inputs, weights, outputs, last_layer="balanced", candidates=possible).candidates
    return {candidate.width: candidate.distance for candidate in found}


def _net(inputs: int, outputs: int, weights: int, width: int, depth: int, seed: int) -> tuple[nn.Module, Mask]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = mlp(inputs, outputs, width=width, depth=depth)
    return model, sparsify_randomly(model, weights, seed=seed)


def _trained(nets: Sequence[tuple[nn.Module, Mask]], data: Splits, part: _Part) -> list[float]:
    """Accuracy or R2 on the test set; 0 for what diverged."""
    x, y = data.train[0].flatten(1), data.train[1]
    family = SparseFamily([m for m, _ in nets], [{n: ~alive for n, alive in mask.items()} for _, mask in nets])
    config = TrainConfig(-(-part.steps * _BATCH // len(x)), _BATCH, _RATE, schedule="cosine")
    test = (data.test[0].flatten(1), data.test[1])
    curve = train_sparse(family, (x, y), config, seed=0, rule=_ADAM, validation=test, record_every=10**9).curve
    return [value if math.isfinite(value) else 0.0 for value in curve[-1][1]]


_FORMULA = "formula (4), one hidden layer"
_PREDICTORS: Mapping[str, Callable[[Row], float]] = {
    "dense": lambda row: row["factor"],
    "always x4": lambda row: abs(math.log(row["factor"] / 4)),
    _FORMULA: lambda row: math.inf if row["formula"] is None else row["formula"],
    "kernel distance": lambda row: row["distance"],
    "NTK condition": lambda row: row["condition"],
    "effective rank of NTK": lambda row: -row["rank"],
    "target alignment": lambda row: -row["alignment"],
}
"""The width of the least value is picked."""


def _settings_of(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each data set, depth and budget."""
    keys = dict.fromkeys((row["data"], row["depth"], row["weights"]) for row in rows)
    return [[r for r in rows if (r["data"], r["depth"], r["weights"]) == key] for key in keys]


def _as_good(row: Row, best: Row) -> bool:
    """Whether a width cannot be told from the best."""
    error = math.hypot(row["std"], best["std"]) / math.sqrt(row["seeds"])
    return bool(best["metric"] - row["metric"] <= 2 * error)


def _notes(rows: Sequence[Row]) -> list[str]:
    settings = _settings_of(rows)
    seen = [mine for mine in settings if mine[0]["data"] not in UNSEEN]
    unseen = [mine for mine in settings if mine[0]["data"] in UNSEEN]
    counted = [*_hits(seen, ""), *_hits(unseen, "On sets that none was chosen on, ")]
    return [*counted, *map(_verdict, settings)]


def _hits(settings: Sequence[list[Row]], where: str) -> list[str]:
    """How often each predictor hits in some settings, and what it loses; how often chance would."""
    if not settings:
        return []
    notes = []
    for name, key in _PREDICTORS.items():
        known = [mine for mine in settings if name != _FORMULA or mine[0]["formula"] is not None]
        pairs = [(min(mine, key=key), _best(mine)) for mine in known]
        hits = sum(_as_good(picked, best) for picked, best in pairs)
        lost = statistics.fmean(best["metric"] - picked["metric"] for picked, best in pairs)
        notes.append(f"{where}{name}: hits {hits} of {len(known)}, loses {lost:.4f} against the best on average.")
    chance = statistics.fmean(_as_good(row, _best(mine)) for mine in settings for row in mine)
    return [*notes, f"{where}a width at random: hits {chance:.0%}."]


def _best(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: row["metric"])


def _verdict(rows: Sequence[Row]) -> str:
    """Whether widening helps in one setting."""
    dense, best = rows[0], _best(rows)
    said = "widening helps" if not _as_good(dense, best) else "undetermined" if best is not dense else "dense is best"
    numbers = f"{dense['metric']:.4f} +- {dense['std']:.4f} dense of width {dense['width']}"
    best_one = f"{best['metric']:.4f} +- {best['std']:.4f} at width {best['width']}"
    return f"{dense['data']}, depth {dense['depth']}, {dense['weights']} weights: {said}; {numbers}, best {best_one}."


def _draw(rows: Sequence[Row]) -> Figure:
    names = list(dict.fromkeys(row["data"] for row in rows))
    figure, panels = canvas(names, columns=3, width=3.2, height=2.4)
    for panel, name in zip(panels, names, strict=True):
        for i, mine in enumerate(_settings_of([row for row in rows if row["data"] == name])):
            label = f"depth {mine[0]['depth']}, {mine[0]['weights']} weights"
            factors, metric, spread = ([row[key] for row in mine] for key in ("factor", "metric", "std"))
            panel.errorbar(factors, metric, spread, fmt="o-", ms=3, lw=1, color=LIGHT[f"series-{i}"], label=label)
        panel.set_xscale("log", base=2)
        panel.set_xticks(_FACTORS, [f"x{factor}" for factor in _FACTORS])
        panel.legend(frameon=False, fontsize=6)
    panels[0].set_ylabel("accuracy or R2")
    return figure
