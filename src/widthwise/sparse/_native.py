"""The kernels of sparse execution, compiled for this machine on first use and kept on disk after.

Each is a C function of one argument, the address of a table of 64-bit integers (pointers, sizes and flags), so that any
pool of threads can run it. The threads of one call claim pieces of the work in turn from the counter that stands first
in the table. No two pieces write to the same place and none adds to another's sum, so the results don't depend on the
number of threads.

The weights lie in compressed rows (forward) or columns (backward), cut into blocks of columns (rows) so that what a
block reads of a tile stays in the cache next to the core: ``starts[block * stride + row]`` is where the weights of a
row in a block begin, and ``starts[(block + 1) * stride + row]`` where they end.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import cfunc, njit, types

from widthwise.sparse import _descent, _few, _linear, _rows, _vector
from widthwise.sparse._vector import (
    add_row,
    alike,
    claim,
    column_gradients,
    gated_copy,
    lanes_of,
    pointer,
    shifted,
    transpose,
)

__all__ = ["compiled", "direct"]

_f32, _f64 = pointer(types.float32), pointer(types.float64)
_u16, _i32, _i64 = pointer(types.uint16), pointer(types.int32), pointer(types.int64)


@njit
def _add_rows(values, indices, a):
    offsets, starts, stride, blocks = _i64(a[3]), _i64(a[4]), a[5], a[6]
    bounds, chunks, tiles, counts = _i64(a[7]), a[8], a[9], _i64(a[10])
    x, x_base, y, y_base, pitch = alike(values, a[11]), _i64(a[12]), alike(values, a[13]), _i64(a[14]), a[15]
    bias, clip = alike(values, a[16]), a[17] != 0
    piece = claim(a)
    while piece < tiles * chunks:
        tile, chunk = piece // chunks, piece % chunks
        source, target = shifted(x, x_base[tile]), shifted(y, y_base[tile])
        for block in range(blocks):
            for row in range(bounds[chunk], bounds[chunk + 1]):
                first, last = starts[block * stride + row], starts[(block + 1) * stride + row]
                into, cut = shifted(target, row * pitch), clip and block == blocks - 1
                add_row(counts[tile], values, indices, offsets, first, last, source, into, bias[row], block == 0, cut)
        piece = claim(a)


@njit
def _column_gradients(values, indices, a):
    offsets, starts, stride, blocks = _i64(a[3]), _i64(a[4]), a[5], a[6]
    bounds, chunks, tiles, counts = _i64(a[7]), a[8], a[9], _i64(a[10])
    x, x_base, x_pitch, dy, dy_base = alike(values, a[11]), _i64(a[12]), a[13], alike(values, a[14]), _i64(a[15])
    dx, dx_base, dx_pitch, dw, both = alike(values, a[16]), _i64(a[17]), a[18], alike(values, a[19]), a[16] != 0
    chunk = claim(a)
    while chunk < chunks:
        for tile in range(tiles):
            slope = shifted(dy, dy_base[tile])
            for block in range(blocks):
                for column in range(bounds[chunk], bounds[chunk + 1]):
                    first, last = starts[block * stride + column], starts[(block + 1) * stride + column]
                    source = shifted(x, x_base[tile] + column * x_pitch)
                    into = shifted(dx, dx_base[tile] + column * dx_pitch)
                    column_gradients(
                        counts[tile], both, values, indices, offsets, first, last, source, slope, into, dw,
                        block == 0, tile > 0,
                    )  # fmt: skip
        chunk = claim(a)


@njit
def _turn(source, source_pitch, target, target_pitch, height, width):
    """``target[j * target_pitch + i] = source[i * source_pitch + j]`` for i below ``height`` and j below ``width``."""
    step = lanes_of(source)
    for pair in range(0, height, 2 * step):  # two blocks at a time fill a line of the cache
        for j in range(0, width, step):
            wide = min(step, width - j)
            for i in range(pair, min(pair + 2 * step, height), step):
                tall = min(step, height - i)
                read, write = shifted(source, i * source_pitch + j), shifted(target, j * target_pitch + i)
                if tall == step and wide == step:
                    transpose(read, source_pitch, write, target_pitch)
                else:
                    for row in range(tall):
                        for column in range(wide):
                            write[column * target_pitch + row] = read[row * source_pitch + column]


@njit
def _pack(like, a):
    """Copies ``source[example, feature]`` into tiles, zero past the last example and where ``gate`` is not above 0.

    ``sums[tile, feature]`` is the sum of what is written.
    """
    source, batch, features, by_example, by_feature = alike(like, a[1]), a[2], a[3], a[4], a[5]
    target, size, tiles, chunks = alike(like, a[6]), a[7], a[8], a[9]
    gate, gated, gate_pitch, sums, registers = alike(like, a[10]), a[10] != 0, a[11], alike(like, a[12]), a[13]
    piece = claim(a)
    while piece < tiles * chunks:
        tile, chunk = piece // chunks, piece % chunks
        first, last = features * chunk // chunks, features * (chunk + 1) // chunks
        filled = min(size, batch - tile * size)
        read = shifted(source, tile * size * by_example + first * by_feature)
        write = shifted(target, (tile * features + first) * size)
        door = shifted(gate, first * gate_pitch + tile * size)
        in_place = by_example == 1 and by_feature != 1 and filled == size
        if by_feature == 1:
            _turn(read, by_example, write, size, filled, last - first)
        elif not in_place:
            for feature in range(last - first):
                for example in range(filled):
                    write[feature * size + example] = read[feature * by_feature + example * by_example]
        for feature in range(last - first):
            line = shifted(write, feature * size)
            for example in range(filled, size):
                line[example] = 0
            like_it = shifted(read, feature * by_feature) if in_place else line
            total = shifted(sums, tile * features + first + feature)
            gated_copy(registers, gated, like_it, shifted(door, feature * gate_pitch), line, total)
        piece = claim(a)


@njit
def _images(like, a):
    """Cuts the channels of a batch of pictures into zero-padded images, see :mod:`widthwise.sparse._images`.

    Line ``j`` of an image is the picture's line ``line_of[phase, j]``, or zero where that is negative; of its columns
    the ``count`` from ``start`` on are the picture's from ``origin`` on, ``spans[phase] = start, count, origin``.
    """
    source, by_example, by_channel, by_line, by_column = alike(like, a[1]), a[2], a[3], a[4], a[5]
    batch, channels, target, pitch, plane = a[6], a[7], alike(like, a[8]), a[9], a[10]
    lines, phases, across, line_of, spans = a[11], a[12], a[13], _i64(a[14]), _i64(a[15])
    step, gate, gated = a[16], alike(like, a[17]), a[17] != 0
    gate_plane, gate_pitch, gate_step = a[18], a[19], a[20]
    channel = claim(a)
    while channel < channels:
        for image in range(phases * across):
            phase, start = image // across, batch * spans[3 * (image % across)]
            count, origin = spans[3 * (image % across) + 1], spans[3 * (image % across) + 2]
            into = shifted(target, (channel * phases * across + image) * plane)
            for j in range(lines):
                line, write = line_of[phase * lines + j], shifted(into, j * pitch)
                filled = batch * count if line >= 0 else 0
                for e in range(start if filled else 0):
                    write[e] = 0
                for e in range(start + filled if filled else 0, pitch):
                    write[e] = 0
                if filled:
                    read = shifted(source, channel * by_channel + line * by_line + origin * by_column)
                    write = shifted(write, start)
                    _lay(read, by_example, step * by_column, write, batch, count)
                    if gated:
                        door = shifted(gate, channel * gate_plane + line * gate_pitch + origin * gate_step)
                        for column in range(count):
                            for example in range(batch):
                                if not door[column * gate_step + example] > 0:
                                    write[column * batch + example] = 0
            for e in range(lines * pitch, plane):
                into[e] = 0
        channel = claim(a)


@njit
def _lay(read, by_example, by_column, write, batch, count):
    """``write[column * batch + example] = read[column * by_column + example * by_example]``."""
    if (batch == 1 or by_example == 1) and by_column == batch:
        for e in range(batch * count):
            write[e] = read[e]
    elif by_example == 1:
        for column in range(count):
            for example in range(batch):
                write[column * batch + example] = read[column * by_column + example]
    elif by_column == 1:
        _turn(read, by_example, write, batch, batch, count)
    else:
        for column in range(count):
            for example in range(batch):
                write[column * batch + example] = read[column * by_column + example * by_example]


@njit
def _turned(like, a):
    """``target[j, i] = source[i, j]``, cut into chunks of columns."""
    source, source_pitch, height, width = alike(like, a[1]), a[2], a[3], a[4]
    target, target_pitch, chunks = alike(like, a[5]), a[6], a[7]
    chunk = claim(a)
    while chunk < chunks:
        first, last = width * chunk // chunks, width * (chunk + 1) // chunks
        write = shifted(target, first * target_pitch)
        _turn(shifted(source, first), source_pitch, write, target_pitch, height, last - first)
        chunk = claim(a)


@njit
def _gather(source, order, target, count):
    for k in range(count):
        target[k] = source[order[k]]


@njit
def _scatter(source, order, target, count):
    for k in range(count):
        target[order[k]] = source[k]


def add_rows_f32_u16(a):
    _add_rows(_f32(a[1]), _u16(a[2]), a)


def add_rows_f32_i32(a):
    _add_rows(_f32(a[1]), _i32(a[2]), a)


def add_rows_f64_u16(a):
    _add_rows(_f64(a[1]), _u16(a[2]), a)


def add_rows_f64_i32(a):
    _add_rows(_f64(a[1]), _i32(a[2]), a)


def column_gradients_f32_u16(a):
    _column_gradients(_f32(a[1]), _u16(a[2]), a)


def column_gradients_f32_i32(a):
    _column_gradients(_f32(a[1]), _i32(a[2]), a)


def column_gradients_f64_u16(a):
    _column_gradients(_f64(a[1]), _u16(a[2]), a)


def column_gradients_f64_i32(a):
    _column_gradients(_f64(a[1]), _i32(a[2]), a)


def pack_f32(a):
    _pack(_f32(a[1]), a)


def pack_f64(a):
    _pack(_f64(a[1]), a)


def images_f32(a):
    _images(_f32(a[1]), a)


def images_f64(a):
    _images(_f64(a[1]), a)


def turn_f32(a):
    _turned(_f32(a[1]), a)


def turn_f64(a):
    _turned(_f64(a[1]), a)


def gather_f32(a):
    _gather(_f32(a[1]), _i32(a[2]), _f32(a[3]), a[4])


def gather_f64(a):
    _gather(_f64(a[1]), _i32(a[2]), _f64(a[3]), a[4])


def scatter_f32(a):
    _scatter(_f32(a[1]), _i32(a[2]), _f32(a[3]), a[4])


def scatter_f64(a):
    _scatter(_f64(a[1]), _i32(a[2]), _f64(a[3]), a[4])


def compiled(name: str) -> int:
    """The address of the kernel ``name``, compiled (or read from the cache on disk) on first use."""
    kernel = _built(name, lambda function, keep: cfunc(types.void(types.CPointer(types.int64)), cache=keep)(function))
    return int(kernel.address)


def direct(name: str) -> Callable[..., None]:
    """The kernel ``name`` of whole numbers as a function for Python to call, compiled likewise."""

    def build(function: Callable[..., None], keep: bool) -> Any:
        signature = types.void(*[types.int64] * len(inspect.signature(function).parameters))
        return njit(signature, nogil=True, cache=keep)(function)

    kernel: Callable[..., None] = _built(name, build)
    return kernel


def _built(name: str, build: Callable[[Any, bool], Any]) -> Any:
    if name not in _KEPT:
        function = (
            globals().get(name) or getattr(_few, name, None) or getattr(_linear, name, None) or getattr(_descent, name)
        )
        function.__qualname__ = f"{name}_{_SOURCES}"
        try:
            _KEPT[name] = build(function, True)
        except RuntimeError:  # no folder to write to: compile for this process alone
            _KEPT[name] = build(function, False)
    return _KEPT[name]


_KEPT: dict[str, Any] = {}
# Numba's cache sees a change of one file alone; the loops it compiles stand in several.
_FILES = (__file__, _descent.__file__, _few.__file__, _linear.__file__, _rows.__file__, _vector.__file__)
_SOURCES = hashlib.sha256(b"".join(Path(file).read_bytes() for file in _FILES)).hexdigest()[:12]
