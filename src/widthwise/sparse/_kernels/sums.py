"""The inner loop forward: rows of a sparse matrix times a tile.

Numba's own vectoriser spills the accumulators of such loops, so they are emitted here as LLVM code with one register an
accumulator. A *tile* holds the ``T = count * LANES`` neighbouring examples of a batch that one pass keeps in registers;
of activations it holds the ``T`` values of a feature side by side, so that a weight is read once and used ``T`` times.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from widthwise.sparse._kernels.emit import Emit, by_count, either, i64, loop, offset_at, registers_of
from widthwise.sparse._processor import REGISTERS, tile_registers, vector_bytes

__all__ = ["add_row", "add_rows", "add_rows_at", "gated_sum"]


@intrinsic
def add_row(typing, count, values, indices, offsets, first, last, x, y, bias, fresh, clip):
    """``y[:T] = (bias if fresh else y[:T]) + sum_k values[k] * x[offsets[indices[k]]:][:T]`` for k in [first, last).

    With ``clip`` what comes out below zero is set to zero. ``count`` is the number of registers of a tile.
    """
    signature = types.void(
        types.int64, values, indices, offsets, types.int64, types.int64, values, values, values.dtype, types.boolean,
        types.boolean,
    )  # fmt: skip

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        weight, index, offset, begin, end, source, target, start, is_fresh, is_clipped = arguments
        emit = Emit(builder, values.dtype)
        _row(emit, registers_of(emit, source, number), (weight, index, indices, offset), begin, end, target, start,
             is_fresh, _floor(emit, is_clipped))  # fmt: skip

    return signature, by_count(variant)


@intrinsic
def add_rows(typing, count, values, indices, pitch, begins, ends, rows, x, y, y_pitch, bias, fresh, clip):
    """``add_row`` for rows from 0 to ``rows``, of features and results ``pitch`` and ``y_pitch`` apart."""
    signature = types.void(
        types.int64, values, indices, types.int64, begins, begins, types.int64, values, values, types.int64, values,
        types.boolean, types.boolean,
    )  # fmt: skip

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        weight, index, apart, firsts, lasts, stop, source, target, target_pitch, starts, *flags = arguments
        emit = Emit(builder, values.dtype)
        sources = registers_of(emit, source, number)
        _rows(emit, sources, (weight, index, indices, apart), firsts, lasts, stop, target, target_pitch, starts, *flags)

    return signature, by_count(variant, tile_registers(vector_bytes()))


@intrinsic
def add_rows_at(typing, count, values, distances, places, begins, ends, rows, x, y, y_pitch, bias, clip):
    """``add_rows`` of ``x[places[i] + distances[k]:]`` for register ``i`` and weight ``k``, beginning with the bias."""
    signature = types.void(
        types.int64, values, distances, places, begins, begins, types.int64, values, values, types.int64, values,
        types.boolean,
    )  # fmt: skip

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        weight, distance, place, firsts, lasts, stop, source, target, target_pitch, starts, is_clipped = arguments
        emit = Emit(builder, values.dtype)
        sources, is_fresh = registers_of(emit, source, number, place), ir.Constant(ir.IntType(1), 1)
        _rows(emit, sources, (weight, distance, distances, None), firsts, lasts, stop, target, target_pitch, starts,
              is_fresh, is_clipped)  # fmt: skip

    return signature, by_count(variant, tile_registers(vector_bytes()))


@intrinsic
def gated_sum(typing, gated, source, gate, count):
    """The sum of ``count`` numbers, whole registers of them, if ``gated`` of those where ``gate`` is above zero."""
    signature = source.dtype(types.boolean, source, source, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        is_gated, read, door, stop = arguments
        emit, result = Emit(builder, source.dtype), cgutils.alloca_once(builder, Emit(builder, source.dtype).scalar)

        def add(past_a_gate: bool) -> None:
            def term(k: Any) -> Any:
                value = emit.load(read, k)
                if not past_a_gate:
                    return value
                return builder.select(builder.fcmp_ordered(">", emit.load(door, k), emit.zero), value, emit.zero)

            def several(k: Any, sums: list[Any]) -> list[Any]:
                return [builder.fadd(s, term(builder.add(k, i64(i * emit.lanes)))) for i, s in enumerate(sums)]

            k, sums = loop(builder, i64(0), stop, 4 * emit.lanes, [emit.zero] * 4, several)
            whole = builder.fadd(builder.fadd(sums[0], sums[1]), builder.fadd(sums[2], sums[3]))
            _, sums = loop(builder, k, stop, emit.lanes, [whole], several)
            builder.store(builder.extract_element(emit.total(sums[0]), i64(0)), result)

        either(builder, is_gated, add)
        return builder.load(result)

    return signature, generate


def _rows(
    emit: Emit, sources: list[Any], weights: tuple[Any, ...], begins: Any, ends: Any, rows: Any, target: Any,
    pitch: Any, starts: Any, is_fresh: Any, is_clipped: Any,
) -> None:  # fmt: skip
    builder, floor = emit.b, _floor(emit, is_clipped)

    def one(row: Any, state: list[Any]) -> list[Any]:
        begin, end, start = (builder.load(builder.gep(base, [row])) for base in (begins, ends, starts))
        into = builder.gep(target, [builder.mul(row, pitch)])
        _row(emit, sources, weights, begin, end, into, start, is_fresh, floor)
        return state

    loop(builder, i64(0), rows, 1, [], one)


def _floor(emit: Emit, is_clipped: Any) -> Any:
    return emit.splat(emit.b.select(is_clipped, ir.Constant(emit.scalar, 0.0), ir.Constant(emit.scalar, -math.inf)))


def _row(
    emit: Emit, sources: list[Any], weights: tuple[Any, ...], begin: Any, end: Any, target: Any, start: Any,
    is_fresh: Any, floor: Any,
) -> None:  # fmt: skip
    """The sum of ``add_row`` from ``sources``, one a register; in several sums where that hides additions' delay."""
    weight, index, kind, offset = weights
    builder, number = emit.b, len(sources)
    places = [i64(i * emit.lanes) for i in range(number)]
    unroll = max(1, REGISTERS // number)

    def one(k: Any, sums: list[Any]) -> list[Any]:
        at = offset_at(builder, index, kind, offset, k)
        factor = emit.splat(builder.load(builder.gep(weight, [k])))
        return [emit.fma(factor, emit.load(source, at), total) for source, total in zip(sources, sums, strict=True)]

    def several(k: Any, sums: list[Any]) -> list[Any]:
        groups = [sums[i * number : (i + 1) * number] for i in range(unroll)]
        return [v for i, group in enumerate(groups) for v in one(builder.add(k, i64(i)), group)]

    opening = emit.splat(start)
    with builder.if_else(is_fresh) as (then, other):
        with then:
            new_end = builder.block
        with other:
            old = [emit.load(target, place) for place in places]
            old_end = builder.block
    sums = []
    for old_value in old:
        phi = builder.phi(emit.vector)
        phi.add_incoming(opening, new_end)
        phi.add_incoming(old_value, old_end)
        sums.append(phi)
    k, sums = loop(builder, begin, end, unroll, sums + [emit.zero] * number * (unroll - 1), several)
    for i in range(1, unroll):
        sums[:number] = [builder.fadd(a, b) for a, b in zip(sums[:number], sums[i * number :], strict=False)]
    if unroll > 1:
        _, sums = loop(builder, k, end, 1, sums[:number], one)
    for place, total in zip(places, sums, strict=False):
        emit.store(builder.select(builder.fcmp_ordered("<", total, floor), floor, total), target, place)
