"""Kernels for one example or a few, where a call costs as much as the work.

Those called ``..._now`` are functions of numbers and addresses, run at once on the thread that calls them; the others
are for teams, as in :mod:`widthwise.sparse._native`. Both walk over the same rows in the same way.
"""

from __future__ import annotations

import math

from numba import njit, types

from widthwise.sparse._rows import FEW, LONGEST, few_products, four_rows, four_sums, lanes_of_row, products, room
from widthwise.sparse._vector import alike, claim, pointer, shifted, zero

__all__: list[str] = []

_f32, _f64 = pointer(types.float32), pointer(types.float64)
_u16, _i32, _i64 = pointer(types.uint16), pointer(types.int32), pointer(types.int64)


_BLOCK, _MOST = 2048, 2560  # products that stay in the first cache: wanted, and room for
_ROOM = _MOST + LONGEST
_SHORT = 48  # weights of a row, on average, up to which finding its end costs more than a way through memory


@njit
def _one(values, indices, count, starts, length, rows, first, last, x, y, bias, biased, clip):
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


@njit
def _finished(total, bias, biased, row, clip):
    if biased:
        total += bias[row]
    return zero(bias) if clip and total < 0 else total


@njit
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


@njit
def _spread(x, by_example, by_feature, batch, features, wide, packed):
    """Puts the examples of each feature side by side, zero past the last."""
    lanes = FEW if wide else FEW // 2
    for feature in range(features):
        source, target = shifted(x, feature * by_feature), shifted(packed, feature * lanes)
        for e in range(batch):
            target[e] = source[e * by_example]
        for e in range(batch, lanes):
            target[e] = 0


@njit
def _several(
    values, indices, starts, length, first, last, packed, wide, batch, y, by_example, by_row, bias, biased, clip
):  # fmt: skip
    """The same for the examples that ``_spread`` packed."""
    for row in range(first, last):
        start = bias[row] if biased else zero(values)
        sums = few_products(wide, values, indices, starts[row], starts[row + length], packed, start, clip)
        target = shifted(y, row * by_row)
        for e in range(batch):
            target[e * by_example] = sums[e]


@njit
def _one_now(values, indices, starts, length, rows, x, y, bias, clip, weights):
    _one(
        values, indices, weights, _i64(starts), length, rows, 0, rows, alike(values, x), alike(values, y),
        alike(values, bias), bias != 0, clip != 0,
    )  # fmt: skip


@njit
def _few_now(
    values, indices, starts, length, rows, x, y, bias, clip, y_by_example, y_by_row, features, batch, by_example,
    by_feature, packed,
):  # fmt: skip
    wide, place = batch > FEW // 2, alike(values, packed)
    _spread(alike(values, x), by_example, by_feature, batch, features, wide, place)
    _several(
        values, indices, _i64(starts), length, 0, rows, place, wide, batch, alike(values, y), y_by_example, y_by_row,
        alike(values, bias), bias != 0, clip != 0,
    )  # fmt: skip


@njit
def _one_for_team(values, indices, a):
    starts, length, bounds, chunks = _i64(a[3]), a[4], _i64(a[5]), a[6]
    x, y, bias, count, rows = alike(values, a[7]), alike(values, a[8]), alike(values, a[9]), a[11], bounds[chunks]
    chunk = claim(a)
    while chunk < chunks:
        _one(
            values, indices, count, starts, length, rows, bounds[chunk], bounds[chunk + 1], x, y, bias, a[9] != 0,
            a[10] != 0,
        )  # fmt: skip
        chunk = claim(a)


@njit
def _few_for_team(values, indices, a):
    starts, length, bounds, chunks = _i64(a[3]), a[4], _i64(a[5]), a[6]
    packed, batch, wide = alike(values, a[7]), a[8], a[8] > FEW // 2
    y, by_example, by_row, bias = alike(values, a[9]), a[10], a[11], alike(values, a[12])
    chunk = claim(a)
    while chunk < chunks:
        _several(
            values, indices, starts, length, bounds[chunk], bounds[chunk + 1], packed, wide, batch, y, by_example,
            by_row, bias, a[12] != 0, a[13] != 0,
        )  # fmt: skip
        chunk = claim(a)


@njit
def _spread_alone(like, a):
    x, by_example, by_feature, batch, features = alike(like, a[1]), a[2], a[3], a[4], a[5]
    _spread(x, by_example, by_feature, batch, features, batch > FEW // 2, alike(like, a[6]))


def spread_f32(a):
    _spread_alone(_f32(a[1]), a)


def one_f32_u16(a):
    _one_for_team(_f32(a[1]), _u16(a[2]), a)


def few_f32_u16(a):
    _few_for_team(_f32(a[1]), _u16(a[2]), a)


def one_now_f32_u16(values, columns, starts, length, rows, x, y, bias, clip, weights):
    _one_now(_f32(values), _u16(columns), starts, length, rows, x, y, bias, clip, weights)


def few_now_f32_u16(
    values, columns, starts, length, rows, x, y, bias, clip, y_by_example, y_by_row, features, batch, by_example,
    by_feature, packed,
):  # fmt: skip
    _few_now(
        _f32(values), _u16(columns), starts, length, rows, x, y, bias, clip, y_by_example, y_by_row, features, batch,
        by_example, by_feature, packed,
    )  # fmt: skip


def one_f32_i32(a):
    _one_for_team(_f32(a[1]), _i32(a[2]), a)


def few_f32_i32(a):
    _few_for_team(_f32(a[1]), _i32(a[2]), a)


def one_now_f32_i32(values, columns, starts, length, rows, x, y, bias, clip, weights):
    _one_now(_f32(values), _i32(columns), starts, length, rows, x, y, bias, clip, weights)


def few_now_f32_i32(
    values, columns, starts, length, rows, x, y, bias, clip, y_by_example, y_by_row, features, batch, by_example,
    by_feature, packed,
):  # fmt: skip
    _few_now(
        _f32(values), _i32(columns), starts, length, rows, x, y, bias, clip, y_by_example, y_by_row, features, batch,
        by_example, by_feature, packed,
    )  # fmt: skip


def spread_f64(a):
    _spread_alone(_f64(a[1]), a)


def one_f64_u16(a):
    _one_for_team(_f64(a[1]), _u16(a[2]), a)


def few_f64_u16(a):
    _few_for_team(_f64(a[1]), _u16(a[2]), a)


def one_now_f64_u16(values, columns, starts, length, rows, x, y, bias, clip, weights):
    _one_now(_f64(values), _u16(columns), starts, length, rows, x, y, bias, clip, weights)


def few_now_f64_u16(
    values, columns, starts, length, rows, x, y, bias, clip, y_by_example, y_by_row, features, batch, by_example,
    by_feature, packed,
):  # fmt: skip
    _few_now(
        _f64(values), _u16(columns), starts, length, rows, x, y, bias, clip, y_by_example, y_by_row, features, batch,
        by_example, by_feature, packed,
    )  # fmt: skip


def one_f64_i32(a):
    _one_for_team(_f64(a[1]), _i32(a[2]), a)


def few_f64_i32(a):
    _few_for_team(_f64(a[1]), _i32(a[2]), a)


def one_now_f64_i32(values, columns, starts, length, rows, x, y, bias, clip, weights):
    _one_now(_f64(values), _i32(columns), starts, length, rows, x, y, bias, clip, weights)


def few_now_f64_i32(
    values, columns, starts, length, rows, x, y, bias, clip, y_by_example, y_by_row, features, batch, by_example,
    by_feature, packed,
):  # fmt: skip
    _few_now(
        _f64(values), _i32(columns), starts, length, rows, x, y, bias, clip, y_by_example, y_by_row, features, batch,
        by_example, by_feature, packed,
    )  # fmt: skip
