"""The kernels of linear layers: from activations as they lie to activations as they are wanted, in one call.

A batch of ``vectors`` registers of examples is cut into ``tiles``, as equal as can be. What is read in any order, the
input forward and the gradient of the result backward, is packed, so that a tile stays in the core's own cache while all
weights pass by. What is read or written in order is turned some lines at a time, if it has to be.

The threads of one call claim items in turn: first those that pack the tiles of a *wave*, then those that compute from
them, then the next wave's. Who needs what others still work on waits for it; as items are claimed in turn, someone does
work on it. No result depends on who does which.

Activations may lie *batch last* (``by_example`` is 1) or *plain* (``by_feature`` is 1).
"""

from __future__ import annotations

from numba import types

from widthwise.sparse._kernels.examples import give, slopes, take
from widthwise.sparse._kernels.gradients import columns_gradients
from widthwise.sparse._kernels.pointers import LINES, alike, inner, lanes_of, pointer, room, shifted, zero
from widthwise.sparse._kernels.sums import add_rows
from widthwise.sparse._kernels.turns import claim, finish, finished

__all__ = [
    "linear_gradients_f32_i32",
    "linear_gradients_f32_u16",
    "linear_gradients_f64_i32",
    "linear_gradients_f64_u16",
    "linear_product_f32_i32",
    "linear_product_f32_u16",
    "linear_product_f64_i32",
    "linear_product_f64_u16",
]

_f32, _f64 = pointer(types.float32), pointer(types.float64)
_u16, _i32, _i64 = pointer(types.uint16), pointer(types.int32), pointer(types.int64)


@inner
def _await(counter, number):
    while finished(counter) < number:
        pass


@inner
def _product(values, indices, a):
    starts, stride, blocks, bounds, chunks, wave = _i64(a[3]), a[4], a[5], _i64(a[6]), a[7], a[8]
    x, batch, features, by_example, by_feature = alike(values, a[9]), a[10], a[11], a[12], a[13]
    vectors, tiles, lies = a[14], a[15], a[16] != 0
    packed, pitch, slots, parts = alike(values, a[17]), a[18], a[19], a[20]
    y, y_by_example, y_by_feature = alike(values, a[21]), a[22], a[23]
    bias, clip = alike(values, a[24]), a[25] != 0
    taken, given = shifted(a, 26), shifted(a, 26 + tiles)
    lane = lanes_of(values)
    lines = room(values)
    each = wave * (parts + chunks)
    item = claim(a)
    while item < (tiles + wave - 1) // wave * each:
        now, rest = item // each, item % each
        packs = rest < wave * parts
        rest = rest if packs else rest - wave * parts
        # the same weights for all tiles of the wave, before the next weights
        tile, part = (rest // parts, rest % parts) if packs else (rest % wave, rest // wave)
        tile += now * wave
        if tile < tiles:
            first = vectors * tile // tiles
            registers = vectors * (tile + 1) // tiles - first
            size = registers * lane
            filled = min(size, batch - first * lane)
            own, read = shifted(packed, tile % slots * pitch), shifted(x, first * lane * by_example)
            if packs:
                if not lies:
                    if tile >= slots:
                        _await(shifted(given, tile - slots), chunks)
                    begin, end = features * part // parts, features * (part + 1) // parts
                    take(
                        shifted(read, begin * by_feature), by_example, by_feature, filled, end - begin,
                        shifted(own, begin * size), size,
                    )  # fmt: skip
                    finish(shifted(taken, tile))
            else:
                source, distance = read, by_feature
                if not lies:
                    _await(shifted(taken, tile), parts)
                    source, distance = own, size
                write = shifted(y, first * lane * y_by_example)
                turned = y_by_example != 1
                step = LINES if turned else max(1, bounds[part + 1] - bounds[part])
                for group in range(bounds[part], bounds[part + 1], step):
                    last = min(group + step, bounds[part + 1])
                    into, apart = shifted(write, group * y_by_feature), y_by_feature
                    if turned:
                        into, apart = lines, size
                    for block in range(blocks):
                        at = block * stride + group
                        add_rows(
                            registers, values, indices, distance, shifted(starts, at), shifted(starts, at + stride),
                            last - group, source, into, apart, shifted(bias, group), block == 0,
                            clip and block == blocks - 1,
                        )  # fmt: skip
                    if turned:
                        give(lines, size, filled, last - group, shifted(write, group), y_by_example)
                finish(shifted(given, tile))
        item = claim(a)


@inner
def _gradients(values, indices, a):
    starts, stride, blocks, bounds, chunks, wave = _i64(a[3]), a[4], a[5], _i64(a[6]), a[7], a[8]
    order, by_column, change, result = _i32(a[9]), alike(values, a[10]), alike(values, a[11]), alike(values, a[12])
    batch, vectors, tiles, rows = a[13], a[14], a[15], a[16]
    x, by_example, by_feature = alike(values, a[17]), a[18], a[19]
    dy, dy_by_example, dy_by_feature = alike(values, a[20]), a[21], a[22]
    gate, gate_by_example, gate_by_feature, gated = alike(values, a[23]), a[24], a[25], a[23] != 0
    dx, dx_by_example, dx_by_feature, both = alike(values, a[26]), a[27], a[28], a[26] != 0
    packed, pitch, slots, parts = alike(values, a[29]), a[30], a[31], a[32]
    sums, total = alike(values, a[33]), alike(values, a[34])
    waves = (tiles + wave - 1) // wave
    taken, given, reached = shifted(a, 35), shifted(a, 35 + waves), shifted(a, 35 + 2 * waves)
    lane = lanes_of(values)
    inputs, outputs = room(values), room(values)
    each = wave * parts + chunks
    item = claim(a)
    while item < waves * each:
        now, rest = item // each, item % each
        if rest < wave * parts:
            tile, part = now * wave + rest // parts, rest % parts
            if tile < tiles:
                if now * wave >= slots:
                    _await(shifted(given, now - slots // wave), chunks)
                first = vectors * tile // tiles
                registers = vectors * (tile + 1) // tiles - first
                begin, end = rows * part // parts, rows * (part + 1) // parts
                filled = min(registers * lane, batch - first * lane)
                read = shifted(dy, first * lane * dy_by_example + begin * dy_by_feature)
                door = shifted(gate, first * lane * gate_by_example + begin * gate_by_feature)
                write = shifted(packed, tile % slots * pitch + begin * registers * lane)
                slopes(
                    read, dy_by_example, dy_by_feature, filled, registers, end - begin, gated, door, gate_by_example,
                    gate_by_feature, write, shifted(sums, tile * rows + begin),
                )  # fmt: skip
            finish(shifted(taken, now))
        else:
            part = rest - wave * parts
            begin, end = starts[bounds[part]], starts[bounds[part]]
            if bounds[part + 1] > bounds[part]:
                end = starts[blocks * stride + bounds[part + 1] - 1]
            if now == 0:
                if both:
                    for k in range(begin, end):
                        by_column[k] = values[order[k]]
            else:
                _await(shifted(reached, part), now)
            _await(shifted(taken, now), wave * parts)
            for tile in range(now * wave, min(tiles, (now + 1) * wave)):
                first = vectors * tile // tiles
                registers = vectors * (tile + 1) // tiles - first
                size = registers * lane
                filled = min(size, batch - first * lane)
                slope = shifted(packed, tile % slots * pitch)
                read, write = shifted(x, first * lane * by_example), shifted(dx, first * lane * dx_by_example)
                copies, turned = by_example != 1 or filled < size, both and dx_by_example != 1
                step = LINES if copies or turned else max(1, bounds[part + 1] - bounds[part])
                for group in range(bounds[part], bounds[part + 1], step):
                    last = min(group + step, bounds[part + 1])
                    source, distance = shifted(read, group * by_feature), by_feature
                    into, apart = shifted(write, group * dx_by_feature), dx_by_feature
                    if copies:
                        take(source, by_example, by_feature, filled, last - group, inputs, size)
                        source, distance = inputs, size
                    if turned:
                        into, apart = outputs, size
                    for block in range(blocks):
                        at = block * stride + group
                        columns_gradients(
                            registers, both, by_column, indices, size, shifted(starts, at),
                            shifted(starts, at + stride), last - group, source, distance, slope, into, apart, change,
                            block == 0, tile > 0,
                        )  # fmt: skip
                    if turned:
                        give(outputs, size, filled, last - group, shifted(write, group), dx_by_example)
            if now == waves - 1:
                for k in range(begin, end):
                    result[order[k]] = change[k]
                for row in range(rows * part // chunks, rows * (part + 1) // chunks):
                    whole = zero(values)
                    for tile in range(tiles):
                        whole += sums[tile * rows + row]
                    total[row] = whole
            finish(shifted(reached, part))
            finish(shifted(given, now))
        item = claim(a)


def linear_product_f32_u16(a):
    _product(_f32(a[1]), _u16(a[2]), a)


def linear_product_f32_i32(a):
    _product(_f32(a[1]), _i32(a[2]), a)


def linear_product_f64_u16(a):
    _product(_f64(a[1]), _u16(a[2]), a)


def linear_product_f64_i32(a):
    _product(_f64(a[1]), _i32(a[2]), a)


def linear_gradients_f32_u16(a):
    _gradients(_f32(a[1]), _u16(a[2]), a)


def linear_gradients_f32_i32(a):
    _gradients(_f32(a[1]), _i32(a[2]), a)


def linear_gradients_f64_u16(a):
    _gradients(_f64(a[1]), _u16(a[2]), a)


def linear_gradients_f64_i32(a):
    _gradients(_f64(a[1]), _i32(a[2]), a)
