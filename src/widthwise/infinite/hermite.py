r"""Activations without a closed form: Hermite coefficients of each input once, a power series for each pair.

E[phi(u) phi(v)] = sum_k a_k(q1) a_k(q2) c^k. The coefficients depend on one input alone, so that a tile of the Gram
matrix costs the power series only; kinks are carried by a spline whose dual is known (:mod:`widthwise.duals.splines`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.activations import Activation
from widthwise.activations.closed_forms import root
from widthwise.duals import Expansion, second_moment, series
from widthwise.duals.expansion import TOLERANCE
from widthwise.duals.power_series import power_series
from widthwise.duals.splines import Spline
from widthwise.infinite.state import Layout, Pair, Rows, Trace, gap_of

__all__ = ["Series"]

PARITY = 1e-20
"""Even or odd terms that together are below this share of the largest are rounding."""
SINGLE = 1e-9
"""Share of the second moment that single precision can do without."""
MANY = 16
"""Of so many pairs one may be of like inputs and be summed by itself."""


@dataclass(frozen=True)
class Series:
    """Any activation with a second moment, by Hermite series in float64."""

    activation: Activation

    def rows(self, rows: Rows) -> tuple[Tensor, tuple[Tensor, ...], tuple[Hashable, ...]]:
        """Expand phi, and phi' if tangents are asked for: variances, coefficients, and those of the spline."""
        q, tolerance = rows.r.double().square(), self._tolerance(rows.dtype)
        found = [_expanded(self.activation, q, slope, tolerance) for slope in (False, True)[: 1 + rows.tangent]]
        coefficients = (table.movedim(0, -1) for e in found for table in (e.coefficients, e.spline_coefficients))
        tables = (q.unsqueeze(-1), *coefficients)  # a spline wants the very variances of its series
        return root(self._moment(q, found[0])).to(rows.r.dtype), tables, tuple(e.spline for e in found)

    def _tolerance(self, dtype: torch.dtype) -> float:
        """The share of the second moment that may be missing; around a spline much cancels."""
        return SINGLE if dtype == torch.float32 and not self.activation.kinks else TOLERANCE

    def _moment(self, q: Tensor, found: Expansion) -> Tensor:
        """E[phi^2], of a series without a spline as it is cut off, so that gaps stay gaps."""
        if q.requires_grad:
            return second_moment(self.activation, q)  # an expansion's has no gradient
        return found.scale if found.spline.knots else found.coefficients.square().sum(0)

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Sum the series at c = 1 - gap."""
        where = _Correlations.of(pair, self._tolerance(pair.gap.dtype))
        covariance = self._dual(where, left, right, slope=False)
        ntk = pair.ntk
        if ntk is not None:
            ntk = ntk * self._dual(where, left, right, slope=True).to(ntk.dtype)
        return Pair(gap_of(covariance, pair, left, right), ntk, pair.layout)

    def _dual(self, where: _Correlations, left: Trace, right: Trace, *, slope: bool) -> Tensor:
        layout, c = where.layout, where.c
        q1, q2 = layout.left(left.tables[0][..., 0]), layout.right(right.tables[0][..., 0])
        if left.note != right.note or not left.note:  # series around different splines do not multiply
            return series.dual(self.activation, q1, q2, c, slope=slope)
        a, b = (trace.tables[2 * slope + 1 : 2 * slope + 3] for trace in (left, right))
        total = where.sum(a[0], b[0])
        spline = left.note[slope]
        if isinstance(spline, Spline) and spline.knots:
            total = total - where.sum(a[1], b[1]) + spline.dual(q1, q2, c)
        return total


@dataclass(frozen=True)
class _Correlations:
    """Where a series is summed, and how much of it has to be.

    Attributes:
        c: correlations, float64.
        layout: what the axes mean.
        few: how many terms matter: |c|^k below the tolerance is none of a sum's, except where inputs are alike.
        alike: the indices of those, if few terms do not suffice.
    """

    c: Tensor
    layout: Layout
    few: int
    alike: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, pair: Pair, tolerance: float) -> _Correlations:
        """Look for the largest correlation of inputs that are not alike."""
        gap, c = pair.gap.detach(), 1 - pair.gap.double()
        alike = gap == 0
        if c.requires_grad or pair.layout.space or int(alike.count_nonzero()) * MANY > alike.numel():
            return cls(c, pair.layout, sys.maxsize)
        least, most = (float(end) for end in gap.masked_fill(alike, 1.0).aminmax())
        reach = max(1 - least, most - 1)
        few = sys.maxsize if reach >= 1 else 1 + math.ceil(math.log(tolerance) / math.log(max(reach, tolerance)))
        return cls(c, pair.layout, few, alike.nonzero(as_tuple=True))

    def sum(self, left: Tensor, right: Tensor) -> Tensor:
        """sum_k a_k b_k c^k."""
        if not left.shape[-1]:
            return torch.zeros_like(self.c)
        a, b = _terms(self.layout.left, left), _terms(self.layout.right, right)
        total = _by_parity(_equal(a[: self.few]), _equal(b[: self.few]), self.c)
        if self.few >= len(a) or not len(self.alike[0]):
            return total
        return total.index_put(self.alike, (left[self.alike[0]] * right[self.alike[-1]]).sum(-1))


def _expanded(activation: Activation, q: Tensor, slope: bool, tolerance: float) -> Expansion:
    found = series.expand_distinct(activation, q, slope, tolerance)
    series.warn(activation, found)
    return found


def _terms(place: Callable[[Tensor], Tensor], table: Tensor) -> Tensor:
    """A table's columns one after the other, each shaped to broadcast."""
    return table.movedim(-1, 0).reshape(table.shape[-1], *place(table[..., 0]).shape)


def _by_parity(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """sum_k a_k b_k c^k, in powers of c^2 where every other term vanishes."""
    even, odd = (float(a[p::2].detach().abs().sum() * b[p::2].detach().abs().sum()) for p in (0, 1))
    for parity, vanishing, rest in ((0, odd, even), (1, even, odd)):
        if vanishing <= PARITY * rest:
            total = power_series(a[parity::2], b[parity::2], c.square())
            return total * c if parity else total
    return power_series(a, b, c)


def _equal(coefficients: Tensor) -> Tensor:
    """One set of coefficients where those of all inputs are equal."""
    flat = coefficients.reshape(len(coefficients), -1)
    if coefficients.requires_grad or not bool((flat == flat[:, :1]).all()):
        return coefficients
    return flat[:, :1].reshape(-1, *[1] * (coefficients.ndim - 1))
