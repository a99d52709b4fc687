"""The two inner loops of sparse execution, written as vector instructions.

Numba's own vectoriser spills the accumulators of these loops, so they are emitted here as LLVM code with one
register an accumulator. Both walk over the stored weights of one row (or column) of a weight matrix, against a *tile*:
the ``T = count * LANES`` neighbouring examples of a batch that one pass keeps in registers. A tile of activations holds
the ``T`` values of a feature side by side, so that a weight is read once and used ``T`` times.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from widthwise.sparse._processor import REGISTERS, vector_bytes

__all__ = [
    "add_row",
    "alike",
    "claim",
    "close",
    "column_gradients",
    "exponentials",
    "gated_copy",
    "lanes_of",
    "pointer",
    "raise_to",
    "shifted",
    "transpose",
    "zero",
]

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
    """``offsets[indices[k]]``."""
    return builder.load(builder.gep(offsets, [_index(builder, indices, kind, k)]))


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


def _by_count(variant: Any) -> Any:
    """Code that picks among one to ``REGISTERS`` registers by the first argument."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count, *rest = arguments
        after = builder.append_basic_block("done")
        choice = builder.switch(count, after)
        for number in range(1, REGISTERS + 1):
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
        places = [_place(i * emit.lanes) for i in range(number)]
        unroll = max(1, REGISTERS // number)

        def one(k: Any, sums: list[Any]) -> list[Any]:
            at = _offset(builder, index, indices, offset, k)
            factor = emit.splat(builder.load(builder.gep(weight, [k])))
            return [
                emit.fma(factor, emit.load(source, builder.add(at, place)), total)
                for place, total in zip(places, sums, strict=True)
            ]

        def several(k: Any, sums: list[Any]) -> list[Any]:
            groups = [sums[i * number : (i + 1) * number] for i in range(unroll)]
            return [v for i, group in enumerate(groups) for v in one(builder.add(k, _place(i)), group)]

        opening = [emit.splat(start) for _ in places]
        with builder.if_else(is_fresh) as (then, other):
            with then:
                new_end = builder.block
            with other:
                old = [emit.load(target, place) for place in places]
                old_end = builder.block
        sums = []
        for fresh_value, old_value in zip(opening, old, strict=True):
            phi = builder.phi(emit.vector)
            phi.add_incoming(fresh_value, new_end)
            phi.add_incoming(old_value, old_end)
            sums.append(phi)
        k, sums = _loop(builder, begin, end, unroll, sums + [emit.zero] * number * (unroll - 1), several)
        for i in range(1, unroll):
            sums[:number] = [builder.fadd(a, b) for a, b in zip(sums[:number], sums[i * number :], strict=False)]
        if unroll > 1:
            _, sums = _loop(builder, k, end, 1, sums[:number], one)
        for place, total in zip(places, sums, strict=False):
            clipped = builder.select(builder.fcmp_ordered("<", total, emit.zero), emit.zero, total)
            emit.store(builder.select(is_clipped, clipped, total), target, place)

    return signature, _by_count(variant)


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
        wants_both, *rest = arguments
        with builder.if_else(wants_both) as (then, other):
            with then:
                gradients(builder, number, True, rest)
            with other:
                gradients(builder, number, False, rest)

    def gradients(builder: Any, number: int, wants_input: bool, arguments: list[Any]) -> None:
        weight, index, offset, begin, end, source, slope, target, gradient, is_fresh, adds = arguments
        emit = _Emit(builder, values.dtype)
        places = [_place(i * emit.lanes) for i in range(number)]

        def one(k: Any, sums: list[Any]) -> tuple[list[Any], Any]:
            at = _offset(builder, index, indices, offset, k)
            factor = emit.splat(builder.load(builder.gep(weight, [k]))) if wants_input else None
            parts, following = [emit.zero, emit.zero], []
            for i, place in enumerate(places):
                g = emit.load(slope, builder.add(at, place))
                parts[i % 2] = emit.fma(emit.load(source, place), g, parts[i % 2])
                if wants_input:
                    following.append(emit.fma(factor, g, sums[i]))
            return following, builder.fadd(*parts) if number > 1 else parts[0]

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

    return signature, _by_count(variant)


@intrinsic
def transpose(typing, source, source_pitch, target, target_pitch):
    """``target[j * target_pitch + i] = source[i * source_pitch + j]`` for i and j below the number of lanes."""
    signature = types.void(source, types.int64, source, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read, read_pitch, write, write_pitch = arguments
        emit = _Emit(builder, source.dtype)
        n = emit.lanes
        rows = [emit.load(read, builder.mul(read_pitch, _place(i))) for i in range(n)]
        low = [lane // 2 + n * (lane % 2) for lane in range(n)]
        for _ in range(n.bit_length() - 1):  # each round interleaves the two halves of the list
            pairs = list(zip(rows[: n // 2], rows[n // 2 :], strict=True))
            rows = [emit.shuffle(*pair, [lane + part for lane in low]) for pair in pairs for part in (0, n // 2)]
        for i, row in enumerate(rows):
            emit.store(row, write, builder.mul(write_pitch, _place(i)))
        return context.get_dummy_value()

    return signature, generate


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
