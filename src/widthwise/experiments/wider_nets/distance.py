"""Figure 8 of the paper on wider nets: accuracy and kernel distance against the width at a fixed number of weights."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from widthwise import data as datasets
from widthwise.experiments.common import at, canvas, path_only, seeded
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.experiments.wider_nets.sparse_net import BATCH, Task, accuracies
from widthwise.kernels import distance, distance_approx, distance_gaussian, random_pairs, sampled_distance
from widthwise.report.style import LIGHT

__all__ = ["fig8"]

_WIDTHS = (8, 32, 128, 216, 328, 512, 635)
_FORMULAS = {"measured": "measured", "exact": "Theorem 1", "heuristic": "(4)", "gaussian": "Gaussian inputs"}
_TUNING = 10_000
"""Images to choose learning rates by, neither trained on nor of the test set."""


@dataclass(frozen=True)
class _Part:
    """Networks of one seed trained side by side, and all that their numbers depend on."""

    data: str
    train: int
    weights: int
    epochs: int
    nets: tuple[tuple[int, float], ...]
    seed: int
    tuning: bool


@dataclass(frozen=True)
class _Pairs:
    """Distances of one width, and all that they depend on."""

    data: str
    train: int
    weights: int
    width: int
    pairs: int


def fig8(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Test accuracy, measured distance, and what theory says of it, at seven widths of 6352 weights.

    One hidden ReLU layer in NTK parameterisation, no biases, the last layer dense, pixels standardised, plain descent
    in batches of 256. The learning rate of a width is that of the best accuracy of networks of other seeds on images
    that are neither trained on nor of the test set.

    Args:
        scale: 20 epochs and 5 networks a width at ``"small"``, the paper's 300 and 10 at ``"paper"``.
        data: MNIST by default.
        seed: the first.
        seeds: how many networks a width.
    """
    name = str(path_only(data) if data is not None else at(scale, "digits", "mnist", "mnist"))
    widths, weights = at(scale, (6, 18, 36), _WIDTHS, _WIDTHS), at(scale, 444, 6352, 6352)
    train, epochs, pairs = at(scale, 500, 2048, 2048), at(scale, 3, 20, 300), at(scale, 200, 2000, 10_000)
    grid = at(scale, (10.0, 30.0), (10.0, 30.0, 100.0, 300.0), (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0))
    chosen = range(seed, seed + (seeds or at(scale, 2, 5, 10)))
    others = range(chosen.stop, chosen.stop + at(scale, 1, 2, 3))
    nets = tuple((n, rate) for n in widths for rate in grid)
    tried = in_parts(
        "learning rates", [_Part(name, train, weights, epochs, nets, s, True) for s in others], _trained
    )  # fmt: skip
    means = {net: statistics.fmean(each) for net, each in zip(nets, _columns(tried), strict=True)}
    rates = {n: max((means[n, rate], rate) for rate in grid)[1] for n in widths}
    tuned = tuple(rates.items())
    found = in_parts("networks", [_Part(name, train, weights, epochs, tuned, s, False) for s in chosen], _trained)
    apart = in_parts("distances", [_Pairs(name, train, weights, n, pairs) for n in widths], _distances)
    rows: list[Row] = [
        {"width": n, "p": kernel.pop("p"), **_summary(rates[n], each), **kernel}
        for n, each, kernel in zip(widths, _columns(found), apart, strict=True)
    ]
    settings = {"weights": weights, "train": train, "batch": BATCH, "epochs": epochs, "rates": grid, "pairs": pairs}
    return Outcome("fig8", scale, {**settings, "seeds": list(chosen)}, rows, _draw(rows), _notes(rows))


def _columns(found: Sequence[Row]) -> list[tuple[float, ...]]:
    """Of each network its accuracies, a seed each."""
    return list(zip(*(part["accuracies"] for part in found), strict=True))


def _summary(rate: float, each: Sequence[float]) -> dict[str, Any]:
    spread = statistics.stdev(each) if len(each) > 1 else 0.0
    return {"rate": rate, "accuracy": statistics.fmean(each), "accuracy_std": spread, "accuracies": list(each)}


def _trained(part: _Part) -> dict[str, Any]:
    task = _task(part.data, part.train)
    nets = [(n, part.weights - task.outputs * n, rate) for n, rate in part.nets]
    on = task.tuning if part.tuning else task.test
    return {"accuracies": accuracies(task, on, nets, epochs=part.epochs, seed=part.seed)}


def _distances(part: _Pairs) -> dict[str, float]:
    task = _task(part.data, part.train)
    test, n, d = task.test[0], part.width, task.inputs
    live = part.weights - task.outputs * n
    p = live / (n * d)
    measured = sampled_distance(test, n, weights=live, pairs=part.pairs, draws=10)
    i, j = random_pairs(len(test), part.pairs)  # the same
    exact = distance(test[i], test[j], n, p)
    return {
        "p": p,
        "measured": measured.value,
        "measured_error": measured.error,
        "exact": float(exact.value.mean()),
        "exact_error": float(exact.error.mean()),
        "heuristic": distance_approx(d, n, p),
        "gaussian": distance_gaussian(d, n, p),
    }


def _task(name: str, train: int) -> Task:
    found = datasets.load(name)
    order = torch.randperm(len(found.x), generator=seeded(0))
    chosen, rest = order[:train], order[train:]
    tuning, left = (rest[:_TUNING], None) if found.test else rest.chunk(2)
    test = found.test or (found.x[left], found.y[left])
    pixels = found.x[chosen].flatten(1)
    mean, spread = pixels.mean(0), pixels.std(0)

    def standard(x: Tensor) -> Tensor:
        return torch.where(spread > 0, (x.flatten(1) - mean) / spread.where(spread > 0, 1), 0)

    parts = (found.x[chosen], found.y[chosen]), (found.x[tuning], found.y[tuning]), test
    return Task(*((standard(x), y) for x, y in parts))


def _notes(rows: list[Row]) -> list[str]:
    best = max(rows, key=lambda row: row["accuracy"])
    close = [row["width"] for row in rows if best["accuracy"] - row["accuracy"] <= 2 * _standard_error(row, best)]
    notes = [f"Best accuracy {best['accuracy']:.2%} at width {best['width']}; within two standard errors: {close}."]
    for key, label in _FORMULAS.items():
        least = min(rows, key=lambda row: row[key])
        verdict = "the best or as good" if least["width"] in close else "not the best"
        notes.append(f"{label}: least at width {least['width']}, accuracy {least['accuracy']:.2%} there, {verdict}.")
    return notes + [
        f"width {row['width']}, p = {row['p']:.3g}: accuracy {row['accuracy']:.2%} +- {row['accuracy_std']:.2%} at "
        f"rate {row['rate']:g}; measured {row['measured']:.3g} +- {row['measured_error']:.1g}, exact "
        f"{row['exact']:.3g}, (4) {row['heuristic']:.3g}, Gaussian {row['gaussian']:.3g}"
        for row in rows
    ]


def _standard_error(one: Row, other: Row) -> float:
    """Of the difference between two mean accuracies."""
    return float(math.hypot(one["accuracy_std"], other["accuracy_std"])) / math.sqrt(len(one["accuracies"]))


def _draw(rows: list[Row]) -> Figure:
    figure, panels = canvas(["test accuracy", "squared distance of the kernel"], width=4.2, height=3.2)
    widths = [row["width"] for row in rows]
    mean, spread = ([row[key] for row in rows] for key in ("accuracy", "accuracy_std"))
    panels[0].plot(widths, mean, "o-", ms=4, color=LIGHT["series-1"])
    low, high = ([m + sign * s for m, s in zip(mean, spread, strict=True)] for sign in (-1, 1))
    panels[0].fill_between(widths, low, high, color=LIGHT["series-1"], alpha=0.15, lw=0)
    for i, (key, label) in enumerate(_FORMULAS.items()):
        panels[1].plot(widths, [row[key] for row in rows], "o-", ms=3, color=LIGHT[f"series-{i + 1}"], label=label)
    for panel in panels:
        panel.set_xscale("log", base=2)
        panel.set_xlabel("width")
    panels[1].set_yscale("log")
    panels[1].legend(frameon=False, fontsize=7)
    return figure
