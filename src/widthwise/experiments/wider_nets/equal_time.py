"""Does wide and sparse beat dense at equal weights, and at equal time? Accuracy beside measured seconds a step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor, nn
from torch.nn import functional

from widthwise import data as datasets
from widthwise.experiments.common import at, canvas, path_only, thin
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.masks import Mask
from widthwise.models import mlp
from widthwise.report.style import LIGHT
from widthwise.sparse import sparsify
from widthwise.training import TrainConfig
from widthwise.training.sparse_family import SparseFamily
from widthwise.training.sparse_loop import train_sparse
from widthwise.widening import sparsify_randomly, weights_at

__all__ = ["equal_time"]

_BATCH, _ROUNDS, _REPEATS = 100, 30, 4
_FACTORS = (1, 4, 16)


@dataclass(frozen=True)
class _Part:
    """All networks of one seed, and all that their numbers depend on."""

    data: str
    bases: tuple[int, ...]
    wider: tuple[int, ...]
    examples: int
    epochs: int
    seed: int


def equal_time(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Accuracy of dense and of wide sparse perceptrons against weights, multiply-adds, and measured time.

    One hidden layer of ReLU; for each of some dense networks those of as many weights that are 4 and 16 times as wide.
    Time is that of the process, on one thread, for a step of training and for the forward pass of a batch of 100: dense
    networks by PyTorch, sparse ones after ``ww.sparsify`` (which keeps a layer dense where that is faster).

    Args:
        scale: digits at ``"smoke"``, 20 000 images and 10 epochs at ``"small"``, all and 100 at ``"paper"``.
        data: MNIST by default.
        seed: the first.
        seeds: how many networks of each kind.
    """
    name = str(path_only(data) if data is not None else at(scale, "digits", "mnist", "mnist"))
    bases, wider = at(scale, (2,), (4, 8, 16, 32), (4, 8, 16, 32)), at(scale, (8,), (64, 128), (64, 128, 256))
    examples, epochs = at(scale, 1000, 20_000, 60_000), at(scale, 3, 10, 100)
    chosen = range(seed, seed + (seeds or at(scale, 2, 3, 5)))
    parts = [_Part(name, bases, wider, examples, epochs, s) for s in chosen]
    found = [part["nets"] for part in in_parts("seeds", parts, _measure)]
    rows = [_row(same) for same in zip(*found, strict=True)]
    settings = {"batch": _BATCH, "examples": examples, "epochs": epochs, "rate": 0.1, "seeds": list(chosen)}
    return Outcome("equal_time", scale, settings, rows, _draw(rows), _notes(rows))


def _measure(part: _Part) -> dict[str, Any]:
    splits = datasets.split(datasets.load(part.data), validation=0.0)
    x, y = thin((splits.train[0].flatten(1), splits.train[1]), part.examples, 0)
    test = (splits.test[0].flatten(1), splits.test[1])
    inputs, outputs = x.shape[1], splits.n_outputs
    kinds = [(b, f) for b in part.bases for f in _FACTORS] + [(b, 1) for b in part.wider]
    nets = [_net(inputs, outputs, base, factor, part.seed) for base, factor in kinds]
    family = SparseFamily([m for m, _ in nets], [{n: ~alive for n, alive in mask.items()} for _, mask in nets])
    config = TrainConfig(part.epochs, _BATCH, 0.1)
    curve = train_sparse(family, (x, y), config, seed=part.seed, validation=test, record_every=10**9).curve
    times = _times(nets, x[:_BATCH], y[:_BATCH])
    return {
        "nets": [
            {"base": base, "factor": factor, "weights": mask.kept, "accuracy": accuracy, **seconds}
            for (base, factor), (_, mask), accuracy, seconds in zip(kinds, nets, curve[-1][1], times, strict=True)
        ]
    }


def _net(inputs: int, outputs: int, base: int, factor: int, seed: int) -> tuple[nn.Module, Mask]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = mlp(inputs, outputs, width=base * factor)
    return model, sparsify_randomly(model, weights_at(lambda n: mlp(inputs, outputs, width=n), base), seed=seed)


def _times(nets: Sequence[tuple[nn.Module, Mask]], x: Tensor, y: Tensor) -> list[dict[str, float]]:
    """Milliseconds of each network, a step and a forward pass: the least of some rounds in which all take turns."""
    runs = [_runs(sparsify(model.train(), mask, training=True), x, y) for model, mask in nets]
    least = [dict.fromkeys(run, float("inf")) for run in runs]
    for _ in range(_ROUNDS):
        for run, times in zip(runs, least, strict=True):
            for name, call in run.items():
                began = time.process_time()
                for _ in range(_REPEATS):
                    call()
                times[name] = min(times[name], 1e3 * (time.process_time() - began) / _REPEATS)
    return least


def _runs(model: nn.Module, x: Tensor, y: Tensor) -> Mapping[str, Callable[[], None]]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(model(x), y))
        optimizer.step()

    def forward() -> None:
        with torch.no_grad():
            model(x)

    return {"step_ms": step, "forward_ms": forward}


def _row(same: Sequence[Row]) -> Row:
    """Mean over seeds; the time is the least."""
    each, first = [net["accuracy"] for net in same], same[0]
    return {
        "method": "dense" if first["factor"] == 1 else f"sparse x{first['factor']}",
        "width": first["base"] * first["factor"],
        "weights": first["weights"],
        "multiply_adds": first["weights"],
        **{key: min(net[key] for net in same) for key in ("step_ms", "forward_ms")},
        "accuracy": statistics.fmean(each),
        "accuracy_std": statistics.stdev(each) if len(each) > 1 else 0.0,
    }


def _notes(rows: Sequence[Row]) -> list[str]:
    """Each sparse network beside the dense one of its weights, and the best dense one that takes no longer."""
    notes = []
    dense = [row for row in rows if row["method"] == "dense"]
    for row in rows:
        if row["method"] == "dense":
            continue
        equal = next(other for other in dense if other["weights"] == row["weights"])
        said = [f"{row['accuracy'] - equal['accuracy']:+.2%} over dense of equal weights ({equal['step_ms']:.2f} ms)"]
        for key, what in (("step_ms", "step"), ("forward_ms", "forward pass")):
            as_fast = [other for other in dense if other[key] <= row[key]]
            rival = max(as_fast, key=lambda other: other["accuracy"], default=None)
            said.append(
                f"no dense network has as fast a {what}"
                if rival is None
                else f"{row['accuracy'] - rival['accuracy']:+.2%} over dense of equal {what} (width {rival['width']})"
            )
        notes.append(
            f"{row['method']}, {row['weights']} weights, width {row['width']}: {row['accuracy']:.2%} +- "
            f"{row['accuracy_std']:.2%}, {row['step_ms']:.2f} ms a step; {', '.join(said)}."
        )
    return notes


def _draw(rows: Sequence[Row]) -> Figure:
    axes = {"weights": "thousand weights, multiply-adds", "step_ms": "ms a step", "forward_ms": "ms a forward pass"}
    figure, panels = canvas(["test accuracy", "", ""], width=3.6, height=3.2)
    for panel, (key, label) in zip(panels, axes.items(), strict=True):
        for i, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
            mine = [row for row in rows if row["method"] == method]
            places, heights, spread = ([row[k] for row in mine] for k in (key, "accuracy", "accuracy_std"))
            places = [place / (1000 if key == "weights" else 1) for place in places]
            panel.errorbar(places, heights, spread, fmt="o-", ms=3, lw=1.2, color=LIGHT[f"series-{i}"], label=method)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel(label)
    panels[0].legend(frameon=False, fontsize=8)
    return figure
