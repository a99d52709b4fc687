r"""Truncated moments of two correlated normal variables, exact and differentiable.

``m(a, b; h, k, c) = E[(u - h)_+^a (v - k)_+^b]`` for standard normal ``u``, ``v`` of correlation ``c``. These are the
duals of truncated powers, of which every piecewise polynomial activation is made. Gaussian integration by parts
lowers the orders down to the orthant probability m(0, 0), which Owen's T function gives; order -1 stands for a Dirac
mass at the threshold, so that derivatives stay inside the family:

    dm/dh = -a m(a-1, b),    dm/dk = -b m(a, b-1),    dm/dc = a b m(a-1, b-1)

with the factor a read as 1 for a = 0.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.special import ndtr

from widthwise.activations.closed_forms import quadrant, root

__all__ = ["moments", "orthant"]

NODES = 14
"""Gauss-Legendre points for Owen's T; its integrand is analytic and 12 already reach 2e-16."""


def moments(h: Tensor, k: Tensor, c: Tensor, a: int, b: int) -> Tensor:
    """Return E[(u - h)_+^i (v - k)_+^j] for i = 0..a and j = 0..b, order 0 being a step.

    Args:
        h: threshold of u.
        k: threshold of v.
        c: correlation; the three broadcast.
        a: highest power of u.
        b: highest power of v.

    Returns:
        A tensor of shape ``(a + 1, b + 1, *broadcast)``, differentiable in all three.
    """
    result: Tensor = _Moments.apply(*torch.broadcast_tensors(h, k, c), a, b)  # type: ignore[no-untyped-call]
    return result


def orthant(h: Tensor, k: Tensor, c: Tensor) -> Tensor:
    """Return P(u > h, v > k) to absolute machine precision, by Owen's T function (Owen, 1956)."""
    if not (h.any() or k.any()):
        return quadrant(c)
    upper_u, upper_v = ndtr(-h), ndtr(-k)
    sine = root((1 - c) * (1 + c))
    safe = torch.where(sine > 0, sine, 1.0)
    sides = torch.sign(h) + torch.sign(k), torch.sign(h) * torch.sign(k)
    opposite = (sides[1] < 0) | ((sides[1] == 0) & (sides[0] > 0))
    inside = (upper_u + upper_v) / 2 - _owen(-h, _excess(h, k, c) / safe) - _owen(-k, _excess(k, h, c) / safe)
    inside = inside - 0.5 * opposite.to(inside.dtype)
    rim = torch.where(c > 0, torch.minimum(upper_u, upper_v), (upper_u - ndtr(k)).clamp(min=0))
    inside = torch.where(sine > 0, inside, rim)
    return torch.where((h == 0) & (k == 0), quadrant(c), inside)


def _excess(h: Tensor, k: Tensor, c: Tensor) -> Tensor:
    """C h - k, without cancellation where c nears +-1 and h nears +-k."""
    return torch.where(c > 0, (h - k) - (1 - c) * h, (1 + c) * h - (h + k))


def _owen(h: Tensor, z: Tensor) -> Tensor:
    """Owen's T(h, z / h): the mass of a wedge, through its narrower half."""
    large, small = torch.maximum(h.abs(), z.abs()), torch.minimum(h.abs(), z.abs())
    slope = small / torch.where(large > 0, large, 1.0)
    wedge = torch.zeros_like(slope)
    for x, w in _legendre():
        tangent = 1 + (x * slope).square()
        wedge += w * torch.exp(-0.5 * large.square() * tangent) / tangent
    wedge *= slope / (2 * math.pi)
    p, r = ndtr(-h.abs()), ndtr(-z.abs())
    wedge = torch.where(h.abs() >= z.abs(), wedge, (p + r) / 2 - p * r - wedge)
    return torch.where((h < 0) ^ (z < 0), -wedge, wedge)


@cache
def _legendre() -> tuple[tuple[float, float], ...]:
    """Nodes and weights on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(NODES)
    return tuple(zip(((x + 1) / 2).tolist(), (w / 2).tolist(), strict=True))


def _sections(h: Tensor, k: Tensor, c: Tensor, b: int) -> Tensor:
    """E[delta(u - h) (v - k)_+^j], j = 0..b: given u = h, v is normal with mean c h and variance 1 - c^2."""
    excess, sine = _excess(h, k, c), root((1 - c) * (1 + c))
    safe = torch.where(sine > 0, sine, 1.0)
    step = 0.5 * (1 + torch.sign(excess))
    lower = torch.where(sine > 0, ndtr(excess / safe), step)
    orders = [lower, torch.where(sine > 0, safe * _normal(excess / safe), 0.0) + excess * lower]
    for order in range(2, b + 1):
        orders.append(excess * orders[-1] + (order - 1) * sine.square() * orders[-2])
    return _normal(h) * torch.stack(orders[: b + 1])


def _density(h: Tensor, k: Tensor, c: Tensor) -> Tensor:
    """E[delta(u - h) delta(v - k)]; 0 by convention where c = +-1 makes it singular."""
    sine = root((1 - c) * (1 + c))
    safe = torch.where(sine > 0, sine, 1.0)
    return torch.where(sine > 0, _normal(h) * _normal(_excess(h, k, c) / safe) / safe, 0.0)


def _normal(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)


def _by_parts(h: Tensor, k: Tensor, c: Tensor, a: int, b: int) -> Tensor:
    """m(i, j) = -h m(i-1, j) + (i-1) m(i-2, j) + c j m(i-1, j-1), and the same in j where i = 0."""
    known = dict(zip(((-1, j) for j in range(b + 1)), _sections(h, k, c, b), strict=True))
    known |= zip(((i, -1) for i in range(a + 1)), _sections(k, h, c, a), strict=True)
    known[0, 0] = orthant(h, k, c)
    for j in range(1, b + 1):
        known[0, j] = -k * known[0, j - 1] + max(j - 1, 1) * known[0, j - 2] + c * known[-1, j - 1]
    for i in range(1, a + 1):
        for j in range(b + 1):
            lower = max(i - 1, 1) * known[i - 2, j] + c * max(j, 1) * known[i - 1, j - 1]
            known[i, j] = lower - h * known[i - 1, j]
    return torch.stack([torch.stack([known[i, j] for j in range(b + 1)]) for i in range(a + 1)])


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(h: Tensor, k: Tensor, c: Tensor, a: int, b: int) -> Tensor:
        return _by_parts(h, k, c, a, b)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        h, k, c, ctx.a, ctx.b = inputs
        ctx.save_for_backward(h, k, c)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        h, k, c = ctx.saved_tensors
        table = moments(h, k, c, ctx.a, ctx.b)
        left, right = _sections(h, k, c, ctx.b).unsqueeze(0), _sections(k, h, c, ctx.a).unsqueeze(1)
        corner = _density(h, k, c)[None, None]
        by_h = torch.cat([left, table[:-1]], dim=0)
        by_k = torch.cat([right, table[:, :-1]], dim=1)
        by_c = torch.cat(
            [torch.cat([corner, left[:, :-1]], dim=1), torch.cat([right, table[:, :-1]], dim=1)[:-1]], dim=0
        )
        rows = _orders(ctx.a, h).view(-1, 1, *[1] * h.ndim)
        columns = _orders(ctx.b, h).view(1, -1, *[1] * h.ndim)
        grad = grads[0]
        return (
            -(grad * rows * by_h).sum((0, 1)),
            -(grad * columns * by_k).sum((0, 1)),
            (grad * rows * columns * by_c).sum((0, 1)),
            None,
            None,
        )


def _orders(highest: int, like: Tensor) -> Tensor:
    return torch.arange(highest + 1, dtype=like.dtype, device=like.device).clamp(min=1)
