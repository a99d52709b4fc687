"""The engine of the ResNet-18 figures: one network a part, so that figures of the same runs share them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.errors import InputError
from widthwise.experiments.common import at, load, path_only, thin
from widthwise.experiments.images import accuracy, descend, shrunk
from widthwise.experiments.parts import in_parts
from widthwise.models import resnet18
from widthwise.widening import Plan, plan, weights_at, widen

__all__ = ["DENSE", "IO", "LINEAR", "NONLINEAR", "SPARSE", "Kind", "Point", "Runs", "Setup", "runs_of"]

Pair = tuple[Tensor, Tensor]
Kind = tuple[str, int, int]
"""Method, width of the dense network that sets the budget, width."""

DENSE, SPARSE, IO = "dense", "sparse", "sparse, whole kernels"
LINEAR, NONLINEAR = "linear bottleneck", "non-linear bottleneck"
_WIDEN: dict[str, dict[str, Any]] = {
    SPARSE: {"method": "sparse"},
    IO: {"method": "sparse", "granularity": "io"},
    LINEAR: {"method": "linear_bottleneck"},
    NONLINEAR: {"method": "nonlinear_bottleneck"},
}


@dataclass(frozen=True)
class Setup:
    """What all networks of a scale are trained on and how.

    Attributes:
        data: the set.
        image: shape of an image.
        classes: number of them.
        examples: training images, the same for every network.
        tested: test images.
        epochs: passes over the training images.
        batch: images a step.
        milestones: epochs at which the learning rate falls to a tenth; ``None`` for a cosine down to zero.
        shift: pixels by which training images are moved at random; they are mirrored at random too.
        weight_decay: of every parameter.
    """

    data: str
    image: tuple[int, ...]
    classes: int
    examples: int
    tested: int
    epochs: int
    batch: int
    milestones: tuple[int, ...] | None
    shift: int
    weight_decay: float = 5e-4


@dataclass(frozen=True)
class _Network:
    """One network to train; everything its result depends on."""

    method: str
    base: int
    width: int
    seed: int
    setup: Setup


@dataclass(frozen=True)
class Point:
    """One kind of network over its seeds.

    Attributes:
        method: how it comes by its weights.
        base: width of the dense network of as many weights; its own for a dense one.
        width: channels of the first convolution.
        weights: number of weights.
        connectivity: weights over those of the dense network of that width.
        test: best test accuracy over the epochs, one a seed.
        last: test accuracy after the last epoch.
        train: accuracy on the training images after the last epoch.
    """

    method: str
    base: int
    width: int
    weights: int
    connectivity: float
    test: tuple[float, ...]
    last: tuple[float, ...]
    train: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the best test accuracy."""
        return fmean(self.test)


class Runs:
    """Networks of one set-up, trained as they are asked for.

    Args:
        setup: data and training.
        train: images and labels to train on.
        test: and to test on.
        seeds: of initialization, mask and order of images.
    """

    def __init__(self, setup: Setup, train: Pair, test: Pair, seeds: Sequence[int]) -> None:
        self.setup, self.seeds = setup, tuple(seeds)
        self._train, self._test = train, test

    def build(self, width: int) -> nn.Module:
        """The dense network of a width."""
        return resnet18(self.setup.classes, self.setup.image[0], width)

    def otherwise(self, **training: Any) -> Runs:
        """The same data and seeds, trained in another way."""
        return Runs(replace(self.setup, **training), self._train, self._test, self.seeds)

    def plan(self, method: str, base: int, width: int) -> Plan | None:
        """How a network spends its weights; ``None`` where the width is too much for the method.

        Raises:
            KeyError: for a dense network, which has no plan.
        """
        try:
            return plan(self.build, base, width / base, **_WIDEN[method])
        except InputError:
            return None

    def points(self, kinds: Iterable[Kind]) -> list[Point]:
        """Train networks of each kind; those too wide for their method are left out."""
        wanted = [k for k in dict.fromkeys(kinds) if k[0] == DENSE or self.plan(*k) is not None]
        cases = [_Network(*kind, seed, self.setup) for kind in wanted for seed in self.seeds]
        found = in_parts("networks", cases, self._trained)
        each = len(self.seeds)
        return [self._point(*kind, found[i * each : (i + 1) * each]) for i, kind in enumerate(wanted)]

    def _trained(self, case: _Network) -> dict[str, float]:
        setup, tested = self.setup, []
        if case.method == DENSE:
            torch.manual_seed(case.seed)
            model = self.build(case.width)
        else:
            model = widen(self.build, case.base, case.width / case.base, seed=case.seed, **_WIDEN[case.method])[0]
        descend(
            model,
            self._train,
            epochs=setup.epochs,
            batch=setup.batch,
            milestones=setup.milestones,
            weight_decay=setup.weight_decay,
            shift=setup.shift,
            seed=case.seed,
            after_epoch=lambda: tested.append(accuracy(model, self._test)),
        )
        return {"test": max(tested), "last": tested[-1], "train": accuracy(model, self._train)}

    def _point(self, method: str, base: int, width: int, found: Sequence[dict[str, Any]]) -> Point:
        dense = weights_at(self.build, width)
        planned = None if method == DENSE else self.plan(method, base, width)
        weights = dense if planned is None else planned.weights
        test, last, train = (tuple(one[key] for one in found) for key in ("test", "last", "train"))
        return Point(method, base, width, weights, weights / dense, test, last, train)


def runs_of(scale: str, data: Any, seed: int, seeds: int | None, **training: Any) -> Runs:
    """The networks of a scale.

    Args:
        scale: the paper's training at ``"paper"``, few small images and few epochs at ``"small"``.
        data: what :func:`widthwise.data.load` takes; CIFAR-10 by default, digits at ``"smoke"``.
        seed: the first seed.
        seeds: how many; the scale's number if ``None``.
        training: attributes of :class:`Setup` to be other than the scale's.
    """
    runs = _runs(scale, path_only(data), seed, at(scale, 1, 3, 3) if seeds is None else seeds)
    return runs if not training else runs.otherwise(**training)


@functools.lru_cache(maxsize=1)
def _runs(scale: str, data: str | None, seed: int, seeds: int) -> Runs:
    splits = load(scale, data, "cifar10")
    sizes = ((128, 2560, 10**9), (128, 1500, 10**9))
    train, test = (
        thin(part, at(scale, *size), 0) for part, size in zip((splits.train, splits.test), sizes, strict=True)
    )
    smaller = at(scale, 1, 2, 1)
    train, test = shrunk(train, smaller), shrunk(test, smaller)
    setup = Setup(
        data=splits.name,
        image=tuple(train[0].shape[1:]),
        classes=splits.n_outputs,
        examples=len(train[0]),
        tested=len(test[0]),
        epochs=at(scale, 1, 8, 300),
        batch=at(scale, 64, 128, 128),
        milestones=at(scale, (1,), (5, 7), (50, 120, 200)),
        shift=at(scale, 0, 0, 4),
    )
    return Runs(setup, train, test, range(seed, seed + seeds))
