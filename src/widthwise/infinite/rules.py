r"""How one activation acts on covariances and tangent kernels.

With ``g(q1, q2, c) = E[phi(u) phi(v)]`` the dual of the activation, a covariance becomes g and a tangent kernel is
multiplied by ``E[phi'(u) phi'(v)]``. Four rules, the most exact that an activation allows: two slopes and the error
function through the gap, other closed forms through the correlation, anything else by Hermite series.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from widthwise.activations import Activation, ClosedForm, closed_forms
from widthwise.activations.base import Bound
from widthwise.activations.closed_forms import root
from widthwise.infinite.angles import rectified
from widthwise.infinite.bending import bent, worth_bending
from widthwise.infinite.hermite import Series
from widthwise.infinite.state import Pair, Rows, Trace, gap_of, safe_ratio

__all__ = ["Closed", "ErrorFunction", "Rule", "Slopes", "rule_for"]


class Rule(Protocol):
    """How an activation acts, on each input by itself and on pairs."""

    def rows(self, rows: Rows) -> tuple[Tensor, tuple[Tensor, ...], tuple[Hashable, ...]]:
        """Return the roots of the variances after the activation, tables of each input, and a note on the tables."""

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Return the pairs after the activation."""


def rule_for(activation: Activation) -> Rule:
    """Return the most exact rule for ``activation``."""
    form = activation.closed_form
    if form is None:
        return Series(activation)
    slopes = _slopes(activation, form)
    if slopes is not None:
        return slopes
    base, outer, inner = _unscaled(form)
    return ErrorFunction(outer, inner) if base is closed_forms.ERF else Closed(form)


def _slopes(activation: Activation, form: ClosedForm) -> Slopes | None:
    """The two slopes of an activation that is linear on either side of 0, found by what its closed form is."""
    if form is closed_forms.LINEAR:
        return Slopes(1.0, 1.0)
    below, above = (float(activation.phi(torch.tensor(x, dtype=torch.float64))) for x in (-1.0, 1.0))
    return Slopes(-below, above) if form == closed_forms.abrelu(-below, above) else None


def _unscaled(form: ClosedForm) -> tuple[ClosedForm, float, float]:
    """The form of phi and the numbers a, k where the given one is that of a phi(k x)."""
    scaled = form.dual
    if isinstance(scaled, Bound) and isinstance(scaled.args[0], ClosedForm):
        base, outer, inner, offset = scaled.args
        if offset == 0:
            return base, outer, inner
    return form, 1.0, 1.0


@dataclass(frozen=True)
class Slopes:
    """Slope ``a`` below 0 and ``b`` above: the sum of a line and of a multiple of abs(x), which are uncorrelated."""

    a: float
    b: float

    @property
    def parts(self) -> tuple[float, float]:
        """Squares of the line's slope and of the multiple of abs(x)."""
        return ((self.a + self.b) / 2) ** 2, ((self.b - self.a) / 2) ** 2

    def rows(self, rows: Rows) -> tuple[Tensor, tuple[Tensor, ...], tuple[Hashable, ...]]:
        """E[phi^2] = (a^2 + b^2) q / 2."""
        return math.sqrt(sum(self.parts)) * rows.r, (), ()

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Arc-cosine kernels of order 1 and 0."""
        line, bend = self.parts
        total = line + bend
        if bend == 0 or total == 0:
            return Pair(pair.gap, _times(pair.ntk, total), pair.layout, pair.rest)
        if self.a * self.b >= 0 and pair.rest is None and worth_bending(pair):
            return bent(pair, line, bend)
        gap, straight = self._folded(pair) if self.a * self.b < 0 else _unfolded(pair)
        ntk = None if pair.ntk is None else pair.ntk * (line + bend * straight)
        share = bend / total
        return Pair(gap if share == 1 else torch.lerp(pair.gap, gap, share), ntk, pair.layout)

    @staticmethod
    def _folded(pair: Pair) -> tuple[Tensor, Tensor]:
        """The gap after abs(x), and E[sign u sign v], exact at nearly opposite inputs too."""
        rest = 2 - pair.gap if pair.rest is None else pair.rest
        near = torch.minimum(pair.gap, rest)
        area, opening = rectified(near)
        side = torch.where(pair.gap <= rest, 1.0, -1.0).to(near.dtype)
        return 2 * area - near, side * (2 * opening - 1)


def _unfolded(pair: Pair) -> tuple[Tensor, Tensor]:
    """The same where nearly opposite inputs need not stay exact: abs(x) is 2 relu(x) - x."""
    area, opening = rectified(pair.gap, pair.rest)
    return area.mul(2).sub(pair.gap), opening.mul(2).sub(1)


def _times(ntk: Tensor | None, factor: float) -> Tensor | None:
    return None if ntk is None else ntk * factor


@dataclass(frozen=True)
class ErrorFunction:
    """outer * erf(inner x): with s = 2 k / sqrt((1 + 2 q1)(1 + 2 q2)) its dual is 2 / pi arcsin s."""

    outer: float
    inner: float

    def rows(self, rows: Rows) -> tuple[Tensor, tuple[Tensor, ...], tuple[Hashable, ...]]:
        """E[erf^2] = 2 / pi arcsin(2 q / (1 + 2 q))."""
        return abs(self.outer) * root(2 / math.pi * _own_angle(abs(self.inner) * rows.r)), (), ()

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Arcsine kernel; it is odd in c, so that 1 + c is as well known after it as before."""
        r1, r2 = (abs(self.inner) * side for side in (pair.layout.left(left.before), pair.layout.right(right.before)))
        rest = 2 - pair.gap if pair.rest is None else pair.rest
        squared_sine = pair.gap * rest
        width = torch.sqrt(1 + 2 * (r1.square() + r2.square()) + 4 * (r1 * r2).square() * squared_sine)
        ntk = None if pair.ntk is None else pair.ntk * ((2 * self.outer * self.inner) ** 2 / math.pi / width)
        alike = pair.gap <= rest
        near = _arc_gap(r1, r2, torch.minimum(pair.gap, rest), squared_sine, width)
        far = 2 - near
        return Pair(torch.where(alike, near, far), ntk, pair.layout, torch.where(alike, far, near))


NEAR = 0.1
"""Gaps below this, of inputs whose variances are alike, are worked out from differences of angles."""


def _own_angle(r: Tensor) -> Tensor:
    """Arcsin(2 q / (1 + 2 q))."""
    return torch.atan2(2 * r.square(), torch.sqrt(1 + 4 * r.square()))


def _arc_gap(r1: Tensor, r2: Tensor, gap: Tensor, squared_sine: Tensor, width: Tensor) -> Tensor:
    """1 - arcsin(s) / sqrt(arcsin(s1) arcsin(s2)), for c at least 0."""
    a1, a2 = _own_angle(r1), _own_angle(r2)
    roots = root(a1) * root(a2)
    k = r1 * r2 * (1 - gap)
    after = torch.where(roots > 0, 1 - safe_ratio(torch.atan2(2 * k, width), roots), gap)
    close = (after < NEAR) & (a1 < 2 * a2) & (a2 < 2 * a1)
    if bool(close.any()):
        below = _angle_above(r1, r2, k, squared_sine, width) + _angle_above(r2, r1, k, squared_sine, width)
        after = torch.where(close, safe_ratio(below - (root(a1) - root(a2)).square(), 2 * roots), after)
    return after.clamp(min=0)


def _angle_above(r1: Tensor, r2: Tensor, k: Tensor, squared_sine: Tensor, width: Tensor) -> Tensor:
    """Arcsin s1 - arcsin s, by an arctangent whose numerator does not cancel."""
    q1, q2 = r1.square(), r2.square()
    across = torch.sqrt(1 + 4 * q1)
    rise = (r1 - r2) * (r1 + r2) + q2 * (1 + 2 * q1) * squared_sine
    sine = safe_ratio(2 * q1 * (1 + 2 * q1) * rise, q1 * width + k * across)
    return torch.atan2(sine, across * width + 4 * q1 * k)


@dataclass(frozen=True)
class Closed:
    """Any other activation whose dual is known in closed form."""

    form: ClosedForm

    def rows(self, rows: Rows) -> tuple[Tensor, tuple[Tensor, ...], tuple[Hashable, ...]]:
        """The dual at c = 1."""
        q = rows.r.square()
        return root(self.form.dual(q, q, torch.ones_like(q))), (), ()

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """The dual and that of the derivative at c = 1 - gap."""
        q1, q2 = pair.layout.left(left.before).square(), pair.layout.right(right.before).square()
        c = 1 - pair.gap
        ntk = None if pair.ntk is None else pair.ntk * self.form.derivative(q1, q2, c)
        return Pair(gap_of(self.form.dual(q1, q2, c), pair, left, right), ntk, pair.layout)
