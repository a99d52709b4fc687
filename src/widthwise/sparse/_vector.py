"""The two inner loops of sparse execution, written as vector instructions.

Numba's own vectoriser spills the accumulators of these loops, so they are emitted here as LLVM code with one
register an accumulator. Both walk over the stored weights of one row (or column) of a weight matrix, against a *tile*:
the ``T = count * LANES`` neighbouring examples of a batch that one pass keeps in registers. A tile of activations holds
the ``T`` values of a feature side by side, so that a weight is read once and used ``T`` times.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from widthwise.sparse._processor import REGISTERS, tile_registers, vector_bytes

__all__ = [
    "LINES",
    "add_row",
    "add_rows",
    "alike",
    "claim",
    "close",
    "column_gradients",
    "columns_gradients",
    "copy",
    "exponentials",
    "finish",
    "finished",
    "gated_copy",
    "gated_transpose",
    "lanes_of",
    "pointer",
    "raise_to",
    "room",
    "shifted",
    "transpose",
    "zero",
]

LINES = 128  # of a tile, that are turned together: many, lest examples a power of two apart share a place in the cache
_INDEX, _LANE = ir.IntType(64), ir.IntType(32)
_LN2 = 0.693145751953125, 1.42860682030941723e-6  # their sum; the first is short enough for exact products


class _Emit:
    """Emits vector code for one element type at the builder's place."""

    def __init__(self, builder: Any, element: Any, size: int | None = None) -> None:
        self.b = builder
        self.bits = element.bitwidth
        self.scalar = ir.FloatType() if self.bits == 32 else ir.DoubleType()
        self.lanes = (size or vector_bytes()) * 8 // self.bits
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.zero = ir.Constant(self.vector, None)

    def load(self, base: Any, index: Any) -> Any:
        place = self.b.bitcast(self.b.gep(base, [index]), self.vector.as_pointer())
        return self.b.load(place, align=self.bits // 8)

    def store(self, value: Any, base: Any, index: Any) -> None:
        place = self.b.bitcast(self.b.gep(base, [index]), value.type.as_pointer())
        self.b.store(value, place, align=self.bits // 8)

    def splat(self, value: Any) -> Any:
        blank = ir.Constant(self.vector, ir.Undefined)
        first = self.b.insert_element(blank, value, ir.Constant(_LANE, 0))
        return self.b.shuffle_vector(first, blank, ir.Constant(ir.VectorType(_LANE, self.lanes), [0] * self.lanes))

    def fma(self, left: Any, right: Any, addend: Any) -> Any:
        kind = ir.FunctionType(addend.type, [addend.type] * 3)
        name = f"llvm.fma.v{addend.type.count}f{self.bits}"
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), [left, right, addend])

    def constant(self, value: float) -> Any:
        return ir.Constant(self.vector, [value] * self.lanes)

    def exp(self, x: Any) -> Any:
        """``e ** x`` for ``x <= 0``, to about a unit in the last place: 2 ** n times a series in what is left of x."""
        lowest, terms, mantissa = (-87.0, 8, 23) if self.bits == 32 else (-708.0, 14, 52)
        x = self.b.select(self.b.fcmp_ordered("<", x, self.constant(lowest)), self.constant(lowest), x)
        kind = ir.FunctionType(self.vector, [self.vector])
        rint = cgutils.get_or_insert_function(self.b.module, kind, f"llvm.rint.v{self.lanes}f{self.bits}")
        n = self.b.call(rint, [self.b.fmul(x, self.constant(math.log2(math.e)))])
        rest = self.fma(n, self.constant(-_LN2[0]), x)
        rest = self.fma(n, self.constant(-_LN2[1]), rest)
        series = self.constant(1 / math.factorial(terms))
        for k in range(terms - 1, -1, -1):
            series = self.fma(series, rest, self.constant(1 / math.factorial(k)))
        whole = ir.VectorType(ir.IntType(self.bits), self.lanes)
        shift, offset = (ir.Constant(whole, [v] * self.lanes) for v in (mantissa, 2 ** (self.bits - mantissa - 2) - 1))
        power = self.b.shl(self.b.add(self.b.fptosi(n, whole), offset), shift)
        return self.b.fmul(series, self.b.bitcast(power, self.vector))

    def shuffle(self, left: Any, right: Any, lanes: list[int]) -> Any:
        return self.b.shuffle_vector(left, right, ir.Constant(ir.VectorType(_LANE, len(lanes)), lanes))

    def pairs(self, left: Any, right: Any) -> Any:
        """Sums of neighbours, as one instruction adds them: in parts of 128 bits, ``left`` and ``right`` in turn."""
        width, part = left.type.count, 128 // self.bits
        even = [start + side + i for start in range(0, width, part) for side in (0, width) for i in range(0, part, 2)]
        return self.b.fadd(self.shuffle(left, right, even), self.shuffle(left, right, [lane + 1 for lane in even]))

    def folded(self, vector: Any, lanes: int) -> Any:
        """The sum of a vector's parts of so many lanes."""
        while vector.type.count > lanes:
            half = vector.type.count // 2
            low, high = self.shuffle(vector, vector, list(range(half))), list(range(half, 2 * half))
            vector = self.b.fadd(low, self.shuffle(vector, vector, high))
        return vector

    def total(self, vector: Any) -> Any:
        """The sum of all lanes, as a vector of one."""
        return self.folded(vector, 1)

    def totals(self, first: Any, second: Any, third: Any, fourth: Any) -> Any:
        """The sums of four vectors, as a vector of four."""
        front, back = self.pairs(first, second), self.pairs(third, fourth)
        if self.bits == 32:
            return self.folded(self.pairs(front, back), 4)
        return self.shuffle(self.folded(front, 2), self.folded(back, 2), [0, 1, 2, 3])


def _place(value: int) -> Any:
    return ir.Constant(_INDEX, value)


def _index(builder: Any, indices: Any, kind: Any, k: Any) -> Any:
    """``indices[k]``, as wide as an address."""
    index = builder.load(builder.gep(indices, [k]))
    return builder.sext(index, _INDEX) if kind.dtype.signed else builder.zext(index, _INDEX)


def _offset(builder: Any, indices: Any, kind: Any, offsets: Any, k: Any) -> Any:
    """``offsets[indices[k]]``, or ``offsets * indices[k]`` where that is a number."""
    index = _index(builder, indices, kind, k)
    return builder.load(builder.gep(offsets, [index])) if offsets.type.is_pointer else builder.mul(index, offsets)


def _loop(builder: Any, first: Any, last: Any, step: int, state: list[Any], body: Any) -> tuple[Any, list[Any]]:
    """``while first + step <= last: state = body(first, state); first += step``; the final ``first`` and state."""
    test, inside, after = (builder.append_basic_block(name) for name in ("test", "inside", "after"))
    before = builder.block
    builder.branch(test)
    builder.position_at_end(test)
    k = builder.phi(_INDEX)
    k.add_incoming(first, before)
    carried = [builder.phi(value.type) for value in state]
    for phi, value in zip(carried, state, strict=True):
        phi.add_incoming(value, before)
    following = builder.add(k, _place(step))
    builder.cbranch(builder.icmp_signed("<=", following, last), inside, after)
    builder.position_at_end(inside)
    results = body(k, carried)
    k.add_incoming(following, builder.block)
    for phi, value in zip(carried, results, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(test)
    builder.position_at_end(after)
    return k, carried


def _by_count(variant: Any, most: int = REGISTERS) -> Any:
    """Code that picks among one to ``most`` registers by the first argument."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count, *rest = arguments
        after = builder.append_basic_block("done")
        choice = builder.switch(count, after)
        for number in range(1, most + 1):
            block = builder.append_basic_block(f"registers{number}")
            choice.add_case(_place(number), block)
            builder.position_at_end(block)
            variant(builder, number, rest)
            builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return generate


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
        emit = _Emit(builder, values.dtype)
        _row(emit, number, (weight, index, indices, offset), begin, end, source, target, start, is_fresh,
             _floor(emit, is_clipped))  # fmt: skip

    return signature, _by_count(variant)


@intrinsic
def add_rows(typing, count, values, indices, pitch, begins, ends, rows, x, y, y_pitch, bias, fresh, clip):
    """``add_row`` for rows from 0 to ``rows``, of features and results ``pitch`` and ``y_pitch`` apart."""
    signature = types.void(
        types.int64, values, indices, types.int64, begins, begins, types.int64, values, values, types.int64, values,
        types.boolean, types.boolean,
    )  # fmt: skip

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        weight, index, apart, firsts, lasts, stop, source, target, target_pitch, starts, *flags = arguments
        emit, is_fresh = _Emit(builder, values.dtype), flags[0]
        floor = _floor(emit, flags[1])

        def one(row: Any, state: list[Any]) -> list[Any]:
            begin, end, start = (builder.load(builder.gep(base, [row])) for base in (firsts, lasts, starts))
            into = builder.gep(target, [builder.mul(row, target_pitch)])
            _row(emit, number, (weight, index, indices, apart), begin, end, source, into, start, is_fresh, floor)
            return state

        _loop(builder, _place(0), stop, 1, [], one)

    return signature, _by_count(variant, tile_registers(vector_bytes()))


def _floor(emit: _Emit, is_clipped: Any) -> Any:
    return emit.splat(emit.b.select(is_clipped, ir.Constant(emit.scalar, 0.0), ir.Constant(emit.scalar, -math.inf)))


def _row(
    emit: _Emit, number: int, weights: tuple[Any, ...], begin: Any, end: Any, source: Any, target: Any, start: Any,
    is_fresh: Any, floor: Any,
) -> None:  # fmt: skip
    """The sum of ``add_row`` in ``number`` registers, or a few times as many where that hides the additions' delay."""
    weight, index, kind, offset = weights
    builder = emit.b
    places = [_place(i * emit.lanes) for i in range(number)]
    unroll = max(1, REGISTERS // number)

    def one(k: Any, sums: list[Any]) -> list[Any]:
        at = _offset(builder, index, kind, offset, k)
        factor = emit.splat(builder.load(builder.gep(weight, [k])))
        return [
            emit.fma(factor, emit.load(source, builder.add(at, place)), total)
            for place, total in zip(places, sums, strict=True)
        ]

    def several(k: Any, sums: list[Any]) -> list[Any]:
        groups = [sums[i * number : (i + 1) * number] for i in range(unroll)]
        return [v for i, group in enumerate(groups) for v in one(builder.add(k, _place(i)), group)]

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
    k, sums = _loop(builder, begin, end, unroll, sums + [emit.zero] * number * (unroll - 1), several)
    for i in range(1, unroll):
        sums[:number] = [builder.fadd(a, b) for a, b in zip(sums[:number], sums[i * number :], strict=False)]
    if unroll > 1:
        _, sums = _loop(builder, k, end, 1, sums[:number], one)
    for place, total in zip(places, sums, strict=False):
        emit.store(builder.select(builder.fcmp_ordered("<", total, floor), floor, total), target, place)


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
        wants_both, weight, index, offset, begin, end, *rest = arguments
        emit = _Emit(builder, values.dtype)
        with builder.if_else(wants_both) as branches:
            for branch, wants_input in zip(branches, (True, False), strict=True):
                with branch:
                    _column(emit, number, wants_input, (weight, index, indices, offset), begin, end, *rest)

    return signature, _by_count(variant)


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
        target, target_pitch, gradient, is_fresh, adds = rest
        emit = _Emit(builder, values.dtype)

        def one(wants_input: bool, column: Any, state: list[Any]) -> list[Any]:
            begin, end = (builder.load(builder.gep(base, [column])) for base in (firsts, lasts))
            read, write = (
                builder.gep(base, [builder.mul(column, step)])
                for base, step in ((source, source_pitch), (target, target_pitch))
            )
            _column(emit, number, wants_input, (weight, index, indices, apart), begin, end, read, slope, write,
                    gradient, is_fresh, adds)  # fmt: skip
            return state

        with builder.if_else(wants_both) as branches:
            for branch, wants_input in zip(branches, (True, False), strict=True):
                with branch:
                    _loop(builder, _place(0), stop, 1, [], partial(one, wants_input))

    return signature, _by_count(variant, tile_registers(vector_bytes()))


def _column(
    emit: _Emit, number: int, wants_input: bool, weights: tuple[Any, ...], begin: Any, end: Any, source: Any,
    slope: Any, target: Any, gradient: Any, is_fresh: Any, adds: Any,
) -> None:  # fmt: skip
    """What ``column_gradients`` does for tiles of ``number`` registers."""
    weight, index, kind, offset = weights
    builder = emit.b
    places = [_place(i * emit.lanes) for i in range(number)]
    inputs = [emit.load(source, place) for place in places]

    def one(k: Any, sums: list[Any]) -> tuple[list[Any], Any]:
        at = _offset(builder, index, kind, offset, k)
        factor = emit.splat(builder.load(builder.gep(weight, [k]))) if wants_input else None
        total, following = emit.zero, []
        for i, place in enumerate(places):
            g = emit.load(slope, builder.add(at, place))
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
            sums, part = one(builder.add(k, _place(i)), sums)
            parts.append(part)
        write(k, emit.totals(*parts))
        return sums

    def single(k: Any, sums: list[Any]) -> list[Any]:
        sums, part = one(k, sums)
        write(k, emit.total(part))
        return sums

    sums = [builder.select(is_fresh, emit.zero, emit.load(target, place)) for place in places if wants_input]
    k, sums = _loop(builder, begin, end, 4, sums, four)
    _, sums = _loop(builder, k, end, 1, sums, single)
    for place, total in zip(places, sums, strict=False):
        emit.store(total, target, place)


@intrinsic
def transpose(typing, source, source_pitch, target, target_pitch):
    """``target[j * target_pitch + i] = source[i * source_pitch + j]`` for i and j below the number of lanes."""
    signature = types.void(source, types.int64, source, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read, read_pitch, write, write_pitch = arguments
        emit = _Emit(builder, source.dtype)
        rows = [emit.load(read, builder.mul(read_pitch, _place(i))) for i in range(emit.lanes)]
        for i, row in enumerate(_transposed(emit, rows)):
            emit.store(row, write, builder.mul(write_pitch, _place(i)))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def gated_transpose(typing, source, source_pitch, gate, gate_pitch, target, target_pitch):
    """As ``transpose``, zero where ``gate[i * gate_pitch + j]`` is not above zero."""
    signature = types.void(source, types.int64, source, types.int64, source, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read, read_pitch, door, door_pitch, write, write_pitch = arguments
        emit = _Emit(builder, source.dtype)
        rows = []
        for i in range(emit.lanes):
            row = emit.load(read, builder.mul(read_pitch, _place(i)))
            is_open = builder.fcmp_ordered(">", emit.load(door, builder.mul(door_pitch, _place(i))), emit.zero)
            rows.append(builder.select(is_open, row, emit.zero))
        for i, row in enumerate(_transposed(emit, rows)):
            emit.store(row, write, builder.mul(write_pitch, _place(i)))
        return context.get_dummy_value()

    return signature, generate


def _transposed(emit: _Emit, rows: list[Any]) -> list[Any]:
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
def close(typing, values, gate):
    """Sets each of one register of ``values`` to zero where ``gate`` is not above zero."""
    signature = types.void(values, values)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, door = arguments
        emit = _Emit(builder, values.dtype)
        is_open = builder.fcmp_ordered(">", emit.load(door, _place(0)), emit.zero)
        emit.store(builder.select(is_open, emit.load(target, _place(0)), emit.zero), target, _place(0))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def gated_copy(typing, count, gated, source, gate, target, total):
    """``target[:T] = source[:T]``, if ``gated`` zero where ``gate[:T]`` is not above zero; ``total[0]`` is the sum."""
    signature = types.void(types.int64, types.boolean, source, source, source, source)

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        is_gated, read, door, write, into = arguments
        emit = _Emit(builder, source.dtype)
        places = [_place(i * emit.lanes) for i in range(number)]
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
        emit.store(emit.total(builder.fadd(*parts)), into, _place(0))

    return signature, _by_count(variant)


@intrinsic
def copy(typing, count, source, target):
    """``target[:T] = source[:T]``."""
    signature = types.void(types.int64, source, source)

    def variant(builder: Any, number: int, arguments: list[Any]) -> None:
        emit = _Emit(builder, source.dtype)
        places = [_place(i * emit.lanes) for i in range(number)]
        for place, value in zip(places, [emit.load(arguments[0], place) for place in places], strict=True):
            emit.store(value, arguments[1], place)

    return signature, _by_count(variant, tile_registers(vector_bytes()))


@intrinsic
def raise_to(typing, values, floor):
    """Raises one register of ``values`` to ``floor`` where it is below."""
    signature = types.void(values, values)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, source = arguments
        emit = _Emit(builder, values.dtype)
        old, new = emit.load(target, _place(0)), emit.load(source, _place(0))
        emit.store(builder.select(builder.fcmp_ordered("<", old, new), new, old), target, _place(0))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def exponentials(typing, source, top, target, total):
    """``target = exp(source - top)`` of one register, added to ``total``; ``source`` is nowhere above ``top``."""
    signature = types.void(source, source, source, source)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read, shift, write, sums = arguments
        emit = _Emit(builder, source.dtype)
        place = _place(0)
        result = emit.exp(builder.fsub(emit.load(read, place), emit.load(shift, place)))
        emit.store(result, write, place)
        emit.store(builder.fadd(emit.load(sums, place), result), sums, place)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def lanes_of(typing, base):
    """Elements of ``base`` in one register."""
    signature = types.int64(base)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _place(_Emit(builder, base.dtype).lanes)

    return signature, generate


@intrinsic
def zero(typing, base):
    """Zero of the type that ``base`` points to."""
    signature = base.dtype(base)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_Emit(builder, base.dtype).scalar, 0.0)

    return signature, generate


@intrinsic
def claim(typing, counter):
    """Adds one to ``counter[0]`` and returns what it was, as one step that no other thread can divide."""
    signature = types.int64(counter)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", arguments[0], _place(1), "monotonic")

    return signature, generate


@intrinsic
def finish(typing, counter):
    """Adds one to ``counter[0]``, so that who then sees it there sees all that was written before."""
    signature = types.int64(counter)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", arguments[0], _place(1), "release")

    return signature, generate


@intrinsic
def finished(typing, counter):
    """``counter[0]``, and with it all that was written before it was counted."""
    signature = types.int64(counter)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(arguments[0], "acquire", 8)

    return signature, generate


@intrinsic
def room(typing, like):
    """Memory of the calling function for ``LINES`` lines of a tile, the widest there is."""
    signature = like(like)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit = _Emit(builder, like.dtype)
        place = cgutils.alloca_once(builder, ir.ArrayType(emit.vector, LINES * REGISTERS))
        return builder.bitcast(place, emit.scalar.as_pointer())

    return signature, generate


@intrinsic
def shifted(typing, base, distance):
    """``base + distance`` elements on."""
    signature = base(base, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return signature, generate


@intrinsic
def alike(typing, base, address):
    """``address`` as a pointer to what ``base`` points to."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[1], context.get_value_type(base))

    return base(base, types.int64), generate


def pointer(element: Any) -> Any:
    """An intrinsic that reads an address as a pointer to ``element``."""
    kind = types.CPointer(element)

    @intrinsic
    def convert(typing, address):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(kind))

        return kind(types.int64), generate

    return convert
