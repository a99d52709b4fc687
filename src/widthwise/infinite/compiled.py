"""The loops of :mod:`widthwise.infinite.fused` and its kind, compiled by Numba; imported only where they are used."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["bend", "bent", "largest", "spread", "through_layers"]

ALGEBRA = {"contract", "nsz"}
STEP = 16
"""Columns transposed at a time: a line of the cache, of single precision."""


@numba.njit(cache=True, inline="always", fastmath=ALGEBRA)  # type: ignore[untyped-decorator]
def _polynomial(coefficients: tuple[Any, ...], x: Any, zero: Any) -> Any:
    value = zero
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


@numba.njit(cache=True, inline="always", fastmath=ALGEBRA)  # type: ignore[untyped-decorator]
def bent(
    gap: Any, rest: Any, share: Any, bend: Any, line: Any, angle: tuple[Any, ...], fall: tuple[Any, ...], one: Any
) -> tuple[Any, Any]:
    """1 - c after an activation of two slopes, and E[phi' phi'], from 1 - c and 1 + c; see :mod:`bending`."""
    near = min(gap, rest)
    root, place = np.sqrt(near), near + near - one
    theta = _polynomial(angle, place, one - one) * root
    change = _polynomial(fall, place, one - one) * root * near
    straight = one - theta - theta
    acute = gap <= rest
    after = gap + (share + share) * (change if acute else change + near - one)
    return after, line + bend * (straight if acute else -straight)


@numba.njit(cache=True, inline="always", fastmath=ALGEBRA)  # type: ignore[untyped-decorator]
def _biased(g: Any, s: Any, left: Any, right: Any, one: Any) -> None:
    """Mix biases, the same for both inputs, into a row of correlations."""
    share, sine, cosine = left[1], left[2], left[3]
    for j in range(g.size):
        apart = sine * right[3, j] - cosine * right[2, j]
        both = share * right[1, j]
        apart = (apart + apart) * apart
        s[j] = both * s[j] + (one - both) + (one - both) - apart
        g[j] = both * g[j] + apart


@numba.njit(cache=True, nogil=True, fastmath=ALGEBRA)  # type: ignore[untyped-decorator]
def through_layers(
    gap: NDArray[Any],
    rest: NDArray[Any],
    ntk: NDArray[Any],
    left: NDArray[Any],
    right: NDArray[Any],
    layers: NDArray[Any],
    angle: tuple[Any, ...],
    fall: tuple[Any, ...],
    cosines: bool,
    biased: bool,
) -> None:
    """Take each row of a tile through all layers; ``gap`` becomes the covariance and may come as ``cosines``."""
    one, last = angle[0] / angle[0], layers.shape[0] - 1
    for i in range(gap.shape[0]):
        g, s, t = gap[i], rest[i], ntk[i]
        if cosines:
            for j in range(g.size):
                s[j], g[j] = one + g[j], one - g[j]
        for k in range(layers.shape[0]):
            layer, scales = layers[k], right[k, 0]
            variance, own = layer[0], layer[1] * left[k, 0, i]
            share, bend, line = layer[2], layer[3], layer[4]
            if k:
                for j in range(g.size):
                    after, slope = bent(g[j], s[j], share, bend, line, angle, fall, one)
                    g[j] = after
                    s[j] = one + one - after
                    t[j] = variance * slope * t[j]
            else:
                t[:] = one - one
            if biased:
                _biased(g, s, left[k, :, i], right[k], one)
            for j in range(g.size):
                t[j] += own * scales[j] * (one - g[j])
        scale, scales = left[last, 0, i], right[last, 0]
        for j in range(g.size):
            g[j] = scale * scales[j] * (one - g[j])


@numba.njit(cache=True, nogil=True, fastmath=ALGEBRA)  # type: ignore[untyped-decorator]
def bend(
    gap: NDArray[Any], slope: NDArray[Any], layer: NDArray[Any], angle: tuple[Any, ...], fall: tuple[Any, ...]
) -> None:
    """An activation of two slopes on one long row of pairs, in place; ``slope`` is multiplied by E[phi' phi']."""
    one = angle[0] / angle[0]
    share, bend, line = layer[2], layer[3], layer[4]
    for j in range(gap.size):
        after, straight = bent(gap[j], one + one - gap[j], share, bend, line, angle, fall, one)
        gap[j] = after
        slope[j] *= straight


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})  # type: ignore[untyped-decorator]
def largest(values: NDArray[Any]) -> Any:
    """The largest absolute value."""
    found = abs(values[0, 0])
    for i in range(values.shape[0]):
        row = values[i]
        most = abs(row[0])
        for j in range(row.size):
            most = max(most, abs(row[j]))
        found = max(found, most)
    return found


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def spread(whole: NDArray[Any], tile: NDArray[Any], top: int, at: int, mirror: bool) -> None:
    """Write a tile into a matrix at row ``top`` and column ``at`` and, if ``mirror``, its transpose across.

    A tile on the diagonal is made symmetric, by its upper half, and written once.
    """
    high, wide = tile.shape
    if mirror and top == at:
        mirror = False
        for i in range(high):
            for j in range(i):
                tile[i, j] = tile[j, i]
    for i in range(high):
        whole[top + i, at : at + wide] = tile[i]
    if mirror:
        for first in range(0, wide, STEP):
            for j in range(first, min(first + STEP, wide)):
                row = whole[at + j]
                for i in range(high):
                    row[top + i] = tile[i, j]
