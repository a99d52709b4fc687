"""Kernels for one example or a few, where a call costs as much as the work; for teams, as all of this package are."""

from __future__ import annotations

import math

from numba import types

from widthwise.sparse._kernels.pointers import alike, inner, pointer, shifted, zero
from widthwise.sparse._kernels.rows import (
    FEW,
    LONGEST,
    few_products,
    four_rows,
    four_sums,
    lanes_of_row,
    products,
    room,
)
from widthwise.sparse._kernels.turns import claim

__all__ = [
    "few_f32_i32",
    "few_f32_u16",
    "few_f64_i32",
    "few_f64_u16",
    "one",
    "one_f32_i32",
    "one_f32_u16",
    "one_f64_i32",
    "one_f64_u16",
    "several",
    "spread",
    "spread_f32",
    "spread_f64",
]

_f32, _f64 = pointer(types.float32), pointer(types.float64)
_u16, _i32, _i64 = pointer(types.uint16), pointer(types.int32), pointer(types.int64)


_BLOCK, _MOST = 2048, 2560  # products that stay in the first cache: wanted, and room for
_ROOM = _MOST + LONGEST
_SHORT = 48  # weights of a row, on average, up to which finding its end costs more than a way through memory


@inner
def one(values, indices, count, starts, length, rows, first, last, x, y, bias, biased, clip):
    """``y = W x + bias`` for the rows in [first, last) of ``rows``, which hold ``count`` weights."""
    lanes, mean = lanes_of_row(values), count / max(rows, 1)
    steps = int((mean + 2.5 * math.sqrt(mean)) / lanes) + 1
    block = max(4, int(_BLOCK / (mean + 1)) // 4 * 4) if mean <= _SHORT else last - first
    sums, all_products = room(values, 4), room(values, _ROOM)
    for begin in range(first, last, block):
        end = min(begin + block, last)
        origin, stop = starts[begin], starts[end - 1 + length]
        apart = mean <= _SHORT and stop - origin <= _MOST
        if apart:
            products(values, indices, origin, stop, x, all_products)
        whole = begin + (end - begin) // 4 * 4
        for row in range(begin, whole, 4):
            longest = starts[row + length] - starts[row]
            for i in range(1, 4):
                longest = max(longest, starts[row + i + length] - starts[row + i])
            if apart and longest <= steps * lanes:
                four_sums(all_products, starts, length, row, origin, steps, sums)
            elif starts[row + 3 + length] + lanes <= count:
                four_rows(values, indices, starts, length, row, x, sums)
            else:
                for i in range(4):
                    sums[i] = _with_care(values, indices, starts[row + i], starts[row + i + length], x)
            for i in range(4):
                y[row + i] = _finished(sums[i], bias, biased, row + i, clip)
        for row in range(whole, end):
            total = _with_care(values, indices, starts[row], starts[row + length], x)
            y[row] = _finished(total, bias, biased, row, clip)


@inner
def _finished(total, bias, biased, row, clip):
    if biased:
        total += bias[row]
    return zero(bias) if clip and total < 0 else total


@inner
def _with_care(values, indices, first, last, x):
    """One row, reading nothing past its end."""
    lanes, sums = lanes_of_row(values), room(values, 8)
    for lane in range(lanes):
        sums[lane] = 0
    for k in range(first, last):
        sums[(k - first) % lanes] += values[k] * x[indices[k]]
    while lanes > 1:
        lanes //= 2
        for lane in range(lanes):
            sums[lane] = sums[2 * lane] + sums[2 * lane + 1]
    return sums[0]


@inner
def spread(x, by_example, by_feature, batch, features, wide, packed):
    """Puts the examples of each feature side by side, zero past the last."""
    lanes = FEW if wide else FEW // 2
    for feature in range(features):
        source, target = shifted(x, feature * by_feature), shifted(packed, feature * lanes)
        for e in range(batch):
            target[e] = source[e * by_example]
        for e in range(batch, lanes):
            target[e] = 0


@inner
def several(
    values, indices, starts, length, first, last, packed, wide, batch, y, by_example, by_row, bias, biased, clip
):  # fmt: skip
    """The same for the examples that ``spread`` packed."""
    for row in range(first, last):
        start = bias[row] if biased else zero(values)
        sums = few_products(wide, values, indices, starts[row], starts[row + length], packed, start, clip)
        target = shifted(y, row * by_row)
        for e in range(batch):
            target[e * by_example] = sums[e]


@inner
def _for_team(values, indices, a, alone):
    """Rows in turn: of one example as it lies, or of a few that ``spread`` packed."""
    starts, length, bounds, chunks = _i64(a[3]), a[4], _i64(a[5]), a[6]
    x, y, bias, biased, clip = alike(values, a[7]), alike(values, a[8]), alike(values, a[9]), a[9] != 0, a[10] != 0
    count, by_example, by_row = a[11], a[12], a[13]  # of weights, or of examples
    chunk = claim(a)
    while chunk < chunks:
        first, last = bounds[chunk], bounds[chunk + 1]
        if alone:
            one(values, indices, count, starts, length, bounds[chunks], first, last, x, y, bias, biased, clip)
        else:
            several(
                values, indices, starts, length, first, last, x, count > FEW // 2, count, y, by_example, by_row, bias,
                biased, clip,
            )  # fmt: skip
        chunk = claim(a)


@inner
def _spread_alone(like, a):
    x, by_example, by_feature, batch, features = alike(like, a[1]), a[2], a[3], a[4], a[5]
    spread(x, by_example, by_feature, batch, features, batch > FEW // 2, alike(like, a[6]))


def spread_f32(a):
    _spread_alone(_f32(a[1]), a)


def one_f32_u16(a):
    _for_team(_f32(a[1]), _u16(a[2]), a, True)


def few_f32_u16(a):
    _for_team(_f32(a[1]), _u16(a[2]), a, False)


def one_f32_i32(a):
    _for_team(_f32(a[1]), _i32(a[2]), a, True)


def few_f32_i32(a):
    _for_team(_f32(a[1]), _i32(a[2]), a, False)


def spread_f64(a):
    _spread_alone(_f64(a[1]), a)


def one_f64_u16(a):
    _for_team(_f64(a[1]), _u16(a[2]), a, True)


def few_f64_u16(a):
    _for_team(_f64(a[1]), _u16(a[2]), a, False)


def one_f64_i32(a):
    _for_team(_f64(a[1]), _i32(a[2]), a, True)


def few_f64_i32(a):
    _for_team(_f64(a[1]), _i32(a[2]), a, False)
