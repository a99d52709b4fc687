"""Figures 4 and 11: CIFAR-10 on the features of a residual network, with cross-entropy and minibatches."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from widthwise import data as datasets
from widthwise.errors import DataError
from widthwise.experiments.asymmetrical_scaling.common import (
    SETTINGS,
    Curves,
    Part,
    Setting,
    draw_bands,
    log_height,
    measure,
    network,
    settings_record,
)
from widthwise.experiments.common import at, canvas, path_only
from widthwise.experiments.features import imagenet_features, trained_features
from widthwise.experiments.outcome import Outcome, Row
from widthwise.nodes import importance, risk_curve
from widthwise.report.style import LIGHT

__all__ = ["fig4", "fig11"]

Pair = tuple[Tensor, Tensor]
_GAMMAS = tuple(
    Setting(gamma, 0.5, LIGHT[f"series-{colour}"]) for gamma, colour in ((1.0, 0), (0.5, 1), (0.2, 3), (0.0, 2))
)


@dataclass(frozen=True)
class _Sizes:
    """What a scale chooses: images to make features, to train and to test on; the networks; nodes left."""

    images: tuple[int, int, int]
    net_width: int
    epochs: int
    width: int
    steps: int
    seeds: int
    left: tuple[int, ...]


_LEFT = (2000, 1000, 500, 200, 100, 50, 20, 10, 5)
_SCALES = {
    "smoke": _Sizes((200, 200, 100), 2, 1, 100, 40, 2, (100, 50, 10)),
    "small": _Sizes((4000, 4000, 2000), 8, 5, 2000, 1000, 5, _LEFT),
    "paper": _Sizes((25_000, 25_000, 10_000), 64, 60, 2000, 50_000, 5, _LEFT),
}
_BATCH, _LR = 64, 5.0


def fig4(
    scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None, weights: str | None = None
) -> Outcome:
    """Figure 4, CIFAR-10: training loss, test error and movement over the steps, test error after pruning.

    Features of a ResNet-18 enter networks (2) with ten outputs, which train by SGD of batches of 64 at a rate of 5 on
    cross-entropy. The ResNet-18 is trained here, on other images than those that the networks (2) see, or comes from a
    file. Features are divided by the root of their mean square.

    Args:
        scale: narrow networks and few images at ``"small"``; at ``"paper"`` 2000 nodes and 50 000 steps.
        data: CIFAR-10 by default; at ``"smoke"`` scikit-learn's digits stand in, in grey.
        seed: the first of the seeds.
        seeds: how many.
        weights: a safetensors file of an ImageNet ResNet-18, whose 512 features are then used.
    """
    return _figure("fig4", SETTINGS, scale, data, seed, seeds, weights)


def fig11(
    scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None, weights: str | None = None
) -> Outcome:
    """Figure 11: as :func:`fig4` for gamma from 1 to 0 at alpha = 0.5."""
    return _figure("fig11", _GAMMAS, scale, data, seed, seeds, weights)


def _figure(
    name: str,
    settings: Sequence[Setting],
    scale: str,
    data: Any,
    seed: int,
    seeds: int | None,
    weights: str | None,
) -> Outcome:
    sizes = at(scale, *_SCALES.values())
    source = _Source(scale, path_only(data), None if weights is None else os.fspath(weights))
    chosen = range(seed, seed + (seeds or sizes.seeds))

    def one(part: Part) -> dict[str, list[float]]:
        return _trained(part, sizes, *_featured(source))

    label = source.data if weights is None else f"{source.data}, features of {source.weights}"
    found = measure(Part(name, scale, label, 0.0, None, 0), chosen, one, settings)
    steps = Curves("steps", _marks(sizes), {k: v for k, v in found.items() if k not in _PRUNED}, settings)
    left = Curves("nodes left", [float(k) for k in sizes.left], {k: found[k] for k in _PRUNED}, settings)
    rows = [*steps.rows(), *left.rows()]
    end = steps.places[-1]
    notes = [
        f"Test error at the end: {float(found['test_error'][..., -1].mean()):.1%} on average over all settings.",
        steps.order("training_loss", end, rising=True),
        steps.order("largest_movement", end, rising=True),
        *(left.order("pruned_test_error", k, rising=False) for k in left.places[1:]),
        *(left.order("pruned_loss_growth", k, rising=False) for k in left.places[1:]),
    ]
    record = settings_record(
        settings,
        features="ResNet-18 trained here" if weights is None else "ResNet-18 from a file",
        lr=_LR,
        batch=_BATCH,
        first_seed=seed,
        init_variance=1.0,
        **vars(sizes) | {"seeds": seeds or sizes.seeds},
    )
    return Outcome(name, scale, record, rows, _draw(rows, settings), notes)


@dataclass(frozen=True)
class _Source:
    """Where the images come from, and the features."""

    scale: str
    data: str | None
    weights: str | None


_PRUNED = ("pruned_test_error", "pruned_loss", "pruned_loss_growth")


def _marks(sizes: _Sizes) -> list[float]:
    """Steps at which something is recorded."""
    return sorted({float(round(s)) for s in torch.logspace(0, torch.tensor(sizes.steps).log10(), 16).tolist()})


def _trained(part: Part, sizes: _Sizes, train: Pair, test: Pair) -> dict[str, list[float]]:
    """Train one network by SGD, then prune it."""
    x, y = train
    model = network(part, x.shape[1], sizes.width, outputs=10)
    start, marks = model.weight.detach().clone(), _marks(sizes)
    source = torch.Generator().manual_seed(part.seed)
    found: dict[str, list[float]] = {"training_loss": [], "test_error": [], "largest_movement": []}
    order = torch.randperm(len(x), generator=source)
    for step in range(1, sizes.steps + 1):
        if len(order) < _BATCH:
            order = torch.randperm(len(x), generator=source)
        chosen, order = order[:_BATCH], order[_BATCH:]
        (gradient,) = torch.autograd.grad(functional.cross_entropy(model(x[chosen]), y[chosen]), model.weight)
        with torch.no_grad():
            model.weight.sub_(gradient, alpha=_LR)
            if step in marks:
                found["training_loss"].append(float(functional.cross_entropy(model(x), y)))
                found["test_error"].append(float(_error(model(test[0]), test[1])))
                found["largest_movement"].append(float((model.weight - start).norm(dim=1).max()))
    removed, scores = [sizes.width - k for k in sizes.left], importance(model)
    found["pruned_test_error"] = risk_curve(model, *test, scores, removed, _error).tolist()
    found["pruned_loss"] = risk_curve(model, x, y, scores, removed, functional.cross_entropy).tolist()
    found["pruned_loss_growth"] = [loss - found["pruned_loss"][0] for loss in found["pruned_loss"]]
    return found


def _error(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs.argmax(1) != y).double().mean()


@functools.lru_cache(maxsize=1)
def _featured(source: _Source) -> tuple[Pair, Pair]:
    """Features and classes, to train and to test on."""
    first, count, tested = _SCALES[source.scale].images
    train, test = _images(source)
    if source.weights is None:
        sizes = _SCALES[source.scale]
        features = trained_features(train[0][:first], train[1][:first], width=sizes.net_width, epochs=sizes.epochs)
    else:
        features = imagenet_features(source.weights, size=at(source.scale, 64, 224, 224))
    x, z = features(train[0][first : first + count]), features(test[0][:tested])
    size = x.square().mean().sqrt()
    return (x / size, train[1][first : first + count]), (z / size, test[1][:tested])


def _images(source: _Source) -> tuple[Pair, Pair]:
    stands_in = source.data is None and source.scale == "smoke"
    dataset = datasets.load(source.data or at(source.scale, "digits", "cifar10", "cifar10"))
    if dataset.task != "classification" or dataset.x.dim() != 4 or not (stands_in or dataset.x.shape[1] == 3):
        raise DataError(f"{dataset.name}: examples of shape {tuple(dataset.x.shape[1:])}, allowed are colour images")
    parts = datasets.split(dataset, validation=0.0, standardize="none")
    if stands_in:
        return _in_colour(parts.train), _in_colour(parts.test)
    return parts.train, parts.test


def _in_colour(pair: Pair) -> Pair:
    return pair[0].expand(-1, 3, -1, -1), pair[1]


_PANELS = {
    ("steps", "training_loss"): "training loss",
    ("steps", "test_error"): "test error",
    ("steps", "largest_movement"): "largest |w(t) − w(0)|",
    ("nodes left", "pruned_loss"): "training loss after pruning",
    ("nodes left", "pruned_test_error"): "test error after pruning",
}


def _draw(rows: Sequence[Row], settings: Sequence[Setting]) -> Figure:
    figure, panels = canvas(list(_PANELS.values()), columns=3)
    for panel, (axis, quantity) in zip(panels, _PANELS, strict=True):
        draw_bands(panel, rows, axis, quantity, settings=settings)
        panel.set_xlabel("SGD steps" if axis == "steps" else axis)
    log_height(panels[3])
    panels[0].legend(frameon=False)
    return figure
