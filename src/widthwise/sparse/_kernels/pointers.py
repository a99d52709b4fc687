"""Addresses of numbers, and how they are typed."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from widthwise.sparse._kernels.emit import ADDRESS, Emit, i64
from widthwise.sparse._processor import REGISTERS, vector_bytes

__all__ = ["LINES", "alike", "inner", "integers", "lanes_of", "pointer", "room", "shifted", "zero"]

inner = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # of what only kernels call; it compiles faster
LINES = 128  # of a tile, that are turned together: many, lest examples a power of two apart share a place in the cache


@intrinsic
def lanes_of(typing, base):
    """Elements of ``base`` in one register."""
    signature = types.int64(base)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return i64(Emit(builder, base.dtype).lanes)

    return signature, generate


@intrinsic
def zero(typing, base):
    """Zero of the type that ``base`` points to."""
    signature = base.dtype(base)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(Emit(builder, base.dtype).scalar, 0.0)

    return signature, generate


@intrinsic
def room(typing, like):
    """Memory of the calling function for ``LINES`` lines of a tile, the widest there is."""
    signature = like(like)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit = Emit(builder, like.dtype)
        place = cgutils.alloca_once(builder, ir.ArrayType(emit.vector, LINES * REGISTERS))
        return builder.bitcast(place, emit.scalar.as_pointer())

    return signature, generate


@intrinsic
def integers(typing):
    """Memory of the calling function for whole numbers: one for each register of a tile, and one for all it holds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.alloca_once(builder, ADDRESS, REGISTERS * (1 + vector_bytes() // 4))

    return types.CPointer(types.int64)(), generate


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
