r"""Duals of any activation by a one-dimensional Hermite series.

With phi(sqrt(q) x) = sum_k a_k(q) h_k(x), h_k the normalised probabilists' Hermite polynomials,

    E[phi(sqrt(q1) u) phi(sqrt(q2) v)] = sum_k a_k(q1) a_k(q2) c^k,    corr(u, v) = c

(Daniely, Frostig and Singer, 2016; (53) and (54) of the paper on linearized difference networks). A kink makes a_k
decay as a power of k only, so the spline that carries the kinks is taken out and its dual, known in closed form,
put back. The degree doubles until the rest is negligible.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from widthwise.activations import Activation, get
from widthwise.activations.registry import in_catalogue
from widthwise.duals.quadrature import Grid, Integrand, hermite, resolve
from widthwise.duals.splines import Spline, kinks_of
from widthwise.errors import InputError

__all__ = ["AccuracyWarning", "Expansion", "dual", "expand"]

DEGREES = (32, 128, 512, 2048)
TOLERANCE = 1e-15
KINKED_DEGREE = 512
"""Beyond it a kinked activation gains digits too slowly to be worth the time."""
GOOD = 1e-9
WARN = 1e-6
ROUNDING = 1e-16
VISIBLE = 1e-13
CHUNK = 1 << 15
"""Entries worked on at a time, so that they stay in cache."""


class AccuracyWarning(UserWarning):
    """A dual was computed, but less accurately than 1e-6 of its scale."""


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


def expand(activation: Activation, q: Tensor, *, slope: bool = False) -> Expansion:
    """Expand phi(sqrt(q) x), or phi'(sqrt(q) x) if ``slope``, to as many terms as it takes.

    Args:
        activation: the activation.
        q: variances, any shape, float64.
        slope: whether the derivative is meant.

    Raises:
        InputError: if the second moment is infinite.
    """
    what, spline = integrand(activation, slope)
    grid = resolve(what, q)
    best = _expand(what, spline, q, grid)
    # At large variances the higher powers of the spline are huge and cancel: leave some of them in the series.
    for order in range(spline.order - 1, -1, -1):
        if best.relative_error < GOOD:
            break
        best = min(best, _expand(what, spline.truncated(order), q, grid), key=lambda e: e.relative_error)
    return best


def _expand(what: Integrand, spline: Spline, q: Tensor, grid: Grid) -> Expansion:
    x = what.points(q, grid.nodes)
    values, kinked = what.function(x), spline(x)
    scale, noise = ((grid.weights * v.square()).sum(-1).detach() for v in (values, kinked))
    for degree in DEGREES:
        a, b = (
            hermite(torch.stack([values, kinked]), grid, degree).unbind(1)
            if spline.knots
            else (
                hermite(values, grid, degree),
                values.new_empty(0, *q.shape),
            )
        )
        tail = _tail(a, b, scale, noise)
        if bool((tail[-1] <= TOLERANCE * scale).all()) or (what.kinks and degree >= KINKED_DEGREE):
            break
    needed = int((tail > TOLERANCE * scale).any(dim=tuple(range(1, tail.ndim))).sum()) if q.numel() else 0
    keep = min(needed, degree) + 1
    error = tail[keep - 1] + (grid.error + ROUNDING) * scale + ROUNDING * noise
    return Expansion(a[:keep], b[:keep], spline, scale, error)


def dual(activation: Activation, q1: Tensor, q2: Tensor, c: Tensor, *, slope: bool = False) -> Tensor:
    """Return E[phi(x) phi(y)], or E[phi'(x) phi'(y)] if ``slope``, by series; see the module."""
    shape = torch.broadcast_shapes(q1.shape, q2.shape, c.shape)  # type: ignore[no-untyped-call]
    r1, r2, wide = (_aligned(t, max(len(shape), 1)) for t in (q1, q2, c))
    expansion = _expand_distinct(activation, torch.cat([r1.flatten(), r2.flatten()]), slope)
    _warn(activation, expansion)
    smooth, kinked = (_split(a, r1, r2) for a in (expansion.coefficients, expansion.spline_coefficients))
    rows = shape[0] if shape else 1
    step = max(1, CHUNK * rows // max(math.prod(shape), 1))
    pieces = [
        _evaluate(
            expansion.spline,
            *(_rows(t, 0, start, step) for t in (r1, r2, wide)),
            *(_rows(t, 1, start, step) for t in (*smooth, *kinked)),
        )
        for start in range(0, max(rows, 1), step)
    ]
    return torch.cat(pieces).reshape(shape).to(c.dtype)


def _evaluate(
    spline: Spline, q1: Tensor, q2: Tensor, c: Tensor, a1: Tensor, a2: Tensor, b1: Tensor, b2: Tensor
) -> Tensor:
    """The series of phi, less that of its spline, plus the dual of the spline."""
    total = _power_series(a1, a2, c)
    return total - _power_series(b1, b2, c) + spline.dual(q1, q2, c) if spline.knots else total


def _aligned(tensor: Tensor, ndim: int) -> Tensor:
    """In float64, with leading dimensions of size 1 up to ``ndim``."""
    return tensor.double().reshape(*[1] * (ndim - tensor.ndim), *tensor.shape)


def _rows(tensor: Tensor, dim: int, start: int, step: int) -> Tensor:
    """Some rows of a tensor, or all of it where it is broadcast over them."""
    return tensor if tensor.shape[dim] == 1 else tensor.narrow(dim, start, min(step, tensor.shape[dim] - start))


def _split(coefficients: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
    first, second = coefficients[:, : q1.numel()], coefficients[:, q1.numel() :]
    return first.reshape(len(first), *q1.shape), second.reshape(len(second), *q2.shape)


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


def _expand_distinct(activation: Activation, q: Tensor, slope: bool) -> Expansion:
    """Expand once for each distinct variance, where no gradient forbids it."""
    if q.requires_grad:
        return expand(activation, q, slope=slope)
    distinct, where = torch.unique(q, return_inverse=True)
    if distinct.numel() == 1 and in_catalogue(activation):
        found = _expand_known(activation.name, float(distinct), slope).to(q.device)
    else:
        found = expand(activation, distinct, slope=slope)
    series = (found.coefficients[:, where], found.spline_coefficients[:, where])
    return Expansion(*series, found.spline, found.scale[where], found.error[where])


@lru_cache(maxsize=256)
def _expand_known(name: str, q: float, slope: bool) -> Expansion:
    return expand(get(name), torch.tensor([q], dtype=torch.float64), slope=slope)


def _warn(activation: Activation, expansion: Expansion) -> None:
    if expansion.relative_error > WARN:
        warnings.warn(
            f"the dual of {activation.name} is accurate to {expansion.relative_error:.1g} of its scale only, at degree "
            f"{expansion.degree}; declare its kinks, or use smaller variances",
            AccuracyWarning,
            stacklevel=4,
        )


class _PowerSeries(torch.autograd.Function):
    """sum_k a_k b_k c^k by Horner's rule, without keeping the powers for the backward pass."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        total = torch.zeros_like(a[0] + b[0] + c)
        for a_k, b_k in zip(reversed(a), reversed(b), strict=True):
            torch.addcmul(a_k * b_k, total, c, out=total)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        a, b, c = ctx.saved_tensors
        grad, by_a, by_b, by_c = grads[0], None, None, None
        if ctx.needs_input_grad[2]:
            orders = torch.arange(a.shape[0], dtype=a.dtype, device=a.device)[1:]
            weighted = a[1:] * orders.view(-1, *[1] * (a.ndim - 1))
            by_c = (grad * _power_series(weighted, b[1:], c)).sum_to_size(c.shape)
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            by_a, by_b = _by_coefficients(a, b, c, grad)
        return by_a, by_b, by_c


def _by_coefficients(a: Tensor, b: Tensor, c: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    by_a, by_b = [], []
    for a_k, b_k in zip(a, b, strict=True):
        by_a.append((grad * b_k).sum_to_size(a_k.shape))
        by_b.append((grad * a_k).sum_to_size(b_k.shape))
        grad = grad * c
    return torch.stack(by_a), torch.stack(by_b)


def _power_series(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    if a.shape[0] == 0:
        return torch.zeros_like(c + a.sum(0) + b.sum(0))
    result: Tensor = _PowerSeries.apply(a, b, c)  # type: ignore[no-untyped-call]
    return result
