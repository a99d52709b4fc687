"""Which pruned networks learn best: Tables 1, 2, 3, 5, 6, 8, 9 and 10, one kind of run at several settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from widthwise.data import Splits
from widthwise.errors import InputError
from widthwise.experiments.common import at, load
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.experiments.robust_pruning.accuracies import draw_tables, draw_winners, leaders, winners
from widthwise.experiments.robust_pruning.published import WINNERS, printed
from widthwise.experiments.robust_pruning.training import BATCH, Case, shrunk, trained

__all__ = ["table1", "table2", "table3", "table5", "table6", "table8", "table9", "table10"]


@dataclass(frozen=True)
class _Plan:
    """What a table compares.

    Attributes:
        networks: of the paper, smallest first.
        methods: by the names of the engine.
        sparsities: of the paper.
        activations: of the networks.
        small: the networks of ``"small"``.
        at_small: the sparsities of ``"small"``.
        epochs: of the paper, at a rate that is divided by ten after each of the shares ``drops``.
        drops: shares of the epochs.
    """

    networks: tuple[str, ...]
    methods: tuple[str, ...]
    sparsities: tuple[float, ...]
    activations: tuple[str, ...] = ("relu",)
    small: tuple[str, ...] = ("ResNet32",)
    at_small: tuple[float, ...] = (0.9, 0.98, 0.995)
    epochs: int = 160
    drops: tuple[float, ...] = (0.5, 0.75)

    def cells(self, scale: str) -> Iterator[tuple[str, str, float, str]]:
        """Networks, activations, sparsities and methods of a scale; at smoke the first network stands for all."""
        networks = at(scale, self.networks[:1], self.small, self.networks)
        sparsities = at(scale, (0.5,), self.at_small, self.sparsities)
        for network, activation, sparsity, method in product(networks, self.activations, sparsities, self.methods):
            if network == networks[0] or method not in _ON_THE_FIRST:
                yield network, activation, sparsity, method


_ON_THE_FIRST = ("OBD", "GraSP-SR")
"""What the paper ran on the smallest network alone."""

_RESNETS, _FOUR = ("ResNet32", "ResNet50", "ResNet104"), ("SNIP", "GraSP", "SynFlow", "SBP-SR")
_ALL = ("unpruned", "OBD", "random", "magnitude", "SNIP", "GraSP", "GraSP-SR", "SynFlow", "SBP-SR")
_VGGS, _IMAGENET, _THREE = ("VGG16", "3xVGG16"), ("ImageNet-ResNet50",), (0.85, 0.9, 0.95)
_PLANS = {
    "table1": _Plan(_RESNETS, ("SNIP", "SBP-SR"), (0.9, 0.95, 0.98, 0.995, 0.999), small=_RESNETS[:2]),
    "table2": _Plan(_RESNETS, _ALL, (0.9, 0.95, 0.98)),
    "table3": _Plan(_RESNETS, _FOUR, _THREE, at_small=_THREE, epochs=300),
    "table5": _Plan(_VGGS, ("SNIP", "SynFlow", "EOC+rescaling"), _THREE, small=_VGGS, at_small=(0.9,)),
    "table8": _Plan(_IMAGENET, _FOUR, _THREE, small=_IMAGENET, at_small=_THREE, epochs=90, drops=(1 / 3, 2 / 3, 8 / 9)),
    "table9": _Plan(
        _RESNETS[:2],
        ("SNIP", "SBP-SR"),
        (0.9, 0.98, 0.995, 0.999),
        activations=("relu", "tanh"),
        at_small=(0.9, 0.98, 0.995, 0.999),
    ),
}


def table1(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Table 1: SNIP against SBP-SR, which is SNIP on a Stable ResNet, up to 99.9 % sparsity on CIFAR-10.

    SGD in batches of 128 with momentum 0.9, weight decay 5e-4, rate 0.1 divided by ten at a half and at three quarters
    of the epochs. At ``"paper"`` training images are shifted by up to four pixels and mirrored. The tables share this
    engine: those run by one command share their runs.

    Args:
        scale: the paper's networks with doubled filters for 160 epochs at ``"paper"``; at ``"small"`` the first of them
            with halved filters, images of 16 x 16, few of them and few epochs.
        data: CIFAR-10 by default.
        seed: of the first run.
        seeds: number of runs.
    """
    return _accuracies("table1", "cifar10", scale, data, seed, seeds)


def table2(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Table 2: nine ways to prune, or not to, for CIFAR-10 and CIFAR-100; arguments as of :func:`table1`.

    OBD trains, prunes and repeats; all others prune at initialization. CIFAR-100 is given by ``data``, and trained on
    for 250 epochs at ``"paper"``.
    """
    return _accuracies("table2", "cifar10", scale, data, seed, seeds)


def table3(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Table 3: four methods on Tiny ImageNet, 300 epochs; as :func:`table1`, but ``data`` has no default."""
    return _accuracies("table3", "Tiny ImageNet", scale, data, seed, seeds)


def table5(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Table 5: VGG16, and the same with three times the convolutions; arguments as of :func:`table1`.

    The networks have BatchNorm, in which a factor of a layer is lost but for the size of its first steps; the paper
    does not say whether its networks have.
    """
    return _accuracies("table5", "cifar10", scale, data, seed, seeds)


def table8(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Table 8: the ResNet50 for ImageNet, 90 epochs, rate divided by ten after 30, 60 and 80.

    Args:
        scale: as for :func:`table1`.
        data: ImageNet, in files of images of one size, which have to fit in memory; no default.
        seed: of the first run.
        seeds: number of runs.
    """
    return _accuracies("table8", "ImageNet", scale, data, seed, seeds)


def table9(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Table 9: as Table 1 for ReLU and tanh; arguments as there."""
    return _accuracies("table9", "cifar10", scale, data, seed, seeds)


def table10(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Table 10: printed with the numbers of Table 9 under another caption, and so run as that."""
    return _accuracies("table10", "cifar10", scale, data, seed, seeds)


def table6(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Table 6: the method that leads on each network at each sparsity, of the runs of Tables 2, 3 and 5.

    One leads if it is ahead of every other that prunes at initialization by twice the standard error of the
    difference; C, competition, if none does.

    Args:
        scale: as for :func:`table1`.
        data: CIFAR-10 by default; CIFAR-100 or Tiny ImageNet for the lines of those.
        seed: of the first run.
        seeds: number of runs.
    """
    splits = _splits(scale, data, "cifar10")
    tables = ("table2", "table5") if splits.n_outputs != 200 else ("table3",)
    rows: list[Row] = []
    settings: dict[str, Any] = {}
    for name in tables:
        found, settings = _run(name, splits, scale, seed, seeds)
        rows += winners(found)
    theirs = WINNERS.get(splits.n_outputs, {})
    rows = [{**row, "paper": theirs.get((row["network"], row["sparsity"]))} for row in rows]
    return Outcome("table6", scale, settings, rows, draw_winners(rows), [])


def _accuracies(name: str, otherwise: str, scale: str, data: Any, seed: int, seeds: int | None) -> Outcome:
    splits = _splits(scale, data, otherwise)
    rows, settings = _run(name, splits, scale, seed, seeds)
    theirs = printed(name, splits.n_outputs)
    keys = ("network", "activation", "method", "sparsity")
    rows = [{**row, "paper": theirs.get(tuple(row[key] for key in keys))} for row in rows]
    return Outcome(name, scale, settings, rows, draw_tables(rows), leaders(rows))


def _splits(scale: str, data: Any, otherwise: str) -> Splits:
    factor = at(scale, 1, 2, 1)
    if data is None and scale != "smoke" and otherwise != "cifar10":
        raise InputError(f"data: got none, allowed is the path of {otherwise}")
    return shrunk(load(scale, data, otherwise), factor)


def _run(name: str, splits: Splits, scale: str, seed: int, seeds: int | None) -> tuple[list[Row], dict[str, Any]]:
    """The rows of a table, and the settings that its runs share."""
    plan = _PLANS["table9" if name == "table10" else name]
    runs, case = range(seed, seed + (seeds or at(scale, 1, 3, 3))), _case(plan, splits, scale)
    keys = ("network", "activation", "sparsity", "method", "seed")
    chosen = [dict(zip(keys, (*cell, run), strict=True)) for cell in plan.cells(scale) for run in runs]
    # where nothing is pruned, one run serves all sparsities
    cases = [case(**one | {"sparsity": 0.0} if one["method"] == "unpruned" else one) for one in chosen]
    found = in_parts("networks", cases, partial(trained, splits=splits))
    settings = {key: value for key, value in vars(cases[0]).items() if key not in keys}
    settings |= {"batch": BATCH, "momentum": 0.9, "weight_decay": 5e-4, "seeds": len(runs)}
    return [one | got for one, got in zip(chosen, found, strict=True)], settings


def _case(plan: _Plan, splits: Splits, scale: str) -> partial[Case]:
    """A run of a table but for what the table varies."""
    of_vgg = plan.networks == _VGGS
    epochs = 250 if splits.n_outputs == 100 else plan.epochs
    return partial(
        Case,
        width=at(scale, 0.0625, 0.25, 1.0) if of_vgg else at(scale, 0.25, 0.5, 2.0),
        epochs=at(scale, 1, 5, epochs),
        lr=0.1,
        drops=plan.drops,
        examples=min(at(scale, 100, 1000, 2_000_000), len(splits.train[0])),
        tested=min(at(scale, 100, 2000, 100_000), len(splits.test[0])),
        per_class=at(scale, 1, 10, 10),
        rounds=at(scale, 3, 100, 100),
        shift=at(scale, 0, 0, 4),
        image=tuple(splits.train[0].shape[1:]),
        data=splits.name,
    )
