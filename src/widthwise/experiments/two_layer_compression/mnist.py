"""A trained network, 784-1024-10 on MNIST, compressed by every method at equal M, before and after fine-tuning."""

from __future__ import annotations

import copy
import functools
import statistics
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from widthwise.compression.bench import Workbench
from widthwise.compression.blocks import find_blocks
from widthwise.experiments.common import at, canvas, load, seeded, thin
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.experiments.two_layer_compression.common import COLOURS, timed

__all__ = ["accuracy", "mnist"]

Pair = tuple[Tensor, Tensor]
_METHODS = ("optimal", "greedy", "kmeans", "merge", "magnitude", "random")
_SCRATCH = "from scratch"
_SIZES = (16, 32, 64, 128, 256, 512)
_BATCH = 128
_ROWS = 4096  # training examples that inputs are described and b is refitted on
_LR = 1e-3


@dataclass(frozen=True)
class _Part:
    """One size of one network, and all that its numbers depend on; its own width stands for the network as it is."""

    scale: str
    data: str
    seed: int
    M: int


def mnist(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Test accuracy after compressing to M neurons: as each method leaves it, with b refitted, and fine-tuned.

    Every method gets the same Gaussian description of the inputs, the same refit and the same fine-tuning, one epoch
    of Adam. Beside them a network of width M trained from scratch for as long as the wide one, and that epoch.

    Args:
        scale: 1024 hidden units and M = 16 to 512 from ``"small"`` on, there with a quarter of the epochs and 20 000
            training examples.
        data: MNIST by default.
        seed: of the first network.
        seeds: number of networks, 1 at ``"small"``, 5 at ``"paper"``.
    """
    splits = load(scale, data, "mnist")
    examples = thin(splits.train, at(scale, 60_000, 20_000, 60_000), 0)
    train, test = (_flat(*part) for part in (examples, splits.test))
    width, sizes = at(scale, 64, 1024, 1024), at(scale, (8, 16), _SIZES, _SIZES)
    epochs, iterations = at(scale, 3, 5, 20), at(scale, 10, 50, 100)
    draws = at(scale, 1, 1, 5) if seeds is None else seeds
    full = functools.lru_cache(1)(lambda s: _trained(_net(width, train, s), train, epochs, s))

    def measure(part: _Part) -> dict[str, list[Row]]:
        s, M = part.seed, part.M
        net = full(s)
        if width == M:
            return {"rows": [_row(s, "uncompressed", M, refitted=accuracy(net, test))]}
        rows = [_compressed(net, M, method, iterations, train, test, s) for method in _METHODS]
        small = _trained(_net(M, train, s), train, epochs, s)
        tuned = _trained(copy.deepcopy(small), train, 1, s + 1)
        return {"rows": [*rows, _row(s, _SCRATCH, M, refitted=accuracy(small, test), tuned=accuracy(tuned, test))]}

    parts = [_Part(scale, splits.name, s, M) for s in range(seed, seed + draws) for M in (width, *sizes)]
    rows: list[Row] = [row for found in in_parts("sizes", parts, measure) for row in found["rows"]]
    settings = {"data": splits.name, "examples": len(train[0]), "width": width, "epochs": epochs, "seeds": draws}
    settings |= {"lr": _LR, "batch": _BATCH, "iterations": iterations}
    return Outcome("mnist", scale, settings, rows, _draw(rows), _notes(rows))


def accuracy(net: nn.Module, test: Pair) -> float:
    """The fraction of the test set classified correctly."""
    with torch.no_grad():
        return float((net(test[0]).argmax(1) == test[1]).float().mean())


def _row(seed: int, method: str, M: int, **found: float) -> Row:
    columns = ("raw", "refitted", "tuned", "predicted", "raw_error", "error", "seconds")
    return {"seed": seed, "method": method, "M": M} | {column: found.get(column) for column in columns}


def _compressed(net: nn.Sequential, M: int, method: str, iterations: int, train: Pair, test: Pair, seed: int) -> Row:
    x = train[0]
    (block,) = find_blocks(net, x[:_BATCH])
    bench = Workbench(net, block, [x], _ROWS, method=method, restarts=0, iterations=iterations, seed=seed)
    small, seconds = timed(lambda: bench.at(M))
    raw, refitted = (nn.Sequential(small.first, nn.ReLU(), second) for second in (small.unfitted, small.second))
    tuned = _trained(copy.deepcopy(refitted), train, 1, seed + 1)
    accuracies = {"raw": accuracy(raw, test), "refitted": accuracy(refitted, test), "tuned": accuracy(tuned, test)}
    errors = {"predicted": small.predicted, "raw_error": small.raw_error, "error": small.error}
    return _row(seed, method, M, **accuracies, **errors, seconds=seconds)


def _flat(x: Tensor, y: Tensor) -> Pair:
    return x.flatten(1), y


def _net(width: int, train: Pair, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(train[0].shape[1], width), nn.ReLU(), nn.Linear(width, int(train[1].max()) + 1))


def _trained(net: nn.Sequential, train: Pair, epochs: int, seed: int) -> nn.Sequential:
    x, y = train
    optimizer, source = torch.optim.Adam(net.parameters(), lr=_LR), seeded(seed)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(x), generator=source), _BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(net(x[batch]), y[batch]))
            optimizer.step()
    return net


def _found(rows: list[Row], method: str, M: int, key: str) -> list[float]:
    """The values of all networks."""
    return [row[key] for row in rows if (row["method"], row["M"]) == (method, M) and row[key] is not None]


def _notes(rows: list[Row]) -> list[str]:
    width = max(row["M"] for row in rows)
    notes = [f"uncompressed, {width} hidden units: {_percent(rows, 'uncompressed', width, 'refitted')}"]
    for M in sorted({row["M"] for row in rows} - {width}):
        parts = [
            f"{method} {_percent(rows, method, M, 'refitted')} ({_percent(rows, method, M, 'tuned')})"
            for method in (*_METHODS, _SCRATCH)
        ]
        notes.append(f"M = {M}, refitted (fine-tuned): " + ", ".join(parts))
    return notes


def _percent(rows: list[Row], method: str, M: int, key: str) -> str:
    """The mean over networks and how far the farthest is from it."""
    found = torch.tensor(_found(rows, method, M, key), dtype=torch.float64)
    return f"{found.mean():.2%} +- {(found - found.mean()).abs().max():.2%}"


def _draw(rows: list[Row]) -> Figure:
    titles = {"raw": "as compressed", "refitted": "b refitted", "tuned": "fine-tuned"}
    figure, panels = canvas(list(titles.values()), width=4, height=4)
    sizes = sorted({row["M"] for row in rows if row["method"] != "uncompressed"})
    full = next(row for row in rows if row["method"] == "uncompressed")
    for panel, key in zip(panels, titles, strict=True):
        for colour, mark, method in zip((*COLOURS, COLOURS[5]), "osD^vPx", (*_METHODS, _SCRATCH), strict=True):
            errors = [[1 - value for value in _found(rows, method, M, key)] for M in sizes]
            if all(errors):
                panel.plot(sizes, [*map(statistics.fmean, errors)], f"{mark}-", ms=4, color=colour, label=method)
                panel.fill_between(sizes, [*map(min, errors)], [*map(max, errors)], color=colour, alpha=0.2, lw=0)
        panel.axhline(1 - full["refitted"], color=COLOURS[5], lw=0.8, ls=":")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xlabel("M")
    panels[0].set_ylabel("test error")
    panels[1].legend(frameon=False, fontsize=7)
    return figure
