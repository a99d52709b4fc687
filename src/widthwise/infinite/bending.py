r"""Activations of two slopes by a polynomial for the angle, in compiled loops.

``theta = sqrt(2 gap) Q(gap)`` with Q fitted to the rounding error of single precision on [0, 1], so that the loops
become vector instructions. In double precision a polynomial does not reach it: PyTorch takes over there.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from widthwise.infinite.state import Pair

__all__ = ["angle_polynomial", "bent", "worth_bending"]

WORTH = 1 << 14
"""Pairs of positions; smaller tiles are left to PyTorch, which needs no compiling."""
DEGREE, NODES = 9, 64


@cache
def angle_polynomial() -> tuple[Any, ...]:
    """Coefficients of Q(x) = arcsin(sqrt(x / 2)) / sqrt(x / 2), in powers of 2 x - 1, the highest first."""
    angles = [math.pi * (k + 0.5) / NODES for k in range(NODES)]
    halves = [math.cos(angle / 2) / math.sqrt(2) for angle in angles]  # roots of x / 2 at Chebyshev's nodes
    values = [math.asin(half) / half for half in halves]
    series = [
        math.fsum(value * math.cos(order * angle) for value, angle in zip(values, angles, strict=True)) * 2 / NODES
        for order in range(DEGREE + 1)
    ]
    series[0] /= 2
    return tuple(np.float32(c) for c in np.polynomial.chebyshev.cheb2poly(series)[::-1])


def worth_bending(pair: Pair) -> bool:
    """Whether a tile of a network that pools is large, on a CPU, and no part of autograd's graph."""
    tracked = pair.gap.requires_grad and torch.is_grad_enabled()
    large = pair.layout.full and pair.gap.numel() >= WORTH
    return large and pair.gap.dtype == torch.float32 and pair.gap.device.type == "cpu" and not tracked


def bent(pair: Pair, line: float, bend: float) -> Pair:
    """Apply an activation whose line and whose multiple of abs(x) have these squared slopes, both of one sign."""
    from widthwise.infinite.compiled import bend as compiled

    layer = np.array([0, 0, bend / (line + bend), bend, line], dtype=np.float32)
    gap = _owned(pair.gap)
    slope = torch.ones_like(gap) if pair.ntk is None else _owned(pair.ntk.expand_as(gap))
    compiled(gap.view(-1).numpy(), slope.view(-1).numpy(), layer, angle_polynomial(), np.float32(math.pi))
    return Pair(gap, None if pair.ntk is None else slope, pair.layout)


def _owned(values: Tensor) -> Tensor:
    return values.clone(memory_format=torch.contiguous_format)
