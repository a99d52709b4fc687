r"""Activations of two slopes by polynomials, in compiled loops.

With z the smaller of 1 - c and 1 + c, theta the angle whose cosine is 1 - z, and E(z) = 1 - c' after a layer of ReLU,

    theta / pi = sqrt(z) P(z)    E(z) = z + z sqrt(z) Q(z)    E[phi(-u) phi(v)] = E[phi(u) phi(v)] - c

of which the first two cancel nowhere and the last serves obtuse angles. P and Q are fitted to the rounding error of
single precision on [0, 1], so that the loops become vector instructions with one root. In double precision polynomials
do not reach it: PyTorch takes over there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from widthwise.infinite.state import Pair

__all__ = ["bent", "bowed", "worth_bending"]

WORTH = 1 << 14
"""Pairs of positions; smaller tiles are left to PyTorch, which needs no compiling."""
DEGREES, NODES = (7, 6), 64

Polynomial = tuple[Any, ...]
"""Coefficients in powers of 2 z - 1, the highest first."""


@cache
def bowed() -> tuple[Polynomial, Polynomial]:
    """P and Q; see the module."""
    return (
        _fitted(lambda z: _angle(z) / math.sqrt(z), DEGREES[0]),
        _fitted(lambda z: _change(z) / z**1.5, DEGREES[1]),
    )


def _angle(z: float) -> float:
    return 2 * math.asin(math.sqrt(z / 2)) / math.pi


def _change(z: float) -> float:
    """E(z) - z = (theta cos theta - sin theta) / pi."""
    return _angle(z) * (1 - z) - math.sqrt(z * (2 - z)) / math.pi


def _fitted(function: Callable[[float], float], degree: int) -> Polynomial:
    """The Chebyshev interpolant on [0, 1]."""
    angles = [math.pi * (k + 0.5) / NODES for k in range(NODES)]
    values = [function((1 + math.cos(angle)) / 2) for angle in angles]
    series = [
        math.fsum(value * math.cos(order * angle) for value, angle in zip(values, angles, strict=True)) * 2 / NODES
        for order in range(degree + 1)
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
    compiled(gap.view(-1).numpy(), slope.view(-1).numpy(), layer, *bowed())
    return Pair(gap, None if pair.ntk is None else slope, pair.layout)


def _owned(values: Tensor) -> Tensor:
    return values.clone(memory_format=torch.contiguous_format)
