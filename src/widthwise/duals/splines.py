"""The part of an activation that its kinks are made of, and its exact dual."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from widthwise.activations import Activation
from widthwise.activations.closed_forms import root
from widthwise.duals.orthant import moments

__all__ = ["Spline", "kinks_of"]

NOISE = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""Jumps of phi, phi', ... are taken out unless smaller than this; what is left has five continuous derivatives."""
DEGREE = 12
REACH = 1.0
SMALLEST = 1e-30


@dataclass(frozen=True)
class Spline:
    """A sum of truncated powers with given jumps of the derivatives of order 0, 1, ... at each knot.

    Each power looks away from the origin, (x - t)_+^a for t >= 0 and (t - x)_+^a for t < 0, so that it is small where
    the normal density is large; the other choice differs by a polynomial.

    Attributes:
        knots: ``(t, jumps)`` for each knot.
    """

    knots: tuple[tuple[float, tuple[float, ...]], ...]

    @property
    def order(self) -> int:
        """The number of derivatives, from the 0th, that may jump."""
        return max((len(jumps) for _, jumps in self.knots), default=0)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the value, elementwise."""
        total = torch.zeros_like(x)
        for knot, jumps in self.knots:
            side = _side(knot)
            beyond = (side * (x - knot)).clamp(min=0)
            power = (beyond > 0).to(x.dtype)
            for factor in _factors(jumps, side):
                total = total + factor * power
                power = power * beyond
        return total

    def truncated(self, order: int) -> Spline:
        """Return the spline with the jumps of the first ``order`` derivatives only."""
        return Spline(tuple((knot, jumps[:order]) for knot, jumps in self.knots if any(jumps[:order])))

    def derivative(self) -> Spline:
        """Return the derivative away from jumps."""
        return Spline(tuple((knot, jumps[1:]) for knot, jumps in self.knots if jumps[1:]))

    def dual(self, q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
        """Return E[s(x) s(y)] in closed form, for variances ``q1``, ``q2`` and correlation ``c``."""
        total = torch.zeros_like(q1 + q2 + c)
        for s, jumps in self.knots:
            for t, others in self.knots:
                h, k, sign = _threshold(s, q1), _threshold(t, q2), _side(s) * _side(t)
                table = moments(h, k, sign * c, len(jumps) - 1, len(others) - 1)
                for a, left in enumerate(_factors(jumps, _side(s))):
                    for b, right in enumerate(_factors(others, _side(t))):
                        if left and right:
                            total = total + left * root(q1) ** a * right * root(q2) ** b * table[a, b]
        return total


def _side(knot: float) -> float:
    return -1.0 if knot < 0 else 1.0


def _threshold(knot: float, q: Tensor) -> Tensor:
    return abs(knot) / root(q).clamp(min=SMALLEST)


def _factors(jumps: tuple[float, ...], side: float) -> list[float]:
    """What multiplies each power so that the derivative of that order jumps as it should."""
    return [jump * side ** (order + 1) / math.factorial(order) for order, jump in enumerate(jumps)]


def kinks_of(activation: Activation) -> Spline:
    """Return the spline with the activation's jumps, up to those of its third derivative."""
    edges = [-math.inf, *activation.kinks, math.inf]
    knots = []
    for before, knot, after in zip(edges, edges[1:], edges[2:], strict=False):
        left = _derivatives(activation.phi, knot, -min(REACH, (knot - before) / 2))
        right = _derivatives(activation.phi, knot, min(REACH, (after - knot) / 2))
        change = zip((right - left).tolist(), NOISE, strict=True)
        jumps = [jump if noise < abs(jump) < math.inf else 0.0 for jump, noise in change]
        while jumps and not jumps[-1]:
            jumps.pop()
        if jumps:
            knots.append((knot, tuple(jumps)))
    return Spline(tuple(knots))


def _derivatives(phi: Callable[[Tensor], Tensor], at: float, width: float) -> np.ndarray:
    """One-sided derivatives of order 0, 1, ... by a Chebyshev interpolant on the side of ``width``."""

    def values(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return phi(torch.from_numpy(x)).numpy()

    domain = sorted((at, at + width))
    fit = np.polynomial.Chebyshev.interpolate(values, DEGREE, domain=domain)
    return np.array([fit.deriv(order)(at) if order else fit(at) for order in range(len(NOISE))])
