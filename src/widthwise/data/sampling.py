"""Small batches that hold every class equally often."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from widthwise.errors import InputError, check_integer, check_type

__all__ = ["examples_per_class", "first_per_class"]


def examples_per_class(x: Tensor, y: Tensor, k: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return ``k`` random examples of each class that occurs, in random order.

    Args:
        x: inputs ``(n, ...)``.
        y: whole-number labels ``(n,)``.
        k: examples of each class.
        seed: of the choice, which is drawn on the CPU and equal on any machine.

    Returns:
        ``(x, y)`` with ``k`` times as many examples as there are classes, on the devices they came from.

    Raises:
        InputTypeError: if an argument has the wrong type.
        InputError: if shapes do not fit, labels are not whole numbers, or a class has fewer than ``k`` examples.

    >>> x, y = examples_per_class(torch.randn(6, 2), torch.tensor([0, 0, 0, 1, 1, 1]), 2)
    >>> y.sort().values
    tensor([0, 0, 1, 1])
    """
    check_type("x", x, Tensor)
    check_type("y", y, Tensor)
    check_integer("seed", seed, 0, 2**63 - 1)
    if y.ndim != 1 or len(x) != len(y) or not len(y):
        raise InputError(f"x, y: got shapes {tuple(x.shape)} and {tuple(y.shape)}, allowed are (n, ...) and (n,)")
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    picked, _ = first_per_class([(order, y.cpu()[order])], k)
    return x[picked.to(x.device)], y[picked.to(y.device)]


def first_per_class(batches: Iterable[tuple[Tensor, Any]], k: int) -> tuple[Tensor, Tensor]:
    """The first ``k`` examples of each class that occurs in a stream, as one batch in the order of the stream.

    Raises:
        InputError: if labels are not one whole number for each example, or a class has fewer than ``k`` examples.
    """
    check_integer("examples_per_class", k, 1)
    seen: dict[int, int] = {}
    picked = [(x[chosen], y[chosen]) for x, y in batches if len(chosen := _first(x, y, k, seen))]
    for label, number in sorted(seen.items()):
        if number < k:
            raise InputError(
                f"examples_per_class: got {k}, allowed are at most {number}, class {label} has {number} examples"
            )
    return torch.cat([x for x, _ in picked]), torch.cat([y for _, y in picked])


def _first(x: Tensor, y: Any, k: int, seen: dict[int, int]) -> Tensor:
    """Places in a batch of the examples among the first ``k`` of their class; counts them in ``seen``."""
    if not isinstance(y, Tensor) or y.shape != x.shape[:1] or y.is_floating_point() or y.is_complex():
        got = (tuple(y.shape), y.dtype) if isinstance(y, Tensor) else type(y).__name__
        raise InputError(f"examples_per_class: got labels {got}, allowed is one whole number for each example")
    chosen = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    for label in torch.unique(y).tolist():
        places = torch.nonzero(y == label)[: k - seen.get(label, 0), 0]
        seen[label] = seen.get(label, 0) + len(places)
        chosen[places] = True
    return chosen.nonzero()[:, 0]
