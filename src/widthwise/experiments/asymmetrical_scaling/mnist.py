"""Figures 3 and 10: MNIST with one-hot targets and squared error, pruned by nodes and carried over."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from widthwise import data as datasets
from widthwise.data import Dataset
from widthwise.experiments.asymmetrical_scaling.common import Curves, Part, measure, settings_record
from widthwise.experiments.asymmetrical_scaling.study import (
    Head,
    Sizes,
    Task,
    curves_of,
    draw_brief,
    draw_full,
    notes_on,
    studied,
)
from widthwise.experiments.common import at, path_only
from widthwise.experiments.outcome import Outcome

__all__ = ["fig3", "fig10"]

_HEADS = {"transfer_risk": Head(1, 128, 1.0)}
_LEFT = (1000, 500, 200, 100, 50, 20, 10, 5)
_SCALES = {
    "smoke": Sizes(100, 1000, 2, 100, (0, 50, 90), (2, 10)),
    "small": Sizes(500, 100_000, 5, 3000, tuple(500 - k for k in _LEFT[1:]), (5, 10, 20), 0.1),
    "paper": Sizes(2000, 100_000, 5, 5000, tuple(2000 - k for k in (2000, *_LEFT)), (5, 10, 20, 50, 100)),
}


def fig10(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Figure 10, MNIST: training, movement and NTG over the steps, risk under pruning, transfer.

    5000 images train, others serve transfer, those of the official test set are tested on;
    squared error on one-hot targets, its mean over images and outputs; NTG of the first output on the first 50 images.
    Each seed has images of its own. Quantities that end in ``_classes`` are shares misclassified.

    Args:
        scale: at ``"small"`` images of 14 x 14, 500 nodes, and 1000 images to train heads on; the paper's sizes at
            ``"paper"``.
        data: MNIST by default; at ``"smoke"`` scikit-learn's digits stand in.
        seed: the first of the seeds.
        seeds: how many.
    """
    curves = _measured("fig10", scale, path_only(data), seed, seeds)
    rows = [row for each in curves for row in each.rows()]
    return Outcome("fig10", scale, _settings(scale, seed, seeds), rows, draw_full(rows), notes_on(curves))


def fig3(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Figure 3: pruning and transfer on MNIST, the last panels of :func:`fig10`; arguments as there."""
    _, left, features = _measured("fig10", scale, path_only(data), seed, seeds)
    rows = [*left.rows(), *features.rows()]
    shown = (("nodes left", "train_risk"), ("nodes left", "test_risk"), ("features", "transfer_risk"))
    notes = [left.order("train_risk_growth", k, rising=False) for k in left.places[1:]]
    notes += [features.order(name, k, rising=False) for name in features.values for k in features.places]
    return Outcome("fig3", scale, _settings(scale, seed, seeds), rows, draw_brief({"MNIST": rows}, shown), notes)


def _settings(scale: str, seed: int, seeds: int | None) -> dict[str, Any]:
    sizes = _SCALES[scale]
    return settings_record(
        images=_counts(scale),
        pooled=_pooled(scale),
        preprocessing="one mean and one deviation for all pixels; one-hot targets",
        init_variance=1.0,
        method="ode",
        step_of_mean_loss=1.0,
        first_seed=seed,
        **vars(sizes) | {"seeds": seeds or sizes.seeds},
        heads={name: vars(head) for name, head in _HEADS.items()},
    )


def _counts(scale: str) -> tuple[int, int, int, int]:
    """Images to train on, to carry over to, and to test each on."""
    return at(scale, (100, 100, 100, 100), (5000, 1000, 2000, 2000), (5000, 5000, 5000, 5000))


def _pooled(scale: str) -> int:
    return at(scale, 1, 2, 1)


def _measured(name: str, scale: str, data: str | None, seed: int, seeds: int | None) -> list[Curves]:
    sizes = at(scale, *_SCALES.values())
    chosen = range(seed, seed + (seeds or sizes.seeds))
    return curves_of(measure(Part(name, scale, data, 0.0, None, 0), chosen, _one), sizes)


def _one(part: Part) -> dict[str, list[float]]:
    return studied(part, _task(part.scale, part.data, part.seed), _SCALES[part.scale], _HEADS)


@functools.lru_cache(maxsize=8)
def _task(scale: str, data: str | None, seed: int) -> Task:
    splits = datasets.split(_load(scale, data), validation=0.0, seed=seed)
    train, held, test, held_test = _counts(scale)

    def some(pair: tuple[Tensor, Tensor], first: int, count: int) -> tuple[Tensor, Tensor]:
        x, y = (part[first : first + count] for part in pair)
        return functional.avg_pool2d(x, _pooled(scale)).flatten(1), functional.one_hot(y, splits.n_outputs).float()

    order = torch.randperm(len(splits.test[1]), generator=torch.Generator().manual_seed(seed))
    tested = (splits.test[0][order], splits.test[1][order])
    return Task(
        some(splits.train, 0, train),
        some(tested, 0, test),
        some(splits.train, train, held),
        some(tested, test, held_test),
    )


@functools.lru_cache
def _load(scale: str, data: str | None) -> Dataset:
    return datasets.load(at(scale, "digits", "mnist", "mnist") if data is None else data)
