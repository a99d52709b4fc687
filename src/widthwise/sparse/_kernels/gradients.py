"""The inner loop backward: columns of a sparse matrix, see :mod:`widthwise.sparse._kernels.sums`."""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from widthwise.sparse._kernels.emit import Emit, by_count, either, i64, loop, offset_at, registers_of
from widthwise.sparse._processor import tile_registers, vector_bytes

__all__ = ["column_gradients", "columns_gradients", "columns_gradients_at"]


@intrinsic
def column_gradients(typing, count, both, values, indices, offsets, first, last, x, dy, dx, dw, fresh, add):
    """Gradients of one column: of its weights, and with ``both`` of its input, from one reading of ``dy``.

    ``dw[k] = (dw[k] if add else 0) + <x[:T], g>`` and ``dx[:T] = (0 if fresh else dx[:T]) + sum_k values[k] * g``,
    with ``g = dy[offsets[indices[k]]:][:T]`` and k in [first, last).
    """
    signature = types.void(
        types.int64, types.boolean, values, indices, offsets, types.int64, types.int64, values, values, values, values,
        types.boolean, types.boolean,
    )  # fmt: skip

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        wants_both, weight, index, offset, begin, end, source, slope, *rest = arguments
        emit = Emit(builder, values.dtype)
        slopes, weights = registers_of(emit, slope, number), (weight, index, indices, offset)

        def one(wants_input: bool) -> None:
            _column(emit, wants_input, weights, begin, end, source, slopes, *rest)

        either(builder, wants_both, one)

    return signature, by_count(variant)


@intrinsic
def columns_gradients(
    typing, count, both, values, indices, pitch, begins, ends, columns, x, x_pitch, dy, dx, dx_pitch, dw, fresh, add
):
    """``column_gradients`` for columns from 0 to ``columns``."""
    signature = types.void(
        types.int64, types.boolean, values, indices, types.int64, begins, begins, types.int64, values, types.int64,
        values, values, types.int64, values, types.boolean, types.boolean,
    )  # fmt: skip

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        wants_both, weight, index, apart, firsts, lasts, stop, source, source_pitch, slope, *rest = arguments
        emit = Emit(builder, values.dtype)
        slopes, weights = registers_of(emit, slope, number), (weight, index, indices, apart)
        _columns(emit, wants_both, weights, firsts, lasts, stop, source, source_pitch, slopes, *rest)

    return signature, by_count(variant, tile_registers(vector_bytes()))


@intrinsic
def columns_gradients_at(
    typing, count, both, values, distances, places, begins, ends, columns, x, x_pitch, dy, dx, dx_pitch, dw, add
):
    """``columns_gradients``, ``dx`` fresh, from ``dy[places[i] + distances[k]:]`` for register ``i``, weight ``k``."""
    signature = types.void(
        types.int64, types.boolean, values, distances, places, begins, begins, types.int64, values, types.int64,
        values, values, types.int64, values, types.boolean,
    )  # fmt: skip

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        wants_both, weight, distance, place, firsts, lasts, stop, source, source_pitch, slope, *rest = arguments
        target, target_pitch, gradient, adds = rest
        emit = Emit(builder, values.dtype)
        slopes, weights = registers_of(emit, slope, number, place), (weight, distance, distances, None)
        is_fresh = ir.Constant(ir.IntType(1), 1)
        _columns(emit, wants_both, weights, firsts, lasts, stop, source, source_pitch, slopes, target, target_pitch,
                 gradient, is_fresh, adds)  # fmt: skip

    return signature, by_count(variant, tile_registers(vector_bytes()))


def _columns(
    emit: Emit, both: Any, weights: tuple[Any, ...], begins: Any, ends: Any, columns: Any, x: Any, x_pitch: Any,
    slopes: list[Any], dx: Any, dx_pitch: Any, dw: Any, is_fresh: Any, adds: Any,
) -> None:  # fmt: skip
    builder = emit.b

    def one(wants_input: bool, column: Any, state: list[Any]) -> list[Any]:
        begin, end = (builder.load(builder.gep(base, [column])) for base in (begins, ends))
        read, write = (builder.gep(base, [builder.mul(column, step)]) for base, step in ((x, x_pitch), (dx, dx_pitch)))
        _column(emit, wants_input, weights, begin, end, read, slopes, write, dw, is_fresh, adds)
        return state

    def all_of_them(wants_input: bool) -> None:
        loop(builder, i64(0), columns, 1, [], partial(one, wants_input))

    either(builder, both, all_of_them)


def _column(
    emit: Emit, wants_input: bool, weights: tuple[Any, ...], begin: Any, end: Any, source: Any, slopes: list[Any],
    target: Any, gradient: Any, is_fresh: Any, adds: Any,
) -> None:  # fmt: skip
    """What ``column_gradients`` does, with the slopes' registers wherever they start."""
    weight, index, kind, offset = weights
    builder = emit.b
    places = [i64(i * emit.lanes) for i in range(len(slopes))]
    inputs = [emit.load(source, place) for place in places]

    def one(k: Any, sums: list[Any]) -> tuple[list[Any], Any]:
        at = offset_at(builder, index, kind, offset, k)
        factor = emit.splat(builder.load(builder.gep(weight, [k]))) if wants_input else None
        total, following = emit.zero, []
        for i, slope in enumerate(slopes):
            g = emit.load(slope, at)
            total = emit.fma(inputs[i], g, total)
            if wants_input:
                following.append(emit.fma(factor, g, sums[i]))
        return following, total

    def write(k: Any, total: Any) -> None:
        place = builder.bitcast(builder.gep(gradient, [k]), total.type.as_pointer())
        old = builder.load(place, align=emit.bits // 8)
        kept = builder.select(adds, old, ir.Constant(total.type, None))
        builder.store(builder.fadd(kept, total), place, align=emit.bits // 8)

    def four(k: Any, sums: list[Any]) -> list[Any]:
        parts = []
        for i in range(4):
            sums, part = one(builder.add(k, i64(i)), sums)
            parts.append(part)
        write(k, emit.totals(*parts))
        return sums

    def single(k: Any, sums: list[Any]) -> list[Any]:
        sums, part = one(k, sums)
        write(k, emit.total(part))
        return sums

    sums = [builder.select(is_fresh, emit.zero, emit.load(target, place)) for place in places if wants_input]
    k, sums = loop(builder, begin, end, 4, sums, four)
    _, sums = loop(builder, k, end, 1, sums, single)
    for place, total in zip(places, sums, strict=False):
        emit.store(total, target, place)
