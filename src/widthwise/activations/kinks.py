"""Where a function that nobody described is not smooth."""

from __future__ import annotations

import torch
from torch import Tensor

from widthwise.activations.base import AutogradDerivative, Pointwise

__all__ = ["find_kinks"]

REACH = 8.0
INTERVALS = 1024
HALVINGS = 45
SMALL = 1e-6
MOST = 16
"""A function with more breaks than this is not a few smooth pieces; it is left whole."""


def find_kinks(phi: Pointwise) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Find where phi, phi' or phi'' jumps within [-8, 8], to about 1e-9.

    Each of many intervals is halved again and again towards the larger change; a change that survives is a jump.

    Args:
        phi: an elementwise function that autograd can follow.

    Returns:
        The kinks, and those among them where phi itself jumps.

    Example:
        >>> find_kinks(lambda x: (x - 1).abs().clamp(max=3))
        ((-2.0, 1.0, 4.0), ())
    """
    slope = AutogradDerivative(phi)
    jumps = _breaks(phi)
    kinks = {*jumps, *_breaks(slope), *_breaks(AutogradDerivative(slope))}
    return (tuple(sorted(kinks)), jumps) if len(kinks) <= MOST else ((), ())


def _breaks(function: Pointwise) -> tuple[float, ...]:
    edges = torch.linspace(-REACH, REACH, INTERVALS + 1, dtype=torch.float64)
    low, high = edges[:-1], edges[1:]
    try:
        at_low, at_high = function(low), function(high)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            value = function(middle)
            left = (value - at_low).abs() >= (at_high - value).abs()
            low, at_low = torch.where(left, low, middle), torch.where(left, at_low, value)
            high, at_high = torch.where(left, middle, high), torch.where(left, value, at_high)
    except RuntimeError:  # no such derivative
        return ()
    return _survivors(low, (at_high - at_low).abs(), at_low.abs() + at_high.abs())


def _survivors(at: Tensor, change: Tensor, size: Tensor) -> tuple[float, ...]:
    found = at[change > SMALL * (1 + size)]
    return tuple(sorted({round(float(x), 9) + 0.0 for x in found}))
