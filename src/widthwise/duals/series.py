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
from functools import lru_cache

import torch
from torch import Tensor

from widthwise.activations import Activation, get
from widthwise.activations.registry import in_catalogue
from widthwise.duals.expansion import TOLERANCE, Expansion, expand
from widthwise.duals.interpolation import interpolated
from widthwise.duals.power_series import power_series
from widthwise.duals.splines import Spline

__all__ = ["AccuracyWarning", "dual", "expand_distinct", "warn"]

WARN = 1e-6
CHUNK = 1 << 15
"""Entries worked on at a time, so that they stay in cache."""


class AccuracyWarning(UserWarning):
    """A dual was computed, but less accurately than 1e-6 of its scale."""


def dual(activation: Activation, q1: Tensor, q2: Tensor, c: Tensor, *, slope: bool = False) -> Tensor:
    """Return E[phi(x) phi(y)], or E[phi'(x) phi'(y)] if ``slope``, by series; see the module."""
    shape = torch.broadcast_shapes(q1.shape, q2.shape, c.shape)  # type: ignore[no-untyped-call]
    r1, r2, wide = (_aligned(t, max(len(shape), 1)) for t in (q1, q2, c))
    expansion = expand_distinct(activation, torch.cat([r1.flatten(), r2.flatten()]), slope)
    warn(activation, expansion)
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
    total = power_series(a1, a2, c)
    return total - power_series(b1, b2, c) + spline.dual(q1, q2, c) if spline.knots else total


def _aligned(tensor: Tensor, ndim: int) -> Tensor:
    """In float64, with leading dimensions of size 1 up to ``ndim``."""
    return tensor.double().reshape(*[1] * (ndim - tensor.ndim), *tensor.shape)


def _rows(tensor: Tensor, dim: int, start: int, step: int) -> Tensor:
    """Some rows of a tensor, or all of it where it is broadcast over them."""
    return tensor if tensor.shape[dim] == 1 else tensor.narrow(dim, start, min(step, tensor.shape[dim] - start))


def _split(coefficients: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
    first, second = coefficients[:, : q1.numel()], coefficients[:, q1.numel() :]
    return first.reshape(len(first), *q1.shape), second.reshape(len(second), *q2.shape)


def expand_distinct(activation: Activation, q: Tensor, slope: bool, tolerance: float = TOLERANCE) -> Expansion:
    """Expand once for each distinct variance, or for a few among many, where no gradient forbids it."""
    if q.requires_grad:
        return expand(activation, q, slope=slope, tolerance=tolerance)
    distinct, where = torch.unique(q, return_inverse=True)
    found: Expansion | None
    if distinct.numel() == 1 and in_catalogue(activation):
        found = _expand_known(activation.name, float(distinct), slope, tolerance).to(q.device)
    else:
        found = interpolated(activation, distinct, slope, tolerance)
        found = found or expand(activation, distinct, slope=slope, tolerance=tolerance)
    series = (found.coefficients[:, where], found.spline_coefficients[:, where])
    return Expansion(*series, found.spline, found.scale[where], found.error[where])


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _expand_known(name: str, q: float, slope: bool, tolerance: float) -> Expansion:
    return expand(get(name), torch.tensor([q], dtype=torch.float64, device="cpu"), slope=slope, tolerance=tolerance)


def warn(activation: Activation, expansion: Expansion) -> None:
    """Warn where the dual is less accurate than it should be."""
    if expansion.relative_error > WARN:
        warnings.warn(
            f"the dual of {activation.name} is accurate to {expansion.relative_error:.1g} of its scale only, at degree "
            f"{expansion.degree}; declare its kinks, or use smaller variances",
            AccuracyWarning,
            stacklevel=4,
        )
