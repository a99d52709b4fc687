"""Kernels that lay activations and weights otherwise in memory."""

from __future__ import annotations

from numba import types

from widthwise.sparse._kernels.moves import gated_copy, transpose
from widthwise.sparse._kernels.pointers import alike, inner, lanes_of, pointer, shifted
from widthwise.sparse._kernels.turns import claim

__all__ = [
    "collect_f32",
    "collect_f64",
    "gather_f32",
    "gather_f64",
    "look_up_i32",
    "look_up_u16",
    "pack_f32",
    "pack_f64",
    "turn_f32",
    "turn_f64",
]

_f32, _f64 = pointer(types.float32), pointer(types.float64)
_u16, _i32 = pointer(types.uint16), pointer(types.int32)


@inner
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


@inner
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


@inner
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


@inner
def _gather(source, order, target, count):
    for k in range(count):
        target[k] = source[order[k]]


@inner
def _collect(change, a):
    """Adds up the changes of all groups, each in its weight's place."""
    groups, nnz, order, result = a[2], a[3], _i32(a[4]), alike(change, a[5])
    for k in range(nnz):
        total = change[k]
        for group in range(1, groups):
            total += change[group * nnz + k]
        result[order[k]] = total


@inner
def _look_up(indices, a):
    """``target[k] = table[indices[k]]``."""
    table, target = _i32(a[2]), _i32(a[3])
    for k in range(a[4]):
        target[k] = table[indices[k]]


def pack_f32(a):
    _pack(_f32(a[1]), a)


def pack_f64(a):
    _pack(_f64(a[1]), a)


def turn_f32(a):
    _turned(_f32(a[1]), a)


def turn_f64(a):
    _turned(_f64(a[1]), a)


def gather_f32(a):
    _gather(_f32(a[1]), _i32(a[2]), _f32(a[3]), a[4])


def gather_f64(a):
    _gather(_f64(a[1]), _i32(a[2]), _f64(a[3]), a[4])


def collect_f32(a):
    _collect(_f32(a[1]), a)


def collect_f64(a):
    _collect(_f64(a[1]), a)


def look_up_u16(a):
    _look_up(_u16(a[1]), a)


def look_up_i32(a):
    _look_up(_i32(a[1]), a)
