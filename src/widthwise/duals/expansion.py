"""Hermite series of one activation, of a degree that adapts to it, with an estimate of what is missing."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from widthwise.activations import Activation
from widthwise.duals.quadrature import Grid, Integrand, hermite_up_to, resolve
from widthwise.duals.splines import Spline, kinks_of
from widthwise.errors import InputError

__all__ = ["TOLERANCE", "Expansion", "expand", "integrand"]

DEGREES = (32, 64, 128, 256, 512, 1024, 2048)
TOLERANCE = 1e-15
KINKED_DEGREE = 512
"""Beyond it a kinked activation gains digits too slowly to be worth the time."""
GOOD = 1e-9
ROUNDING = 1e-16
VISIBLE = 1e-13


@dataclass(frozen=True)
class Expansion:
    """Hermite series of an activation at given variances.

    Attributes:
        coefficients: a_k of phi, ``(degree + 1, *q.shape)``, float64.
        spline_coefficients: those of the spline that carries its kinks; none without kinks.
        spline: that spline.
        scale: E[phi^2] for each variance.
        error: estimated absolute error of the dual at c = 1 for each variance; for two variances their
            geometric mean bounds it.
    """

    coefficients: Tensor
    spline_coefficients: Tensor
    spline: Spline
    scale: Tensor
    error: Tensor

    @property
    def degree(self) -> int:
        """The highest order kept."""
        return self.coefficients.shape[0] - 1

    @property
    def relative_error(self) -> float:
        """The largest error in units of its scale."""
        return float((self.error / self.scale.clamp(min=1e-300)).max()) if self.error.numel() else 0.0

    def to(self, device: torch.device) -> Expansion:
        """Return the same on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "spline"})


def integrand(activation: Activation, slope: bool) -> tuple[Integrand, Spline]:
    """Return phi, or phi' if ``slope``, with the spline that carries its kinks.

    Raises:
        InputError: if ``slope`` and phi jumps, since phi' then has no second moment.
    """
    spline = kinks_of(activation)
    if not slope:
        return Integrand(activation.name, activation.phi, activation.kinks), spline
    if activation.jumps:
        raise InputError(
            f"activation: {activation.name} jumps at {activation.jumps[0]:g}, so that its derivative has no second "
            "moment; allowed is a continuous activation"
        )
    what = Integrand(f"the derivative of {activation.name}", activation.derivative, activation.kinks, floor=1e-30)
    return what, spline.derivative()


def expand(activation: Activation, q: Tensor, *, slope: bool = False, tolerance: float = TOLERANCE) -> Expansion:
    """Expand phi(sqrt(q) x), or phi'(sqrt(q) x) if ``slope``, to as many terms as it takes.

    Args:
        activation: the activation.
        q: variances, any shape, float64.
        slope: whether the derivative is meant.
        tolerance: what may be missing, as a share of the second moment.

    Raises:
        InputError: if the second moment is infinite.
    """
    what, spline = integrand(activation, slope)
    grid = resolve(what, q)
    best = _expand(what, spline, q, grid, tolerance)
    # At large variances the higher powers of the spline are huge and cancel: leave some of them in the series.
    for order in range(spline.order - 1, -1, -1):
        if best.relative_error < GOOD:
            break
        best = min(best, _expand(what, spline.truncated(order), q, grid, tolerance), key=lambda e: e.relative_error)
    return best


def _expand(what: Integrand, spline: Spline, q: Tensor, grid: Grid, tolerance: float) -> Expansion:
    x = what.points(q, grid.nodes)
    values, kinked = what.function(x), spline(x)
    scale, noise = ((grid.weights * v.square()).sum(-1).detach() for v in (values, kinked))
    both = torch.stack([values, kinked] if spline.knots else [values])
    for degree, coefficients in zip(DEGREES, hermite_up_to(both, grid, DEGREES), strict=True):
        a, b = coefficients[:, 0], coefficients[: None if spline.knots else 0, -1]
        tail = _tail(a, b, scale, noise)
        if bool((tail[-1] <= tolerance * scale).all()) or (what.kinks and degree >= KINKED_DEGREE):
            break
    needed = int((tail > tolerance * scale).any(dim=tuple(range(1, tail.ndim))).sum()) if q.numel() else 0
    keep = min(needed, degree) + 1
    error = tail[keep - 1] + (grid.error + ROUNDING) * scale + ROUNDING * noise
    return Expansion(a[:keep], b[:keep], spline, scale, error)


def _tail(a: Tensor, b: Tensor, scale: Tensor, kinked: Tensor) -> Tensor:
    """For each k, what the terms beyond it add at c = 1, those not computed included.

    The latter are what the sum lacks of E[phi^2] - E[spline^2], or, where rounding hides that, twice the last eighth of
    the terms, an upper bound for geometric decay and for powers k^-p with p > 3.
    """
    terms = (a.square() - b.square() if b.numel() else a.square()).detach()
    lacking = (scale - kinked - terms.sum(0)).abs()
    hidden = terms[-(terms.shape[0] // 8) :].abs().sum(0)
    beyond = torch.maximum(2 * hidden, torch.where(lacking > VISIBLE * (scale + kinked), lacking, 0.0))
    sums = terms.abs().flip(0).cumsum(0).flip(0)
    return torch.cat([sums[1:], torch.zeros_like(sums[:1])]) + beyond
