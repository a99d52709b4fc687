"""Copies of tiles: as they are, turned, and past a gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic

from widthwise.sparse._kernels.emit import Emit, by_count, i64, loop, registers_of
from widthwise.sparse._processor import tile_registers, vector_bytes

__all__ = ["copy", "copy_lines", "gated_copy", "gated_lines", "gated_transpose", "transpose"]


@intrinsic
def transpose(typing, source, source_pitch, target, target_pitch):
    """``target[j * target_pitch + i] = source[i * source_pitch + j]`` for i and j below the number of lanes."""
    signature = types.void(source, types.int64, source, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read, read_pitch, write, write_pitch = arguments
        emit = Emit(builder, source.dtype)
        rows = [emit.load(read, builder.mul(read_pitch, i64(i))) for i in range(emit.lanes)]
        for i, row in enumerate(_transposed(emit, rows)):
            emit.store(row, write, builder.mul(write_pitch, i64(i)))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def gated_transpose(typing, source, source_pitch, gate, gate_pitch, target, target_pitch):
    """As ``transpose``, zero where ``gate[i * gate_pitch + j]`` is not above zero."""
    signature = types.void(source, types.int64, source, types.int64, source, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read, read_pitch, door, door_pitch, write, write_pitch = arguments
        emit = Emit(builder, source.dtype)
        rows = []
        for i in range(emit.lanes):
            row = emit.load(read, builder.mul(read_pitch, i64(i)))
            is_open = builder.fcmp_ordered(">", emit.load(door, builder.mul(door_pitch, i64(i))), emit.zero)
            rows.append(builder.select(is_open, row, emit.zero))
        for i, row in enumerate(_transposed(emit, rows)):
            emit.store(row, write, builder.mul(write_pitch, i64(i)))
        return context.get_dummy_value()

    return signature, generate


def _transposed(emit: Emit, rows: list[Any]) -> list[Any]:
    """The columns of as many registers as one has lanes: first within the parts of 128 bits, then part by part.

    Between two registers a round exchanges what stands ``step`` places apart; within a part by interleaving, as
    processors do in one instruction.
    """
    n, part = emit.lanes, 128 // emit.bits
    step = 1
    while step < part:
        halves = [[block + i for block in range(start, n, part) for i in range(0, part // 2, step)]
                  for start in (0, part // 2)]  # fmt: skip
        pairs = [[at + side + i for at in half for side in (0, n) for i in range(step)] for half in halves]
        for i in range(0, n, 2 * step):
            for j in range(i, i + step):
                rows[j], rows[j + step] = (emit.shuffle(rows[j], rows[j + step], lanes) for lanes in pairs)
        step *= 2
    if part == 4:
        rows = [rows[i + k] for i in range(0, n, 4) for k in (0, 2, 1, 3)]
    while step < n:
        low = [lane if lane // step % 2 == 0 else n + lane - step for lane in range(n)]
        high = [lane + step if lane // step % 2 == 0 else n + lane for lane in range(n)]
        for i in range(0, n, 2 * step):
            for j in range(i, i + step):
                rows[j], rows[j + step] = (emit.shuffle(rows[j], rows[j + step], lanes) for lanes in (low, high))
        step *= 2
    return rows


@intrinsic
def gated_copy(typing, count, gated, source, gate, target, total):
    """``target[:T] = source[:T]``, if ``gated`` zero where ``gate[:T]`` is not above zero; ``total[0]`` is the sum."""
    signature = types.void(types.int64, types.boolean, source, source, source, source)

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        is_gated, read, door, write, into = arguments
        emit = Emit(builder, source.dtype)
        places = [i64(i * emit.lanes) for i in range(number)]
        values = [emit.load(read, place) for place in places]
        with builder.if_else(is_gated) as (then, other):
            with then:
                opens = [builder.fcmp_ordered(">", emit.load(door, place), emit.zero) for place in places]
                kept = [builder.select(is_open, value, emit.zero) for is_open, value in zip(opens, values, strict=True)]
                gated_end = builder.block
            with other:
                other_end = builder.block
        parts = [emit.zero, emit.zero]
        for i, (value, gated_value) in enumerate(zip(values, kept, strict=True)):
            phi = builder.phi(emit.vector)
            phi.add_incoming(gated_value, gated_end)
            phi.add_incoming(value, other_end)
            kept[i] = phi
        for i, (place, value) in enumerate(zip(places, kept, strict=True)):
            emit.store(value, write, place)
            parts[i % 2] = builder.fadd(parts[i % 2], value)
        emit.store(emit.total(builder.fadd(*parts)), into, i64(0))

    return signature, by_count(variant)


@intrinsic
def copy(typing, count, source, target):
    """``target[:T] = source[:T]``."""
    signature = types.void(types.int64, source, source)

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        emit = Emit(builder, source.dtype)
        places = [i64(i * emit.lanes) for i in range(number)]
        for place, value in zip(places, [emit.load(arguments[0], place) for place in places], strict=True):
            emit.store(value, arguments[1], place)

    return signature, by_count(variant, tile_registers(vector_bytes()))


@intrinsic
def copy_lines(typing, count, lines, source, pitch, places, target, target_pitch, target_places):
    """Lines of ``count`` registers, which start at ``places`` in each: ``pitch`` apart where they are read."""
    signature = types.void(types.int64, types.int64, source, types.int64, places, source, types.int64, target_places)

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        many, read, read_pitch, read_places, write, write_pitch, write_places = arguments
        emit = Emit(builder, source.dtype)
        ends = ((read, read_pitch, read_places), (write, write_pitch, write_places))
        froms, tos = (_walk(emit, *end, number) for end in ends)

        def one(line: Any, state: list[Any]) -> list[Any]:
            for value, into in zip([emit.load(*from_(line)) for from_ in froms], tos, strict=True):
                emit.store(value, *into(line))
            return state

        loop(builder, i64(0), many, 1, [], one)

    return signature, by_count(variant, tile_registers(vector_bytes()))


@intrinsic
def gated_lines(typing, count, lines, source, pitch, gate, target, target_pitch):
    """``copy_lines`` of registers side by side, zero where ``gate``, laid as ``source`` is, is not above zero."""
    signature = types.void(types.int64, types.int64, source, types.int64, source, source, types.int64)

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        many, read, read_pitch, door, write, write_pitch = arguments
        emit = Emit(builder, source.dtype)
        ends = ((read, read_pitch), (door, read_pitch), (write, write_pitch))
        froms, doors, tos = (_walk(emit, *end, None, number) for end in ends)

        def one(line: Any, state: list[Any]) -> list[Any]:
            for from_, gate_, into in zip(froms, doors, tos, strict=True):
                is_open = builder.fcmp_ordered(">", emit.load(*gate_(line)), emit.zero)
                emit.store(builder.select(is_open, emit.load(*from_(line)), emit.zero), *into(line))
            return state

        loop(builder, i64(0), many, 1, [], one)

    return signature, by_count(variant, tile_registers(vector_bytes()))


def _walk(emit: Emit, base: Any, pitch: Any, places: Any, number: int) -> list[Callable[[Any], tuple[Any, Any]]]:
    """For each register of a tile what finds it in a line."""

    def walk(start: Any) -> Callable[[Any], tuple[Any, Any]]:
        return lambda line: (start, emit.b.mul(line, pitch))

    return [walk(start) for start in registers_of(emit, base, number, places)]
