"""The loops of :mod:`widthwise.infinite.fused`, compiled by Numba; imported only where they are used."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["through_layers"]


@numba.njit(cache=True, inline="always", fastmath={"contract", "nsz"})  # type: ignore[untyped-decorator]
def _dense(g: Any, s: Any, t: Any, left: Any, right: Any, layer: Any, one: Any, biased: bool) -> None:
    """A dense layer on a row of pairs: biases mix into correlations, and the layer's own tangent kernel is added."""
    variance, trained = layer[0], layer[1]
    if biased:
        share, sine, cosine = left[1], left[2], left[3]
        for j in range(g.size):
            apart = sine * right[3, j] - cosine * right[2, j]
            both = share * right[1, j]
            apart = (apart + apart) * apart
            s[j] = both * s[j] + (one - both) + (one - both) - apart
            g[j] = both * g[j] + apart
    own = trained * left[0]
    for j in range(g.size):
        t[j] = variance * t[j] + own * right[0, j] * (one - g[j])


@numba.njit(cache=True, inline="always", fastmath={"contract", "nsz"})  # type: ignore[untyped-decorator]
def _bend(g: Any, s: Any, t: Any, layer: Any, polynomial: Any, one: Any, pi: Any) -> None:
    """An activation of two slopes on a row of pairs."""
    share, bend, line = layer[2], layer[3], layer[4]
    zero = one - one
    two = one + one
    for j in range(g.size):
        x, y = g[j], s[j]
        near = min(x, y)
        value, place = zero, two * near - one
        for coefficient in polynomial:
            value = value * place + coefficient
        theta = np.sqrt(two * near) * value
        theta = theta if x <= y else pi - theta
        opening = one - theta / pi
        bulge = max(theta - np.sqrt(x * y), zero) / pi
        area = x * opening + bulge
        g[j] = x + share * two * (area - x)
        t[j] *= line + bend * (two * opening - one)
        s[j] = two - g[j]


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"})  # type: ignore[untyped-decorator]
def through_layers(
    gap: NDArray[Any],
    rest: NDArray[Any],
    ntk: NDArray[Any],
    left: NDArray[Any],
    right: NDArray[Any],
    layers: NDArray[Any],
    polynomial: tuple[Any, ...],
    biased: bool,
    pi: Any,
) -> None:
    """Take each row of a tile through all layers; ``gap`` becomes the covariance."""
    one = pi / pi
    for i in range(gap.shape[0]):
        g, s, t = gap[i], rest[i], ntk[i]
        for k in range(layers.shape[0]):
            if k:
                _bend(g, s, t, layers[k], polynomial, one, pi)
            _dense(g, s, t, left[k, :, i], right[k], layers[k], one, biased)
        last = layers.shape[0] - 1
        scale = left[last, 0, i]
        for j in range(g.size):
            g[j] = scale * right[last, 0, j] * (one - g[j])


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"})  # type: ignore[untyped-decorator]
def bend(gap: NDArray[Any], slope: NDArray[Any], layer: NDArray[Any], polynomial: tuple[Any, ...], pi: Any) -> None:
    """An activation of two slopes on one long row of pairs, in place; ``slope`` is multiplied by E[phi' phi']."""
    one, step = pi / pi, 1024
    rest = np.empty(step, gap.dtype)
    for start in range(0, gap.size, step):
        g, t = gap[start : start + step], slope[start : start + step]
        s = rest[: g.size]
        for j in range(g.size):
            s[j] = one + one - g[j]
        _bend(g, s, t, layer, polynomial, one, pi)
