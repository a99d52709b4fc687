"""Figure 5 of the paper on wider nets: one hidden layer at a fixed number of weights, any width and last layer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from widthwise import data as datasets
from widthwise.errors import InputError
from widthwise.experiments.common import at, canvas, path_only
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts, tell, unfinished
from widthwise.models import mlp
from widthwise.report.style import LIGHT
from widthwise.training import Progress, TrainConfig
from widthwise.training.divergence import reported_elsewhere
from widthwise.training.sparse_family import SparseFamily
from widthwise.training.sparse_loop import load_progress, save_progress, train_sparse
from widthwise.widening import sparsify_randomly

__all__ = ["PRINTED", "Shape", "fig5", "shapes", "sparse_nets"]

_ACTIVATIONS = {"relu": "ReLU", "linear": "linear"}
_SHARES = tuple(k / 10 for k in range(10, 0, -1))
PRINTED = {"relu": {80: 0.963, 160: 0.963}, "linear": {40: 0.927}}
"""The best test accuracies in the paper, by width; its dense networks have about 0.90."""
_SAVE_EVERY = 60.0  # seconds
_RECORDS = 30


@dataclass(frozen=True)
class Shape:
    """How a network with one hidden layer spends its weights."""

    width: int
    first: int
    last: int


@dataclass(frozen=True)
class _Part:
    """All networks of one activation and seed, and all that their numbers depend on."""

    data: str
    activation: str
    base: int
    widths: tuple[int, ...]
    shares: tuple[float, ...]
    epochs: int
    seed: int


def fig5(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Test accuracy of ReLU and of linear networks at 3970 weights, by width and connectivity of the last layer.

    One hidden layer, random static masks of exactly the dense network's number of weights, PyTorch's uniform
    initialization for the fan-in that is left, pixels from 0 to 1, plain descent in batches of 100 at rate 0.1 on all
    training images. All networks of a seed and activation are trained side by side on the same batches.

    Args:
        scale: the paper's grid, 8 widths, 10 connectivities and 300 epochs, at ``"paper"``.
        data: MNIST by default; scikit-learn's digits at ``"smoke"``.
        seed: the first.
        seeds: how many networks of each kind.
    """
    name = path_only(data) if data is not None else at(scale, "digits", "mnist", "mnist")
    base, epochs = at(scale, 3, 5, 5), at(scale, 3, 20, 300)
    widths = at(scale, (3, 12, 24), (5, 20, 40, 80, 160, 320), tuple(5 * 2**k for k in range(8)))
    shares = at(scale, (1.0, 0.5), (1.0, 0.6, 0.3), _SHARES)
    chosen = range(seed, seed + (seeds or at(scale, 1, 2, 3)))
    parts = [_Part(str(name), each, base, widths, shares, epochs, s) for s in chosen for each in _ACTIVATIONS]
    found = in_parts("grid", parts, _measure)
    rows = _rows(parts, [part["nets"] for part in found])
    settings = {"base_width": base, "weights": found[0]["weights"], "epochs": epochs, "batch": 100, "rate": 0.1}
    record = {**settings, "pixels": "0 to 1", "seeds": list(chosen), "seconds": sum(part["seconds"] for part in found)}
    return Outcome("fig5", scale, record, rows, _draw(rows), _notes(rows, found))


def shapes(
    inputs: int, outputs: int, weights: int, widths: Sequence[int], shares: Sequence[float] = _SHARES
) -> list[Shape]:
    """The networks of a number of weights: each width with each share of the last layer's that it has room for."""
    result = dict.fromkeys(
        Shape(n, weights - (last := round(outputs * n * share)), last) for n in widths for share in shares
    )
    return [s for s in result if 1 <= s.first <= inputs * s.width and s.last >= 1]


def sparse_nets(
    inputs: int, outputs: int, chosen: Sequence[Shape], activation: str, seed: int
) -> tuple[list[nn.Module], list[dict[str, Tensor]]]:
    """Networks at initialization and what of each is pruned: bound ``(fan_in * connectivity) ** -0.5``."""
    models: list[nn.Module] = []
    pruned = []
    for shape in chosen:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = mlp(inputs, outputs, width=shape.width, activation=activation)
        counts = {"hidden1.weight": shape.first, "output.weight": shape.last}
        mask = sparsify_randomly(model, shape.first + shape.last, distribution=lambda *_, c=counts: c, seed=seed)
        models.append(model)
        pruned.append({name: ~alive for name, alive in mask.items()})
    return models, pruned


def _measure(part: _Part) -> dict[str, Any]:
    train, test, outputs = _data(part.data)
    inputs = train[0].shape[1]
    weights = part.base * (inputs + outputs)
    grid = shapes(inputs, outputs, weights, part.widths, part.shares)
    models, pruned = sparse_nets(inputs, outputs, grid, part.activation, part.seed)
    family = SparseFamily(models, pruned, idle=(train[0] == 0).all(0))
    progress, seconds = _train(family, train, test, part)
    final, best = progress.curve[-1][1], [max(column) for column in zip(*(c for _, c in progress.curve), strict=True)]
    nets = [
        {
            "width": shape.width,
            "last_connectivity": shape.last / (outputs * shape.width),
            "connectivity": weights / (shape.width * (inputs + outputs)),
            "accuracy": accuracy,
            "best": most,
        }
        for shape, accuracy, most in zip(grid, final, best, strict=True)
    ]
    return {"weights": weights, "nets": nets, "seconds": seconds}


def _train(
    family: SparseFamily, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], part: _Part
) -> tuple[Progress, float]:
    """Train, going on from where an interrupted run was; the seconds are those of all epochs at this process's pace."""
    path, config = unfinished(part), TrainConfig(epochs=part.epochs, batch_size=100, lr=0.1)
    progress = load_progress(path, family) if path is not None and path.exists() else Progress()
    began = saved = time.monotonic()
    first = progress.epoch
    label = f"{len(family)} {_ACTIVATIONS[part.activation]} networks, seed {part.seed}, epochs"

    def after_epoch(now: Progress) -> None:
        nonlocal saved
        tell(now.epoch, part.epochs, label)
        if path is not None and time.monotonic() - saved > _SAVE_EVERY:
            save_progress(path, family, now)
            saved = time.monotonic()

    every = max(1, part.epochs // _RECORDS)
    with reported_elsewhere():  # as rates without an accuracy
        train_sparse(
            family, train, config, seed=part.seed, validation=test, record_every=every, progress=progress,
            after_epoch=after_epoch,
        )  # fmt: skip
    return progress, (time.monotonic() - began) * part.epochs / max(1, part.epochs - first)


def _data(name: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], int]:
    """Training and test part, flattened, the largest value 1."""
    found = datasets.load(name)
    if found.task != "classification":
        raise InputError(f"data: got {found.task}, allowed is classification")
    parts = datasets.split(found, validation=0.0, standardize="none")
    (x, y), (test, labels) = parts.train, parts.test
    top = x.abs().max()
    return (x.flatten(1) / top, y), (test.flatten(1) / top, labels), found.n_outputs


def _rows(parts: Sequence[_Part], found: Sequence[Sequence[Row]]) -> list[Row]:
    """Mean and deviation over seeds of each network."""
    rows: list[Row] = []
    for activation in _ACTIVATIONS:
        runs = [nets for part, nets in zip(parts, found, strict=True) if part.activation == activation]
        for same in zip(*runs, strict=True):
            each = [net["accuracy"] for net in same]
            rows.append(
                {
                    "activation": activation,
                    **{key: same[0][key] for key in ("width", "last_connectivity", "connectivity")},
                    "accuracy": statistics.fmean(each),
                    "accuracy_std": statistics.stdev(each) if len(each) > 1 else 0.0,
                    "best_epoch_accuracy": statistics.fmean(net["best"] for net in same),
                }
            )
    return rows


def _notes(rows: Sequence[Row], found: Sequence[Row]) -> list[str]:
    notes = []
    for activation, label in _ACTIVATIONS.items():
        mine = [row for row in rows if row["activation"] == activation]
        dense, best = mine[0], max(mine, key=lambda row: row["accuracy"])
        spread = [f" +- {row['accuracy_std']:.2%}" if len(found) > len(_ACTIVATIONS) else "" for row in (best, dense)]
        notes.append(
            f"{label}: best accuracy {best['accuracy']:.2%}{spread[0]} at width {best['width']}, "
            f"connectivity {best['connectivity']:.3g}, of the last layer {best['last_connectivity']:.2g}; dense width "
            f"{dense['width']}: {dense['accuracy']:.2%}{spread[1]}."
        )
        tops = [max((r for r in mine if r["width"] == n), key=lambda r: r["accuracy"]) for n in _widths(mine)]
        notes.append(
            f"{label}, best of each width: "
            + ", ".join(f"{r['width']}: {r['accuracy']:.2%} (last {r['last_connectivity']:.2g})" for r in tops)
            + "."
        )
    count = sum(len(part["nets"]) for part in found)
    notes.append(f"{count} networks trained in {sum(part['seconds'] for part in found):.0f} s.")
    return notes


def _widths(rows: Sequence[Row]) -> list[int]:
    return sorted({row["width"] for row in rows})


def _draw(rows: Sequence[Row]) -> Figure:
    figure, panels = canvas(list(_ACTIVATIONS.values()), width=4.2, height=3.4)
    for panel, activation in zip(panels, _ACTIVATIONS, strict=True):
        _draw_panel(panel, [row for row in rows if row["activation"] == activation])
        best = PRINTED[activation]
        panel.plot(list(best), list(best.values()), "D", mfc="none", color=LIGHT["ink"], label="best in the paper")
    panels[0].set_ylabel("test accuracy")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def _draw_panel(panel: Axes, rows: Sequence[Row]) -> None:
    """A dot a network, the darker the denser its last layer, and a line along the best of each width."""
    widths = _widths(rows)
    tops = [max(row["accuracy"] for row in rows if row["width"] == n) for n in widths]
    panel.plot(widths, tops, color=LIGHT["series-1"], lw=1.5, label="best of each width")
    for row in rows:
        label = f"last layer {row['last_connectivity']:.0%}" if row is rows[0] else None
        shade = 0.15 + 0.85 * row["last_connectivity"]
        panel.plot(row["width"], row["accuracy"], "o", ms=4, color=LIGHT["series-2"], alpha=shade, label=label)
    panel.set_ylim(min(tops) - 0.06, max(tops) + 0.02)  # the worst last layers lie far below
    panel.set_xscale("log", base=2)
    panel.set_xticks(widths, [str(n) for n in widths])
    panel.set_xlabel("width, at one number of weights")
