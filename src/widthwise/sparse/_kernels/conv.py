"""The kernels of convolutions, see :mod:`widthwise.sparse._kernels.slabs`.

The weights lie in compressed rows (forward) or lines (backward: of one channel and phase of the input); instead of a
column each has the distance, in numbers, of what it multiplies from the start of a slab.

Threads claim pieces of the result in turn, and pack what a piece needs into a slab of their own. Backward the pieces
are in groups: each adds up the gradients of the weights apart, so that sums don't depend on the number of threads.
"""

from __future__ import annotations

from numba import types

from widthwise.sparse._kernels.gradients import columns_gradients_at
from widthwise.sparse._kernels.pointers import LINES, alike, inner, integers, lanes_of, pointer, room, shifted
from widthwise.sparse._kernels.slabs import aim, exchange, fill
from widthwise.sparse._kernels.sums import add_rows_at, gated_sum
from widthwise.sparse._kernels.turns import claim

__all__ = [
    "channel_sums_f32",
    "channel_sums_f64",
    "conv_gradients_f32",
    "conv_gradients_f64",
    "conv_product_f32",
    "conv_product_f64",
]

_f32, _f64 = pointer(types.float32), pointer(types.float64)
_u16, _i32, _i64 = pointer(types.uint16), pointer(types.int32), pointer(types.int64)


@inner
def _slab(like, a, i):
    """What stands in the table from ``i`` on: how pictures are cut."""
    sizes = a[i], a[i + 1], a[i + 2], a[i + 3]
    window = a[i + 4], a[i + 5], a[i + 6], a[i + 7], _i64(a[i + 8]), _i64(a[i + 9])
    cut = a[i + 10], a[i + 11], a[i + 12]
    own = shifted(alike(like, a[i + 13]), claim(shifted(a, i + 15)) * a[i + 14])
    for e in range(sizes[0] * window[2] * window[3] * cut[0] * cut[1] * cut[2], a[i + 14]):
        own[e] = 0  # registers may reach beyond the last number
    return own, _i64(a[i + 16]), sizes, window, cut


@inner
def _piece(item, a):
    """First line and column, number of them, and the first example of a piece: parts of the batch follow each other."""
    lines, columns, downs, alongs, parts, examples = a[0], a[1], a[2], a[3], a[4], a[5]
    part, place = item % parts, item // parts
    down, along = place // alongs, place % alongs
    line, column = lines * down // downs, columns * along // alongs
    tall, wide = lines * (down + 1) // downs - line, columns * (along + 1) // alongs - column
    return line, column, tall, wide, part * examples


@inner
def _product(values, a):
    distances, starts, rows, bias, clip = _i32(a[2]), _i64(a[3]), a[4], alike(values, a[5]), a[6] != 0
    result, widest, ranges = alike(values, a[7]), a[8], shifted(a, 9)
    x = alike(values, a[15])
    slab, side_by_side, sizes, window, cut = _slab(values, a, 16)
    batch, examples, height, width = sizes[3], cut[2], ranges[0], ranges[1]
    pitch, lane = cut[1] * examples, lanes_of(values)
    lines, reads, writes = room(values), integers(), integers()
    picture = 0, 0, 1, 1, height, width
    pieces = ranges[2] * ranges[3] * ranges[4]
    item = claim(a)
    while item < pieces:
        line, column, tall, wide, example = _piece(item, ranges)
        fill(slab, side_by_side, x, x, False, sizes, window, cut, line, column, example)
        across = (wide * examples + lane - 1) // lane
        whole = tall * across
        tiles = (whole + widest - 1) // widest
        for tile in range(tiles):
            first = whole * tile // tiles
            registers = whole * (tile + 1) // tiles - first
            for i in range(registers):
                reads[i] = (first + i) // across * pitch + (first + i) % across * lane
            shape, piece = (registers, first, across), (line, column, wide, example)
            full = aim(writes, lane, shape, piece, picture, examples, batch)
            size = registers * lane
            for row in range(0, rows, LINES):
                count = min(LINES, rows - row)
                add_rows_at(
                    registers, values, distances, reads, shifted(starts, row), shifted(starts, row + 1), count, slab,
                    lines, size, shifted(bias, row), clip,
                )  # fmt: skip
                into, apart = shifted(result, row * height * width * batch), height * width * batch
                exchange(True, lines, size, side_by_side, into, apart, writes, registers, full, count)
        item = claim(a)


@inner
def _gradients(values, a):
    distances, starts, nnz = _i32(a[2]), _i64(a[3]), a[4]
    change, groups, bounds, chunks = alike(values, a[5]), a[6], _i64(a[7]), a[8]
    x, dx, both, gate, gated = alike(values, a[9]), alike(values, a[10]), a[10] != 0, alike(values, a[11]), a[11] != 0
    widest, ranges, dy = a[14], shifted(a, 21), alike(values, a[27])
    view = a[18], a[17], _i64(a[19]), _i64(a[20]), a[15], a[16], a[12], a[13]
    slab, side_by_side, sizes, window, cut = _slab(values, a, 28)
    batch, examples = sizes[3], cut[2]
    pitch, lane, plane = cut[1] * examples, lanes_of(values), a[12] * a[13] * batch
    inputs, outputs, reads, spots = room(values), room(values), integers(), integers()
    pieces = ranges[2] * ranges[3] * ranges[4]
    task = claim(a)
    while task < groups * chunks:
        group, chunk = task // chunks, task % chunks
        own, begin = shifted(change, group * nnz), pieces * group // groups
        for item in range(begin, pieces * (group + 1) // groups):
            line, column, tall, wide, example = _piece(item, ranges)
            piece = line, column, wide, example
            fill(slab, side_by_side, dy, gate, gated, sizes, window, cut, line, column, example)
            across = (wide * examples + lane - 1) // lane
            whole = tall * across
            tiles = (whole + widest - 1) // widest
            for tile in range(tiles):
                first = whole * tile // tiles
                registers = whole * (tile + 1) // tiles - first
                size = registers * lane
                for i in range(registers):
                    reads[i] = (first + i) // across * pitch + (first + i) % across * lane
                for row in range(bounds[chunk], bounds[chunk + 1], LINES):
                    count = min(LINES, bounds[chunk + 1] - row)
                    for stage in range(3 if both else 2):
                        if stage == 1:
                            columns_gradients_at(
                                registers, True, values, distances, reads, shifted(starts, row),
                                shifted(starts, row + 1), count, inputs, size, slab, outputs, size, own,
                                item > begin or tile > 0,
                            )  # fmt: skip
                        else:  # one call for both ways, for every call is compiled
                            back = stage == 2
                            _carry(
                                back, outputs if back else inputs, dx if back else x, plane, side_by_side, spots, row,
                                count, view, (registers, first, across), piece, examples, batch,
                            )  # fmt: skip
        task = claim(a)


@inner
def _carry(back, tile, pictures, plane, side_by_side, spots, row, count, view, shape, piece, examples, batch):
    """Takes ``count`` lines from ``row`` on of one tile from the pictures, or gives them ``back``."""
    phases, across, tops, lefts, down, along, height, width = view
    registers, lane = shape[0], lanes_of(tile)
    size = registers * lane
    for i in range(min(phases, count)):
        channel, phase = (row + i) // phases, (row + i) % phases
        picture = tops[phase // across], lefts[phase % across], down, along, height, width
        whole = aim(spots, lane, shape, piece, picture, examples, batch)
        own, other, lines = (
            shifted(tile, i * size),
            shifted(pictures, channel * plane),
            (count - i + phases - 1) // phases,
        )
        exchange(back, own, phases * size, side_by_side, other, plane, spots, registers, whole, lines)


@inner
def _channel_sums(dy, a):
    """The sum of each channel, ``gate`` above zero or not there."""
    gate, gated, channels, plane, sums = alike(dy, a[2]), a[2] != 0, a[3], a[4], alike(dy, a[5])
    step = lanes_of(dy)
    whole = plane // step * step
    channel = claim(a)
    while channel < channels:
        read, door = shifted(dy, channel * plane), shifted(gate, channel * plane)
        total = gated_sum(gated, read, door, whole)
        for e in range(whole, plane):
            if not gated or door[e] > 0:
                total += read[e]
        sums[channel] = total
        channel = claim(a)


def conv_product_f32(a):
    _product(_f32(a[1]), a)


def conv_product_f64(a):
    _product(_f64(a[1]), a)


def conv_gradients_f32(a):
    _gradients(_f32(a[1]), a)


def conv_gradients_f64(a):
    _gradients(_f64(a[1]), a)


def channel_sums_f32(a):
    _channel_sums(_f32(a[1]), a)


def channel_sums_f64(a):
    _channel_sums(_f64(a[1]), a)
