"""Code of LLVM, as the kernels' vector instructions are written in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from widthwise.sparse._processor import REGISTERS, vector_bytes

__all__ = ["ADDRESS", "LANE", "Emit", "by_count", "either", "i64", "index_at", "loop", "offset_at", "registers_of"]

ADDRESS, LANE = ir.IntType(64), ir.IntType(32)
_LN2 = 0.693145751953125, 1.42860682030941723e-6  # their sum; the first is short enough for exact products


class Emit:
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
        first = self.b.insert_element(blank, value, ir.Constant(LANE, 0))
        return self.b.shuffle_vector(first, blank, ir.Constant(ir.VectorType(LANE, self.lanes), [0] * self.lanes))

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
        return self.b.shuffle_vector(left, right, ir.Constant(ir.VectorType(LANE, len(lanes)), lanes))

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


def i64(value: int) -> Any:
    return ir.Constant(ADDRESS, value)


def index_at(builder: Any, indices: Any, kind: Any, k: Any) -> Any:
    """``indices[k]``, as wide as an address."""
    index = builder.load(builder.gep(indices, [k]))
    return builder.sext(index, ADDRESS) if kind.dtype.signed else builder.zext(index, ADDRESS)


def offset_at(builder: Any, indices: Any, kind: Any, offsets: Any, k: Any) -> Any:
    """``offsets[indices[k]]``, or ``offsets * indices[k]`` where that is a number, or ``indices[k]`` if it is None."""
    index = index_at(builder, indices, kind, k)
    if offsets is None:
        return index
    return builder.load(builder.gep(offsets, [index])) if offsets.type.is_pointer else builder.mul(index, offsets)


def registers_of(emit: Emit, base: Any, number: int, places: Any = None) -> list[Any]:
    """Where the registers of a tile start: side by side, or at ``places``."""
    if places is None:
        return [emit.b.gep(base, [i64(i * emit.lanes)]) for i in range(number)]
    return [emit.b.gep(base, [emit.b.load(emit.b.gep(places, [i64(i)]))]) for i in range(number)]


def loop(builder: Any, first: Any, last: Any, step: int, state: list[Any], body: Any) -> tuple[Any, list[Any]]:
    """``while first + step <= last: state = body(first, state); first += step``; the final ``first`` and state."""
    test, inside, after = (builder.append_basic_block(name) for name in ("test", "inside", "after"))
    before = builder.block
    builder.branch(test)
    builder.position_at_end(test)
    k = builder.phi(ADDRESS)
    k.add_incoming(first, before)
    carried = [builder.phi(value.type) for value in state]
    for phi, value in zip(carried, state, strict=True):
        phi.add_incoming(value, before)
    following = builder.add(k, i64(step))
    builder.cbranch(builder.icmp_signed("<=", following, last), inside, after)
    builder.position_at_end(inside)
    results = body(k, carried)
    k.add_incoming(following, builder.block)
    for phi, value in zip(carried, results, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(test)
    builder.position_at_end(after)
    return k, carried


def either(builder: Any, condition: Any, code: Callable[[bool], None]) -> None:
    """``code`` of either truth, where it holds."""
    with builder.if_else(condition) as branches:
        for branch, truth in zip(branches, (True, False), strict=True):
            with branch:
                code(truth)


def by_count(variant: Any, most: int = REGISTERS) -> Any:
    """Code that picks among one to ``most`` registers by the first argument."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count, *rest = arguments
        after = builder.append_basic_block("done")
        choice = builder.switch(count, after)
        for number in range(1, most + 1):
            block = builder.append_basic_block(f"registers{number}")
            choice.add_case(i64(number), block)
            builder.position_at_end(block)
            variant(builder, number, rest)
            builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return generate
