r"""Activations of two slopes by a polynomial for the angle, in compiled loops.

``theta = sqrt(2 gap) Q(gap)`` with Q fitted to rounding error on [0, 1], so that the loops become vector instructions.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from widthwise.infinite.state import Pair

__all__ = ["angle_polynomial", "bent", "worth_bending"]

WORTH = 1 << 14
"""Pairs of positions; smaller tiles are left to PyTorch, which needs no compiling."""
DEGREES = {torch.float32: 9, torch.float64: 21}


@cache
def angle_polynomial(dtype: torch.dtype) -> tuple[Any, ...]:
    """Coefficients of Q(x) = arcsin(sqrt(x / 2)) / sqrt(x / 2), highest power first, as numbers of that precision."""

    def function(x: NDArray[np.float64]) -> NDArray[np.float64]:
        half = np.sqrt(np.maximum(x, 1e-30) / 2)
        return np.arcsin(half) / half

    fit = np.polynomial.Chebyshev.interpolate(function, DEGREES[dtype], domain=[0, 1])
    kind = np.float32 if dtype == torch.float32 else np.float64
    return tuple(kind(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef[::-1])


def worth_bending(pair: Pair) -> bool:
    """Whether a tile of a network that pools is large, on a CPU, and no part of autograd's graph."""
    tracked = pair.gap.requires_grad and torch.is_grad_enabled()
    return pair.layout.full and pair.gap.numel() >= WORTH and pair.gap.device.type == "cpu" and not tracked


def bent(pair: Pair, line: float, bend: float) -> Pair:
    """Apply an activation whose line and whose multiple of abs(x) have these squared slopes, both of one sign."""
    from widthwise.infinite.compiled import bend as compiled

    polynomial = angle_polynomial(pair.gap.dtype)
    kind = type(polynomial[0])
    layer = np.array([0, 0, bend / (line + bend), bend, line], dtype=kind)
    gap = _owned(pair.gap)
    slope = torch.ones_like(gap) if pair.ntk is None else _owned(pair.ntk.expand_as(gap))
    compiled(gap.view(-1).numpy(), slope.view(-1).numpy(), layer, polynomial, kind(math.pi))
    return Pair(gap, None if pair.ntk is None else slope, pair.layout)


def _owned(values: Tensor) -> Tensor:
    return values.clone(memory_format=torch.contiguous_format)
