r"""Hermite series at many variances, from those at a few.

The coefficients a_k(q) / sqrt(E[phi^2]) are smooth in log q. A polynomial through Chebyshev's points takes them to all
variances between the smallest and the largest, and its own last terms tell whether it is exact.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from widthwise.activations import Activation, get
from widthwise.activations.registry import in_catalogue
from widthwise.duals.expansion import Expansion, expand

__all__ = ["interpolated"]

COUNTS = (12, 16, 24, 48, 96)
WORTH = 4
"""Variances for each one expanded; with fewer it is as well to expand all."""
STEP = 0.5
"""Ranges of log q begin and end at multiples of this, so that they come again and can be remembered."""
LAST = 2
"""Terms of the polynomial that must have vanished."""
ROUNDING = 4e-15


def interpolated(activation: Activation, q: Tensor, slope: bool, tolerance: float) -> Expansion | None:
    """Expand at rising variances ``(n,)`` by interpolation; ``None`` where that is no faster or not exact."""
    if q.numel() < WORTH * COUNTS[0]:
        return None
    if q[0] > 0:
        return _interpolated(activation, q, slope, tolerance)
    zero, rest = expand(activation, q[:1], slope=slope), _interpolated(activation, q[1:], slope, tolerance)
    return None if rest is None or rest.spline != zero.spline else _joined(zero, rest)


def _interpolated(activation: Activation, q: Tensor, slope: bool, tolerance: float) -> Expansion | None:
    low, high = math.floor(math.log(float(q[0])) / STEP), math.ceil(math.log(float(q[-1])) / STEP)
    middle, half = STEP * (low + high) / 2, STEP * max(high - low, 1) / 2
    for count in COUNTS:
        if WORTH * count > q.numel():
            return None
        angles = _angles(count, q.device)
        if in_catalogue(activation):
            found = _remembered(activation.name, middle, half, count, slope, tolerance).to(q.device)
        else:
            found = expand(activation, torch.exp(middle + half * torch.cos(angles)), slope=slope, tolerance=tolerance)
        if not bool((found.scale > 0).all()):
            return None
        last = _last(found, angles)
        if last <= max(tolerance, ROUNDING):
            return _between(found, angles, (torch.log(q) - middle) / half, last)
    return None


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _remembered(name: str, middle: float, half: float, count: int, slope: bool, tolerance: float) -> Expansion:
    q = torch.exp(middle + half * torch.cos(_angles(count, torch.device("cpu"))))
    return expand(get(name), q, slope=slope, tolerance=tolerance)


def _angles(count: int, device: torch.device) -> Tensor:
    return math.pi * (torch.arange(count, dtype=torch.float64, device=device) + 0.5) / count


def _last(found: Expansion, angles: Tensor) -> float:
    """The largest of the last terms of the polynomials."""
    orders = torch.arange(len(angles) - LAST, len(angles), dtype=angles.dtype, device=angles.device)
    waves = torch.cos(orders[:, None] * angles) * (2 / len(angles))
    return max(float((part @ waves.mT).abs().max()) for part in (*_shares(found), found.scale.log()) if part.numel())


def _between(found: Expansion, angles: Tensor, at: Tensor, error: float) -> Expansion:
    weights = _barycentric(angles, at)
    scale = torch.exp(weights @ found.scale.log())
    smooth, kinked = (part @ weights.mT * scale.sqrt() for part in _shares(found))
    return Expansion(smooth, kinked, found.spline, scale, (found.relative_error + error) * scale)


def _shares(found: Expansion) -> tuple[Tensor, Tensor]:
    size = found.scale.sqrt()
    return found.coefficients / size, found.spline_coefficients / size


def _barycentric(angles: Tensor, at: Tensor) -> Tensor:
    """Weights ``(n, count)`` of the points cos(angles) in the interpolant at each place."""
    apart = at[:, None] - torch.cos(angles)
    signs = 1 - 2 * (torch.arange(len(angles), dtype=at.dtype, device=at.device) % 2)
    weights = signs * torch.sin(angles) / torch.where(apart == 0, 1.0, apart)
    met = apart == 0
    weights = torch.where(met.any(1, keepdim=True), met.to(weights.dtype), weights)
    return weights / weights.sum(1, keepdim=True)


def _joined(first: Expansion, second: Expansion) -> Expansion:
    """Both series, the shorter filled up with zeros."""
    smooth = _side_by_side(first.coefficients, second.coefficients)
    kinked = _side_by_side(first.spline_coefficients, second.spline_coefficients)
    scale, error = torch.cat([first.scale, second.scale]), torch.cat([first.error, second.error])
    return Expansion(smooth, kinked, first.spline, scale, error)


def _side_by_side(a: Tensor, b: Tensor) -> Tensor:
    rows = max(len(a), len(b))
    return torch.cat([torch.nn.functional.pad(part, (0, 0, 0, rows - len(part))) for part in (a, b)], dim=1)
