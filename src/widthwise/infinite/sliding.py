"""The loops of :mod:`widthwise.infinite.displaced`, compiled by Numba; imported only where they are used."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from widthwise.infinite.compiled import ALGEBRA, bent

__all__ = ["pooled"]


@numba.njit(cache=True, inline="always", fastmath=ALGEBRA)  # type: ignore[untyped-decorator]
def _summed(target: Any, source: Any, step: int, radius: int) -> None:
    """Sum over a window: ``target[m]`` is that of ``source[m + k * step]`` for k from 0 to twice the radius."""
    middle = source[radius * step :]
    if radius == 0:
        target[:] = middle[: target.size]
    for k in range(1, radius + 1):
        low, high = source[(radius - k) * step :], source[(radius + k) * step :]
        if k == 1:
            for m in range(target.size):
                target[m] = low[m] + middle[m] + high[m]
        else:
            for m in range(target.size):
                target[m] += low[m] + high[m]


@numba.njit(cache=True, inline="always", fastmath=ALGEBRA, error_model="numpy")  # type: ignore[untyped-decorator]
def _layer(D: Any, T: Any, a: Any, b: Any, mean: Any, layer: Any, last: bool, angle: Any, fall: Any) -> None:
    """Weights and activation, from sums over windows; in the ``last`` layer covariances take the place of distances.

    A position beyond an image has variance 0: its distance from another is that one's variance, its kernels are 0.
    """
    one = angle[0] / angle[0]
    zero, two = one - one, one + one
    own, share, bend, line = layer[1], layer[2], layer[3], layer[4]
    gain = line + bend
    apart_share, both_share, gap_share = (zero, gain, -gain) if last else (gain, zero, two * gain)
    for m in range(D.size):
        left, right = a[m], b[m]
        both, apart = left * right, (left - right) * (left - right)
        inside = both > zero
        gap = (mean * D[m] - apart) / (both + both)
        gap = min(max(gap if inside else zero, zero), two)
        tangent = mean * T[m] + own * both * (one - gap)
        after, slope = bent(gap, two - gap, share, bend, line, angle, fall, one)
        D[m] = apart_share * apart + both * (both_share + gap_share * after)
        T[m] = tangent * slope if inside else zero


@numba.njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _wrapped(values: Any, high: int, wide: int, py: int, px: int) -> None:
    """Fill the margins of a circular image."""
    for y in range(high):
        row = values[py + y]
        for k in range(px):
            row[px - 1 - k] = row[px + wide - 1 - k % wide]
            row[px + wide + k] = row[px + k % wide]
    for k in range(py):
        values[py - 1 - k] = values[py + high - 1 - k % high]
        values[py + high + k] = values[py + k % high]


@numba.njit(cache=True, inline="always", fastmath=True)  # type: ignore[untyped-decorator]
def _total(values: Any, high: int, wide: int, py: int, px: int) -> float:
    total = 0.0
    for y in range(high):
        row = values[py + y, px : px + wide]
        for x in range(wide):
            total += row[x]
    return total


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _windows(images: Any, top: int, at: int, high: int, wide: int, circular: bool, out: Any) -> None:
    """Cut the same window, which may reach beyond the edges, out of all tables of all images, each as one row."""
    rows, columns = images.shape[2:]
    for n in range(images.shape[0]):
        for k in range(images.shape[1]):
            table, target = images[n, k], out[n, k]
            for y in range(high):
                for x in range(wide):
                    i, j = top + y, at + x
                    if circular:
                        target[y * wide + x] = table[i % rows, j % columns]
                    elif 0 <= i < rows and 0 <= j < columns:
                        target[y * wide + x] = table[i, j]
                    else:
                        target[y * wide + x] = 0


@numba.njit(cache=True, inline="always", fastmath=ALGEBRA)  # type: ignore[untyped-decorator]
def _through(
    u: Any, v: Any, layers: Any, scratch: Any, sizes: Any, channels: int, circular: bool, angle: Any, fall: Any
) -> tuple[float, float]:
    """One displacement of a pair of images through all layers: the sums of both kernels over its positions."""
    (high, wide, py, px), zero = sizes, angle[0] - angle[0]
    pitch, tall, taps = wide + 2 * px, high + 2 * py, scratch.dtype.type((2 * px + 1) * (2 * py + 1))
    size, inner = tall * pitch, slice(px + py * pitch, px + (py + high) * pitch)
    D, T = scratch[0, :size], scratch[1, :size]
    sums, tangents = scratch[2, : size + 2 * px], scratch[3, : size + 2 * px]
    scratch[:] = zero
    for k in range(channels):
        left, right = u[k], v[k]
        for m in range(size):
            D[m] += (left[m] - right[m]) * (left[m] - right[m])
    for k in range(layers.shape[0]):
        last = k == layers.shape[0] - 1
        for values, total in ((D, sums), (T, tangents)):
            _summed(total[inner], values, pitch, py)
            _summed(values, total, 1, px)
        _layer(D, T, u[channels + k], v[channels + k], layers[k, 0] / taps, layers[k], last, angle, fall)
        if circular and not last:
            for values in (D, T):
                _wrapped(values.reshape(tall, pitch), high, wide, py, px)
    return (
        _total(D.reshape(tall, pitch), high, wide, py, px),
        _total(T.reshape(tall, pitch), high, wide, py, px),
    )


@numba.njit(cache=True, nogil=True, fastmath=ALGEBRA, error_model="numpy")  # type: ignore[untyped-decorator]
def pooled(
    left: NDArray[Any],
    right: NDArray[Any],
    layers: NDArray[Any],
    radii: tuple[int, int],
    circular: bool,
    which: int,
    angle: tuple[Any, ...],
    fall: tuple[Any, ...],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Means over all pairs of positions of the NNGP and the NTK of two batches of images.

    Args:
        left: for each image its channels over the root of their number, then the root of the variance after each
            convolution, ``(n, channels + layers, height, width)``.
        right: the same of others.
        layers: for each convolution: sigma_w^2, whether it is trained, and of the activation
            after it the share of abs(x) in the variance, and the squares of its slope and of the line's.
        radii: how far a kernel reaches, vertically and horizontally.
        circular: whether images are; otherwise nothing is beyond their edges.
        which: -1 for all pairs, 0 for an image and itself, 1 for an image and those not before it.
        angle: see :func:`widthwise.infinite.bending.bowed`.
        fall: likewise.
    """
    (n1, depth, high, wide), n2, (py, px) = left.shape, len(right), radii
    most = (high + 2 * py) * (wide + 2 * px)
    lefts, rights = np.zeros((n1, depth, most), left.dtype), np.zeros((n2, depth, most), left.dtype)
    scratch = np.zeros((4, most + 2 * px), left.dtype)
    nngp, ntk = np.zeros((n1, n2)), np.zeros((n1, n2))
    back_y, back_x = (0, 0) if circular else (1 - high, 1 - wide)
    for dy in range(back_y, high):
        for dx in range(back_x, wide):
            y, x = max(0, -dy), max(0, -dx)  # the first position whose like is in the other image
            h, w = (high, wide) if circular else (high - abs(dy), wide - abs(dx))
            _windows(left, y - py, x - px, h + 2 * py, w + 2 * px, circular, lefts)
            _windows(right, y + dy - py, x + dx - px, h + 2 * py, w + 2 * px, circular, rights)
            for i in range(n1):
                for j in range(i if which >= 0 else 0, i + 1 if which == 0 else n2):
                    found = _through(
                        lefts[i], rights[j], layers, scratch, (h, w, py, px), depth - len(layers), circular, angle, fall
                    )
                    nngp[i, j] += found[0]
                    ntk[i, j] += found[1]
    positions = (high * wide) ** 2
    return nngp / positions, ntk / positions
