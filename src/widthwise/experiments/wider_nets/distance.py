"""Figure 8 of the paper on wider nets: accuracy and kernel distance against the width at a fixed number of weights."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from widthwise import data as datasets
from widthwise.experiments.common import at, canvas, path_only, seeded
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.experiments.wider_nets.sparse_net import Task, accuracy_after
from widthwise.kernels import distance, distance_approx, distance_gaussian, random_pairs, sampled_distance
from widthwise.report.style import LIGHT

__all__ = ["fig8"]

_RATES = (10.0, 30.0, 100.0)
_FORMULAS = {"measured": "measured", "exact": "Theorem 1", "heuristic": "(4)", "gaussian": "Gaussian inputs"}


@dataclass(frozen=True)
class _Part:
    """One width, and all that its numbers depend on."""

    data: str
    train: int
    width: int
    weights: int
    epochs: int
    pairs: int
    seeds: tuple[int, ...]


def fig8(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Test accuracy, measured distance, and what theory says of it, at seven widths of 6352 weights.

    One hidden ReLU layer in NTK parameterisation, no biases, the last layer dense, pixels standardised, plain descent
    in batches of 256. The learning rate of a width is that of the best accuracy of a network of another seed.

    Args:
        scale: 20 epochs and 5 networks a width at ``"small"``, the paper's 300 and 10 at ``"paper"``.
        data: MNIST by default.
        seed: the first.
        seeds: how many networks a width.
    """
    name = path_only(data) if data is not None else at(scale, "digits", "mnist", "mnist")
    widths, weights = at(scale, (6, 18, 36), _WIDTHS, _WIDTHS), at(scale, 444, 6352, 6352)
    train, epochs, pairs = at(scale, 500, 2048, 2048), at(scale, 3, 20, 300), at(scale, 200, 2000, 10_000)
    chosen = tuple(range(seed, seed + (seeds or at(scale, 2, 5, 10))))
    parts = [_Part(str(name), train, n, weights, epochs, pairs, chosen) for n in widths]
    rows: list[Row] = list(in_parts("widths", parts, _measure))
    settings = {"weights": weights, "train": train, "batch": 256, "epochs": epochs, "rates": _RATES, "pairs": pairs}
    return Outcome("fig8", scale, {**settings, "seeds": chosen}, rows, _draw(rows), _notes(rows))


_WIDTHS = (8, 32, 128, 216, 328, 512, 635)


def _measure(part: _Part) -> dict[str, Any]:
    task = _task(part)
    outputs = int(task.labels.max()) + 1
    live = part.weights - outputs * part.width
    found: dict[str, Any] = {"width": part.width, "p": live / (part.width * task.x.shape[1])}
    return {**found, **_distances(part, task, live), **_accuracies(part, task, live)}


def _accuracies(part: _Part, task: Task, live: int) -> dict[str, Any]:
    other = max(part.seeds) + 1

    def run(rate: float, seed: int) -> float:
        return accuracy_after(task, part.width, live, part.epochs, rate, seed)

    tuned = {rate: run(rate, other) for rate in _RATES}
    rate = max(tuned, key=lambda r: tuned[r])
    each = [run(rate, s) for s in part.seeds]
    spread = statistics.stdev(each) if len(each) > 1 else 0.0
    return {"rate": rate, "accuracy": statistics.fmean(each), "accuracy_std": spread, "accuracies": each}


def _distances(part: _Part, task: Task, live: int) -> dict[str, float]:
    n, (_, d) = part.width, task.test.shape
    p = live / (n * d)
    measured = sampled_distance(task.test, n, weights=live, pairs=part.pairs, draws=10)
    i, j = random_pairs(len(task.test), min(part.pairs, 1000))
    exact = distance(task.test[i], task.test[j], n, p)
    return {
        "measured": measured.value,
        "measured_error": measured.error,
        "exact": float(exact.value.mean()),
        "exact_error": float(exact.error.mean()),
        "heuristic": distance_approx(d, n, p),
        "gaussian": distance_gaussian(d, n, p),
    }


def _task(part: _Part) -> Task:
    found = datasets.load(part.data)
    order = torch.randperm(len(found.x), generator=seeded(0))
    chosen = order[: part.train]
    test, labels = found.test or (found.x[order[part.train :]], found.y[order[part.train :]])
    train = found.x[chosen].flatten(1)
    mean, spread = train.mean(0), train.std(0)

    def standard(x: Tensor) -> Tensor:
        return torch.where(spread > 0, (x.flatten(1) - mean) / spread.where(spread > 0, 1), 0)

    return Task(standard(train), found.y[chosen], standard(test), labels)


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
