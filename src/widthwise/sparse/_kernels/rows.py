"""Rows of a sparse matrix times one example, or times a few that lie side by side, written as vector instructions.

With one example a register holds neighbouring weights of a row, and the features that they multiply are put beside each
other one by one, faster here than by the processor's own instruction for it. Rows are short, and of any length: loops
that end as their rows do are what the processor foretells badly, so what is past a row's end is masked instead. With a
few examples a register holds them, at one feature. All registers have 32 bytes or less, on wider machines too.

The sum of one row is always the same: products one lane apart, each lane summed in order, and then the lanes by halves.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from widthwise.sparse._kernels.emit import ADDRESS, LANE, Emit, i64, index_at, loop

__all__ = ["FEW", "LONGEST", "few_products", "four_rows", "four_sums", "lanes_of_row", "products", "room"]

FEW = 8  # examples that may lie side by side, or half as many
LONGEST = 128  # products of a row that masks are kept for
_BYTES = 32
_CHAINS = 4  # of additions that wait for each other


@intrinsic
def lanes_of_row(typing, base):
    """Elements of ``base`` in one register."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return i64(Emit(builder, base.dtype, _BYTES).lanes)

    return types.int64(base), generate


@intrinsic(prefer_literal=True)
def room(typing, base, count):
    """Room on the stack of the calling function for so many elements of ``base``; ``count`` is a literal."""
    if not isinstance(count, types.IntegerLiteral):
        raise TypeError("count: is not known where this is compiled")
    size = count.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = cgutils.alloca_once(builder, ir.ArrayType(Emit(builder, base.dtype).scalar, size))
        return builder.gep(place, [i64(0), i64(0)])

    return base(base, count), generate


@intrinsic
def products(typing, values, indices, first, last, x, result):
    """``result[k - first] = values[k] * x[indices[k]]`` for k in [first, last)."""
    signature = types.void(values, indices, types.int64, types.int64, values, values)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weight, index, begin, end, source, target = arguments
        emit = Emit(builder, values.dtype, _BYTES)

        def two(k: Any, state: list[Any]) -> list[Any]:
            for i in range(2):
                at = builder.add(k, i64(i * emit.lanes))
                product = builder.fmul(emit.load(weight, at), _features(emit, index, indices, source, at))
                emit.store(product, target, builder.sub(at, begin))
            return state

        def single(k: Any, state: list[Any]) -> list[Any]:
            feature = builder.load(builder.gep(source, [index_at(builder, index, indices, k)]))
            product = builder.fmul(builder.load(builder.gep(weight, [k])), feature)
            builder.store(product, builder.gep(target, [builder.sub(k, begin)]))
            return state

        k, _ = loop(builder, begin, end, 2 * emit.lanes, [], two)
        loop(builder, k, end, 1, [], single)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def four_sums(typing, products, starts, length, row, first, steps, result):
    """``result[i]`` is the sum of the products of row ``row + i``, of which no more than ``steps`` registers are full.

    Those of row ``r`` stand in ``products`` from ``starts[r] - first`` to ``starts[r + length] - first``.
    """
    signature = types.void(products, starts, types.int64, types.int64, types.int64, types.int64, products)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, begins, distance, number, origin, count, target = arguments
        emit = Emit(builder, products.dtype, _BYTES)
        rows = [_ends(builder, begins, distance, builder.add(number, i64(i))) for i in range(4)]
        places = [builder.sub(begin, origin) for begin, _ in rows]
        masks = [_masks(emit, builder.sub(end, begin)) for begin, end in rows]

        def step(k: Any, sums: list[Any]) -> list[Any]:
            return [
                builder.fadd(total, _kept(emit, emit.load(source, builder.add(place, k)), mask, k))
                for total, place, mask in zip(sums, places, masks, strict=True)
            ]

        size = builder.mul(count, i64(emit.lanes))
        _, sums = loop(builder, i64(0), size, emit.lanes, [emit.zero] * 4, step)
        emit.store(emit.totals(*sums), target, i64(0))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def four_rows(typing, values, indices, starts, length, row, x, result):
    """``result[i]`` is row ``row + i`` times ``x``, reading up to a register's weights past a row's end."""
    signature = types.void(values, indices, starts, types.int64, types.int64, values, values)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weight, index, begins, distance, number, source, target = arguments
        emit = Emit(builder, values.dtype, _BYTES)

        def product(k: Any, factors: Any) -> Any:
            return builder.fmul(factors, _features(emit, index, indices, source, k))

        def step(k: Any, sums: list[Any]) -> list[Any]:
            return [builder.fadd(sums[0], product(k, emit.load(weight, k)))]

        totals = []
        for i in range(4):
            begin, end = _ends(builder, begins, distance, builder.add(number, i64(i)))
            k, sums = loop(builder, begin, end, emit.lanes, [emit.zero], step)
            last = _kept(emit, product(k, emit.load(weight, k)), _masks(emit, builder.sub(end, k)), i64(0))
            totals.append(builder.fadd(sums[0], last))
        emit.store(emit.totals(*totals), target, i64(0))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def few_products(typing, wide, values, indices, first, last, x, bias, clip):
    """The sum of ``bias`` and ``values[k] * x[FEW * indices[k]:][:FEW]`` for k in [first, last), in a place of its own.

    That of half as many examples unless ``wide``. With ``clip`` what comes out below zero is set to zero. The place is
    the calling function's, and holds the sum until the next call.
    """
    signature = values(types.boolean, values, indices, types.int64, types.int64, values, values.dtype, types.boolean)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = cgutils.alloca_once(builder, ir.ArrayType(Emit(builder, values.dtype).scalar, FEW))
        place = builder.gep(place, [i64(0), i64(0)])
        with builder.if_else(arguments[0]) as (then, other):
            with then:
                add(builder, FEW, place, arguments[1:])
            with other:
                add(builder, FEW // 2, place, arguments[1:])
        return place

    def add(builder: Any, lanes: int, target: Any, arguments: Any) -> None:
        weight, index, begin, end, source, start, is_clipped = arguments
        emit = Emit(builder, values.dtype, lanes * values.dtype.bitwidth // 8)

        def one(k: Any, sums: list[Any]) -> list[Any]:
            at = builder.mul(index_at(builder, index, indices, k), i64(lanes))
            factor = emit.splat(builder.load(builder.gep(weight, [k])))
            return [emit.fma(factor, emit.load(source, at), sums[0])]

        def several(k: Any, sums: list[Any]) -> list[Any]:
            return [one(builder.add(k, i64(i)), [total])[0] for i, total in enumerate(sums)]

        k, sums = loop(builder, begin, end, _CHAINS, [emit.splat(start), *[emit.zero] * (_CHAINS - 1)], several)
        while len(sums) > 1:
            sums = [builder.fadd(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
        total = loop(builder, k, end, 1, sums, one)[1][0]
        clipped = builder.select(builder.fcmp_ordered("<", total, emit.zero), emit.zero, total)
        emit.store(builder.select(is_clipped, clipped, total), target, i64(0))

    return signature, generate


def _ends(builder: Any, starts: Any, length: Any, row: Any) -> tuple[Any, Any]:
    """``starts[row]`` and ``starts[row + length]``."""
    begin = builder.load(builder.gep(starts, [row]))
    return begin, builder.load(builder.gep(starts, [builder.add(row, length)]))


def _features(emit: Emit, indices: Any, kind: Any, x: Any, k: Any) -> Any:
    """``x`` at the next register's number of indices from ``k`` on, which are read several at a time."""
    builder, bits = emit.b, kind.dtype.bitwidth
    features = ir.Constant(emit.vector, ir.Undefined)
    for lane in range(emit.lanes):
        within = lane % (64 // bits)
        if within == 0:
            place = builder.bitcast(builder.gep(indices, [builder.add(k, i64(lane))]), ADDRESS.as_pointer())
            together = builder.load(place, align=bits // 8)
        part = builder.trunc(builder.lshr(together, i64(within * bits)), ir.IntType(bits))
        at = builder.zext(part, ADDRESS)
        features = builder.insert_element(features, builder.load(builder.gep(x, [at])), ir.Constant(LANE, lane))
    return features


def _masks(emit: Emit, count: Any) -> Any:
    """Where the masks of a row of ``count`` elements start."""
    builder, element = emit.b, ir.IntType(emit.bits)
    kind = ir.ArrayType(element, 2 * LONGEST + emit.lanes)
    name = f"widthwise_masks_{emit.bits}"
    table = builder.module.globals.get(name)
    if table is None:
        table = cgutils.add_global_variable(builder.module, kind, name)
        table.linkage, table.global_constant = "internal", True
        table.initializer = ir.Constant(kind, [-1] * LONGEST + [0] * (LONGEST + emit.lanes))
    return builder.gep(table, [i64(0), builder.sub(i64(LONGEST), count)])


def _kept(emit: Emit, vector: Any, masks: Any, k: Any) -> Any:
    """``vector`` with zeros in the lanes that are past the row's end, ``k`` elements from its start."""
    builder = emit.b
    whole = ir.VectorType(ir.IntType(emit.bits), emit.lanes)
    mask = builder.load(builder.bitcast(builder.gep(masks, [k]), whole.as_pointer()), align=emit.bits // 8)
    return builder.bitcast(builder.and_(builder.bitcast(vector, whole), mask), emit.vector)
