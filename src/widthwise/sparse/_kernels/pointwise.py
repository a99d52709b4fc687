"""Functions of one register of numbers."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from widthwise.sparse._kernels.emit import Emit, i64

__all__ = ["close", "exponentials", "raise_to"]


@intrinsic
def close(typing, values, gate):
    """Sets each of one register of ``values`` to zero where ``gate`` is not above zero."""
    signature = types.void(values, values)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, door = arguments
        emit = Emit(builder, values.dtype)
        is_open = builder.fcmp_ordered(">", emit.load(door, i64(0)), emit.zero)
        emit.store(builder.select(is_open, emit.load(target, i64(0)), emit.zero), target, i64(0))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def raise_to(typing, values, floor):
    """Raises one register of ``values`` to ``floor`` where it is below."""
    signature = types.void(values, values)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, source = arguments
        emit = Emit(builder, values.dtype)
        old, new = emit.load(target, i64(0)), emit.load(source, i64(0))
        emit.store(builder.select(builder.fcmp_ordered("<", old, new), new, old), target, i64(0))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def exponentials(typing, source, top, target, total):
    """``target = exp(source - top)`` of one register, added to ``total``; ``source`` is nowhere above ``top``."""
    signature = types.void(source, source, source, source)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read, shift, write, sums = arguments
        emit = Emit(builder, source.dtype)
        place = i64(0)
        result = emit.exp(builder.fsub(emit.load(read, place), emit.load(shift, place)))
        emit.store(result, write, place)
        emit.store(builder.fadd(emit.load(sums, place), result), sums, place)
        return context.get_dummy_value()

    return signature, generate
