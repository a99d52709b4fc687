"""The loops of :mod:`widthwise.infinite.fused` and its kind, compiled by Numba; imported only where they are used."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["STEP", "bend", "bent", "mirror", "through_layers"]

ALGEBRA = {"contract", "nsz"}
STEP = 16
"""Numbers of single precision in a line of the cache: columns transposed at a time, and what keeps rows apart in it."""


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


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})  # type: ignore[untyped-decorator]
def _largest(row: NDArray[Any]) -> Any:
    most = abs(row[0])
    for j in range(row.size):
        most = max(most, abs(row[j]))
    return most


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})  # type: ignore[untyped-decorator]
def _mend(
    c: NDArray[Any],
    gap: NDArray[Any],
    rest: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    shrink: Any,
    shrinks: NDArray[Any],
    near: Any,
) -> None:
    """Where a cosine is ``near`` 1 or -1, 1 - c or 1 + c anew, from unit vectors in double precision."""
    for j in range(c.size):
        if abs(c[j]) > near:
            total, other = 0.0, -shrinks[j] if c[j] > 0 else shrinks[j]
            for k in range(x.size):
                apart = shrink * x[k] + other * y[j, k]
                total += apart * apart
            if c[j] > 0:
                gap[j] = total / 2
            else:
                rest[j] = total / 2


@numba.njit(cache=True, nogil=True, fastmath=ALGEBRA)  # type: ignore[untyped-decorator]
def through_layers(
    cosines: NDArray[Any],
    ntk: NDArray[Any],
    rows: tuple[int, int],
    columns: tuple[int, int],
    x: NDArray[Any],
    y: NDArray[Any],
    shrink: NDArray[Any],
    shrinks: NDArray[Any],
    left: NDArray[Any],
    right: NDArray[Any],
    layers: NDArray[Any],
    angle: tuple[Any, ...],
    fall: tuple[Any, ...],
    near: Any,
    biased: bool,
    diagonal: bool,
) -> None:
    """Take each row of a tile through all layers; ``cosines`` become the covariance.

    Both begin with the pairs of ``rows`` and ``columns``, first and last but one, and may be larger. Of a tile on the
    ``diagonal`` the upper half is worked out, and copied into the lower.
    """
    one, last, high, wide = angle[0] / angle[0], layers.shape[0] - 1, rows[1] - rows[0], columns[1] - columns[0]
    two, lines, end = one + one, np.empty((3, wide + STEP), cosines.dtype), columns[1]
    for row in range(high):
        i, first = rows[0] + row, row if diagonal else 0
        at, c, out = columns[0] + first, cosines[row, first:wide], ntk[row, first:wide]
        g, s, t = lines[0, first:wide], lines[1, first:wide], lines[2, first:wide]
        for j in range(c.size):
            g[j], s[j], t[j] = one - c[j], one + c[j], one - one
        if diagonal:
            c[0], g[0], s[0] = one - one, one - one, two
        if _largest(c) > near:
            _mend(c, g, s, x[i], y[at:end], shrink[i], shrinks[at:end], near)
        for k in range(layers.shape[0]):
            layer, scales = layers[k], right[k, 0, at:end]
            variance, own = layer[0], layer[1] * left[k, 0, i]
            if k > 0:
                share, curved, line = layer[2], variance * layer[3], variance * layer[4]
                for j in range(g.size):
                    after, slope = bent(g[j], s[j], share, curved, line, angle, fall, one)
                    g[j] = after
                    s[j] = two - after
                    t[j] = slope * t[j]
            if biased:
                _biased(g, s, left[k, :, i], right[k, :, at:end], one)
            for j in range(g.size):
                t[j] += own * scales[j] * (one - g[j])
        scale, scales = left[last, 0, i], right[last, 0, at:end]
        for j in range(g.size):
            c[j] = scale * scales[j] * (one - g[j])
            out[j] = t[j]
    if diagonal:
        for i in range(high):
            for j in range(i):
                cosines[i, j], ntk[i, j] = cosines[j, i], ntk[j, i]


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


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def mirror(whole: NDArray[Any], tile: NDArray[Any], top: int, at: int) -> None:
    """Write the transpose of a tile into a matrix at row ``at`` and column ``top``, one line of the cache at a time."""
    high, wide = tile.shape
    for first in range(0, wide, STEP):
        for j in range(first, min(first + STEP, wide)):
            row = whole[at + j]
            for i in range(high):
                row[top + i] = tile[i, j]
