r"""Activations without a closed form: Hermite coefficients of each input once, a power series for each pair.

E[phi(u) phi(v)] = sum_k a_k(q1) a_k(q2) c^k. The coefficients depend on one input alone, so that a tile of the Gram
matrix costs the power series only; kinks are carried by a spline whose dual is known (:mod:`widthwise.duals.splines`).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.activations import Activation
from widthwise.activations.closed_forms import root
from widthwise.duals import Expansion, second_moment, series
from widthwise.duals.power_series import power_series
from widthwise.duals.splines import Spline
from widthwise.infinite.state import Layout, Pair, Trace, gap_of

__all__ = ["Series"]

PARITY = 1e-20
"""Even or odd terms that together are below this share of the largest are rounding."""


@dataclass(frozen=True)
class Series:
    """Any activation with a second moment, by Hermite series in float64."""

    activation: Activation

    def rows(self, r: Tensor, tangent: bool) -> tuple[Tensor, tuple[Tensor, ...], tuple[Hashable, ...]]:
        """Expand phi, and phi' if ``tangent``, at every variance: coefficients, and those of the spline."""
        q = r.double().square()
        found = [_expanded(self.activation, q, slope) for slope in (False, True)[: 1 + tangent]]
        moment = second_moment(self.activation, q) if q.requires_grad else found[0].scale  # the latter has no gradient
        tables = (table.movedim(0, -1) for e in found for table in (e.coefficients, e.spline_coefficients))
        return root(moment).to(r.dtype), tuple(tables), tuple(e.spline for e in found)

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Sum the series at c = 1 - gap."""
        covariance = self._dual(pair, left, right, slope=False)
        ntk = pair.ntk
        if ntk is not None:
            ntk = ntk * self._dual(pair, left, right, slope=True).to(ntk.dtype)
        return Pair(gap_of(covariance, pair, left, right), ntk, pair.layout)

    def _dual(self, pair: Pair, left: Trace, right: Trace, *, slope: bool) -> Tensor:
        c, layout = 1 - pair.gap.double(), pair.layout
        q1, q2 = (side.double().square() for side in (layout.left(left.before), layout.right(right.before)))
        if left.note != right.note or not left.note:  # series around different splines do not multiply
            return series.dual(self.activation, q1, q2, c, slope=slope)
        a, b = (tuple(trace.tables[2 * slope : 2 * slope + 2]) for trace in (left, right))
        total = _summed(layout, a[0], b[0], c)
        spline = left.note[slope]
        if isinstance(spline, Spline) and spline.knots:
            total = total - _summed(layout, a[1], b[1], c) + spline.dual(q1, q2, c)
        return total


def _expanded(activation: Activation, q: Tensor, slope: bool) -> Expansion:
    found = series.expand_distinct(activation, q, slope)
    series.warn(activation, found)
    return found


def _summed(layout: Layout, left: Tensor, right: Tensor, c: Tensor) -> Tensor:
    """sum_k a_k b_k c^k, in powers of c^2 where every other term vanishes."""
    a = torch.stack([layout.left(column) for column in left.unbind(-1)]) if left.shape[-1] else left.new_zeros(0)
    b = torch.stack([layout.right(column) for column in right.unbind(-1)]) if right.shape[-1] else right.new_zeros(0)
    if not len(a):
        return torch.zeros_like(c)
    a, b = _alike(a), _alike(b)
    even, odd = (float(a[p::2].detach().abs().sum() * b[p::2].detach().abs().sum()) for p in (0, 1))
    for parity, vanishing, rest in ((0, odd, even), (1, even, odd)):
        if vanishing <= PARITY * rest:
            total = power_series(a[parity::2], b[parity::2], c.square())
            return total * c if parity else total
    return power_series(a, b, c)


def _alike(coefficients: Tensor) -> Tensor:
    """One set of coefficients where those of all inputs are equal."""
    flat = coefficients.reshape(len(coefficients), -1)
    if coefficients.requires_grad or not bool((flat == flat[:, :1]).all()):
        return coefficients
    return flat[:, :1].reshape(-1, *[1] * (coefficients.ndim - 1))
