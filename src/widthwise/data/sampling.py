"""Small batches that hold every class equally often."""

from __future__ import annotations

import torch
from torch import Tensor

from widthwise.errors import InputError, check_integer, check_type

__all__ = ["examples_per_class"]


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
    check_integer("k", k, 1)
    check_integer("seed", seed, 0, 2**63 - 1)
    if y.ndim != 1 or len(x) != len(y) or not len(y):
        raise InputError(f"x, y: got shapes {tuple(x.shape)} and {tuple(y.shape)}, allowed are (n, ...) and (n,)")
    if y.is_floating_point() or y.is_complex():
        raise InputError(f"y: got {y.dtype}, allowed are whole-number labels")
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    shuffled = y.cpu()[order]
    chosen = torch.zeros(len(y), dtype=torch.bool)
    for label in torch.unique(shuffled):
        places = torch.nonzero(shuffled == label)[:k, 0]
        if len(places) < k:
            raise InputError(f"k: got {k}, but class {int(label)} has {len(places)} examples; give more or lower k")
        chosen[places] = True
    picked = order[chosen]
    return x[picked.to(x.device)], y[picked.to(y.device)]
