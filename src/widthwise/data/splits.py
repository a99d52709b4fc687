"""Training, validation and test parts of a data set, on one scale."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from widthwise.data.dataset import Dataset, is_finite
from widthwise.errors import DataError, InputError, check_choice, check_integer, check_number, check_type

__all__ = ["Splits", "split"]

_CHUNK = 2**18  # values turned to float64 at a time: few enough to stay in cache

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Splits:
    """The three parts of a data set, each ``(x, y)``, standardised by the training part.

    Attributes:
        train: what weights are trained on, in random order.
        validation: what choices are made by; without examples where none were asked for.
        test: what results are reported on.
        task: ``"classification"`` or ``"regression"``.
        n_outputs: number of classes or of targets.
        name: the data set's name.
        classes: names of the classes, if known.
        mean: what was subtracted from the inputs, broadcastable to one example.
        scale: what they were divided by; 0 for a constant feature.
        target_mean: what was subtracted from regression targets, ``(k,)``.
        target_scale: what they were divided by, ``(k,)``.
    """

    train: Pair
    validation: Pair
    test: Pair
    task: str
    n_outputs: int
    name: str
    classes: tuple[str, ...]
    mean: Tensor
    scale: Tensor
    target_mean: Tensor
    target_scale: Tensor

    def fingerprint(self) -> str:
        """Content hash of the three parts: 32 hexadecimal digits, the same for the same numbers."""
        digest = hashlib.sha256(f"{self.task}/{self.n_outputs}".encode())
        for tensor in (*self.train, *self.validation, *self.test):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:32]


def split(
    dataset: Dataset,
    *,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    standardize: str = "global",
) -> Splits:
    """Divide a data set at random and bring it to mean 0 and standard deviation 1.

    Classification is stratified: each class is divided in the same proportion, to within one example, and
    keeps at least one training example. The statistics are those of the training part, and a feature that is
    constant there becomes 0. Regression targets are standardised likewise. The same seed gives the same parts
    on every machine.

    Args:
        dataset: what to divide.
        validation: share of the examples for validation; with an official test set, of the others.
        test: share for the test part; ignored where there is an official test set, which is used whole.
        seed: of the division.
        standardize: ``"global"``, one mean and deviation for all pixels of images, one for each column of a
            table ``(n, d)``; ``"pixel"``, one for each feature; ``"none"``, inputs and targets as they are.

    Raises:
        InputTypeError: if an argument has the wrong type.
        InputError: if a share lies outside [0, 1) or they leave nothing to train on.
        DataError: if there are too few examples for the shares, values too large to standardise, or a regression target
            that never varies in the training part.

    >>> from widthwise.data import load
    >>> parts = split(load("digits"))
    >>> [len(part[0]) for part in (parts.train, parts.validation, parts.test)]
    [1079, 359, 359]
    """
    check_type("dataset", dataset, Dataset)
    check_number("validation", validation, 0, 1, high_open=True)
    check_number("test", test, 0, 1, high_open=True)
    check_integer("seed", seed, 0, 2**63 - 1)
    check_choice("standardize", standardize, ("global", "pixel", "none"))
    shares = (validation, 0.0 if dataset.test else test)
    if sum(shares) >= 1:
        raise InputError(f"validation, test: got {validation} and {test}, allowed is a sum below 1")
    train, held, tested = ((dataset.x[i], dataset.y[i]) for i in _divide(dataset, shares, seed))
    tested = dataset.test or tested
    if dataset.task == "regression":
        _check_variation(dataset.name, train[1])
    inputs, targets = _scales(dataset, train, standardize)
    parts = [_scaled(dataset, part, inputs, targets) for part in (train, held, tested)]
    return Splits(
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        task=dataset.task,
        n_outputs=dataset.n_outputs,
        name=dataset.name,
        classes=dataset.classes,
        mean=inputs.mean[0].float(),
        scale=inputs.deviation[0].float(),
        target_mean=targets.mean[0].float(),
        target_scale=targets.deviation[0].float(),
    )


def _check_variation(name: str, y: Tensor) -> None:
    """Refuse targets of which nothing can be learned."""
    constant = torch.nonzero(y.amax(0) == y.amin(0))
    if len(constant):
        raise DataError(
            f"{name}: target {int(constant[0])} is the same in all of the {len(y)} training examples, so nothing can "
            "be learned of it; give more examples, or another seed"
        )


def _divide(dataset: Dataset, shares: tuple[float, float], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the indices of the training, validation and test examples, each in random order."""
    order = torch.randperm(len(dataset.y), generator=torch.Generator().manual_seed(seed))
    groups = dataset.y[order] if dataset.task == "classification" else torch.zeros_like(order)
    sizes = torch.bincount(groups)
    tested = _quotas(dataset, sizes, shares[1], sizes - 1)
    held = _quotas(dataset, sizes, shares[0], sizes - 1 - tested)
    rank = torch.empty_like(order)  # place of each example among those of its class
    rank[torch.argsort(groups, stable=True)] = torch.cat([torch.arange(size) for size in sizes.tolist()])
    is_test = rank < tested[groups]
    is_held = ~is_test & (rank < (tested + held)[groups])
    return order[~is_test & ~is_held], order[is_held], order[is_test]


def _quotas(dataset: Dataset, sizes: Tensor, share: float, most: Tensor) -> Tensor:
    """Share out ``round(share * n)`` examples over the classes by largest remainder, at most ``most`` each."""
    exact = sizes * share
    quotas = torch.minimum(exact.floor().long(), most)
    missing = round(share * int(sizes.sum())) - int(quotas.sum())
    remainder = torch.where(quotas < most, exact - quotas, -1.0)
    chosen = torch.argsort(remainder, descending=True, stable=True)[: max(missing, 0)]
    quotas[chosen[remainder[chosen] >= 0]] += 1
    if share > 0 and not quotas.any():
        raise DataError(
            f"{dataset.name}: {int(sizes.sum())} examples in {len(sizes)} classes are too few to set aside a "
            f"share of {share:g}; give more, or a share of 0"
        )
    return quotas


def _scales(dataset: Dataset, train: Pair, standardize: str) -> tuple[_Scale, _Scale]:
    """Maps for the inputs and for the targets, from the training part."""
    x, y = train
    if standardize == "none":
        return _Scale.identity(), _Scale.identity()
    image = x.ndim > 2 and standardize == "global"
    inputs = _Scale.of(x, tuple(range(x.ndim)) if image else (0,))
    return inputs, _Scale.of(y, (0,)) if dataset.task == "regression" else _Scale.identity()


def _scaled(dataset: Dataset, part: Pair, inputs: _Scale, targets: _Scale) -> Pair:
    x, y = inputs(part[0]), part[1] if dataset.task == "classification" else targets(part[1])
    if not (is_finite(x) and is_finite(y)):
        raise DataError(f"{dataset.name}: values too far apart for float32; rescale or remove them")
    return x, y


@dataclass(frozen=True, eq=False)
class _Scale:
    """An affine map to mean 0 and deviation 1, worked out in float64."""

    mean: Tensor
    factor: Tensor

    @classmethod
    def identity(cls) -> _Scale:
        return cls(torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))

    @classmethod
    def of(cls, x: Tensor, dims: tuple[int, ...]) -> _Scale:
        """Statistics over ``dims``, summed by NumPy: the same whatever the number of threads."""
        count = math.prod(x.shape[dim] for dim in dims)
        mean = torch.from_numpy(x.numpy().sum(dims, np.float64, keepdims=True)) / count
        square = torch.zeros_like(mean)
        for piece in _pieces(x):
            square += torch.from_numpy((piece.double() - mean).square_().numpy().sum(dims, keepdims=True))
        constant = x.amax(dims, keepdim=True) == x.amin(dims, keepdim=True)
        return cls(mean, torch.where(constant, 0.0, (square / count).rsqrt()))

    @property
    def deviation(self) -> Tensor:
        return torch.where(self.factor == 0, 0.0, 1 / self.factor)

    def __call__(self, x: Tensor) -> Tensor:
        scaled = torch.empty_like(x)
        for piece, out in zip(_pieces(x), _pieces(scaled), strict=True):
            out.copy_((piece.double() - self.mean).mul_(self.factor))
        return scaled


def _pieces(x: Tensor) -> tuple[Tensor, ...]:
    return torch.split(x, max(1, _CHUNK // math.prod(x.shape[1:])))
