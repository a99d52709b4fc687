"""Kernels for one example or a few that run at once on the thread that calls them: functions of numbers and addresses.

They walk over the same rows in the same way as those for teams, :mod:`widthwise.sparse._kernels.few`.
"""

from __future__ import annotations

from numba import types

from widthwise.sparse._kernels.few import one, several, spread
from widthwise.sparse._kernels.pointers import alike, inner, pointer
from widthwise.sparse._kernels.rows import FEW

__all__ = [
    "few_now_f32_i32",
    "few_now_f32_u16",
    "few_now_f64_i32",
    "few_now_f64_u16",
    "one_now_f32_i32",
    "one_now_f32_u16",
    "one_now_f64_i32",
    "one_now_f64_u16",
]

_f32, _f64 = pointer(types.float32), pointer(types.float64)
_u16, _i32, _i64 = pointer(types.uint16), pointer(types.int32), pointer(types.int64)


@inner
def _one_now(values, indices, starts, length, rows, x, y, bias, clip, weights):
    one(
        values, indices, weights, _i64(starts), length, rows, 0, rows, alike(values, x), alike(values, y),
        alike(values, bias), bias != 0, clip != 0,
    )  # fmt: skip


@inner
def _few_now(
    values, indices, starts, length, rows, x, y, bias, clip, y_by_example, y_by_row, features, batch, by_example,
    by_feature, packed,
):  # fmt: skip
    wide, place = batch > FEW // 2, alike(values, packed)
    spread(alike(values, x), by_example, by_feature, batch, features, wide, place)
    several(
        values, indices, _i64(starts), length, 0, rows, place, wide, batch, alike(values, y), y_by_example, y_by_row,
        alike(values, bias), bias != 0, clip != 0,
    )  # fmt: skip


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
