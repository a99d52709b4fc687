"""Kernels that carry many sparse multilayer perceptrons through steps of descent, one network after the other.

All networks read the same batches. A step of one network happens in the core's own cache, from the activations to the
new weights; nothing but its weights outlives it. Threads claim groups of networks, so that what a group reads of a
batch is still in the cache for the next of it; no network's numbers depend on which thread works on it.

A bias is a weight like any other, of an input that is always one: the last feature of a batch, and a line of ones after
the units of each hidden layer. Their tables are laid out by
:mod:`widthwise.training.sparse_family`; networks, their layers and units are counted through in that order, and
``starts`` tells where each unit's weights start, ``down_starts`` where those that leave it.
"""

from __future__ import annotations

import math

from numba import types

from widthwise.sparse._kernels.gradients import column_gradients
from widthwise.sparse._kernels.pointers import alike, inner, lanes_of, pointer, shifted, zero
from widthwise.sparse._kernels.pointwise import close, exponentials, raise_to
from widthwise.sparse._kernels.sums import add_row
from widthwise.sparse._kernels.turns import claim

__all__ = ["descend_f32", "descend_f64", "respond_f32", "respond_f64"]

_f32, _f64 = pointer(types.float32), pointer(types.float64)
_u16, _i32, _i64 = pointer(types.uint16), pointer(types.int32), pointer(types.int64)


@inner
def _respond(theta, indices, offsets, starts, ends, unit, sizes, layers, registers, size, x, h, clip):
    """Activations of one network on one tile into ``h``, ones after each layer; the place of the last layer."""
    source, one, target = x, zero(theta) + 1, h
    for layer in range(layers):
        rows, cut = sizes[layer], clip and layer < layers - 1
        for row in range(rows):
            first, last, into = starts[unit + row], ends[unit + row], shifted(target, row * size)
            add_row(registers, theta, indices, offsets, first, last, source, into, zero(theta), True, cut)
        unit += rows
        source = target
        target = shifted(target, rows * size)
        if layer < layers - 1:
            for e in range(size):
                target[e] = one
            target = shifted(target, size)
    return source


@inner
def _towards_labels(outputs, classes, size, shares, labels, slopes, work):
    """Gradient of the cross-entropies times their ``shares``: softmax, less 1 at the label."""
    step = lanes_of(outputs)
    top, total = work, shifted(work, size)
    for e in range(size):
        top[e] = outputs[e]
        total[e] = 0
    for k in range(1, classes):
        for e in range(0, size, step):
            raise_to(shifted(top, e), shifted(outputs, k * size + e))
    for k in range(classes):
        for e in range(0, size, step):
            at = k * size + e
            exponentials(shifted(outputs, at), shifted(top, e), shifted(slopes, at), shifted(total, e))
    for e in range(size):
        total[e] = shares[e] / total[e]
    for k in range(classes):
        for e in range(size):
            slopes[k * size + e] *= total[e]
    for e in range(size):
        slopes[labels[e] * size + e] -= shares[e]


@inner
def _towards_values(outputs, count, size, shares, targets, slopes):
    """Gradient of half the squared errors times their ``shares``."""
    for k in range(count):
        for e in range(size):
            slopes[k * size + e] = (outputs[k * size + e] - targets[k * size + e]) * shares[e]


@inner
def _descend(theta, indices, a):
    offsets, starts, ends = _i64(a[3]), _i64(a[4]), _i64(a[5])
    down_starts, down_rows, order = _i64(a[6]), _u16(a[7]), _i32(a[8])
    sizes, units, layers, outputs, relu = _i64(a[9]), _i64(a[10]), a[11], a[12], _i64(a[13])
    bounds, groups, registers, size, tiles = _i64(a[14]), a[15], a[16], a[17], a[18]
    nets = bounds[groups]
    batches, pitch, steps, shares = _i64(a[19]), a[20], a[21], alike(theta, a[22])
    labels, targets, classify = _i64(a[23]), alike(theta, a[24]), a[23] != 0
    moments, rates, rule, keeps = alike(theta, a[25]), alike(theta, a[26]), alike(theta, a[27]), a[25] != 0
    most_units, most_weights = a[28], a[29]
    h = shifted(alike(theta, a[30]), claim(_i64(a[32])) * a[31])
    slopes = shifted(h, most_units * size)
    change = shifted(slopes, most_units * size)
    down = shifted(change, most_weights)
    work = shifted(down, most_weights)
    group = claim(a)
    while group < groups:
        for step in range(steps):
            batch = alike(theta, batches[step])
            for net in range(bounds[group], bounds[group + 1]):
                unit, last = units[net], units[net + 1] - outputs
                shape, clip = shifted(sizes, net * layers), relu[net] != 0
                base, leaving = shifted(change, -starts[unit]), shifted(down, -down_starts[unit])
                for k in range(down_starts[unit], down_starts[last]):
                    leaving[k] = theta[order[k]]
                for tile in range(tiles):
                    x, place = shifted(batch, tile * pitch), (step * tiles + tile) * size
                    answer = _respond(
                        theta, indices, offsets, starts, ends, unit, shape, layers, registers, size, x, h, clip
                    )  # fmt: skip
                    slope, share = shifted(slopes, (last - unit) * size), shifted(shares, place)
                    if classify:
                        _towards_labels(answer, outputs, size, share, shifted(labels, place), slope, work)
                    else:
                        _towards_values(answer, outputs, size, share, shifted(targets, place * outputs), slope)
                    _back(
                        leaving, down_rows, offsets, down_starts, unit, shape, layers, registers, size, h, slopes, clip
                    )  # fmt: skip
                    _gradients(
                        theta, indices, offsets, starts, ends, unit, shape, layers, registers, size, x, h, slopes,
                        base, tile > 0,
                    )  # fmt: skip
                rate, constants = rates[net], shifted(rule, step * 6)
                for row in range(unit, units[net + 1]):
                    if constants[2] > 0:
                        _adapt(theta, base, moments, starts[units[nets]], starts[row], ends[row], rate, constants)
                    else:
                        _step(theta, base, moments, keeps, starts[row], ends[row], rate, constants)
        group = claim(a)


@inner
def _step(theta, change, velocity, keeps, first, last, rate, constants):
    """Descent with momentum and weight decay as PyTorch's SGD defines it."""
    momentum, decay = constants[0], constants[1]
    for k in range(first, last):
        step = change[k] + decay * theta[k]
        if keeps:
            step += momentum * velocity[k]
            velocity[k] = step
        theta[k] -= rate * step


@inner
def _adapt(theta, change, moments, count, first, last, rate, constants):
    """AdamW as PyTorch defines it; the second moments stand ``count`` after the first."""
    one, two, nearly = constants[0], constants[2], constants[5]
    keep, scale = 1 - rate * constants[1], rate / constants[3]
    for k in range(first, last):
        slope = change[k]
        moments[k] = one * moments[k] + (1 - one) * slope
        moments[count + k] = two * moments[count + k] + (1 - two) * slope * slope
        spread = math.sqrt(moments[count + k] / constants[4]) + nearly
        theta[k] = keep * theta[k] - scale * moments[k] / spread


@inner
def _back(values, rows, offsets, starts, unit, sizes, layers, registers, size, h, slopes, clip):
    """Gradients of the units of all hidden layers, from the last to the first."""
    first = 0
    for layer in range(layers - 1):
        first += sizes[layer]
    for layer in range(layers - 2, -1, -1):
        above = shifted(slopes, first * size)
        first -= sizes[layer]
        for place in range(first, first + sizes[layer]):
            begin, end, into = starts[unit + place], starts[unit + place + 1], shifted(slopes, place * size)
            add_row(registers, values, rows, offsets, begin, end, above, into, zero(values), True, False)
            if clip:
                door = shifted(h, (place + layer) * size)
                for e in range(0, size, lanes_of(values)):
                    close(shifted(into, e), shifted(door, e))


@inner
def _gradients(theta, indices, offsets, starts, ends, unit, sizes, layers, registers, size, x, h, slopes, change, add):
    """Gradients of all weights, added to those of earlier tiles."""
    source, slope = x, slopes
    entering = h
    for layer in range(layers):
        for _ in range(sizes[layer]):
            column_gradients(
                registers, False, theta, indices, offsets, starts[unit], ends[unit], slope, source, slope, change,
                True, add,
            )  # fmt: skip
            unit += 1
            slope = shifted(slope, size)
        source = entering
        entering = shifted(entering, (sizes[layer] + 1) * size)


@inner
def _answers(theta, indices, a):
    offsets, starts, ends = _i64(a[3]), _i64(a[4]), _i64(a[5])
    sizes, units, layers, outputs, relu = _i64(a[6]), _i64(a[7]), a[8], a[9], _i64(a[10])
    nets, registers, size, tiles = a[11], a[12], a[13], a[14]
    batch, pitch, result = alike(theta, a[15]), a[16], alike(theta, a[17])
    h = shifted(alike(theta, a[18]), claim(_i64(a[20])) * a[19])
    net = claim(a)
    while net < nets:
        unit, shape, clip = units[net], shifted(sizes, net * layers), relu[net] != 0
        for tile in range(tiles):
            x = shifted(batch, tile * pitch)
            answer = _respond(theta, indices, offsets, starts, ends, unit, shape, layers, registers, size, x, h, clip)
            for k in range(outputs):
                into = shifted(result, ((net * outputs + k) * tiles + tile) * size)
                for e in range(size):
                    into[e] = answer[k * size + e]
        net = claim(a)


def descend_f32(a):
    _descend(_f32(a[1]), _u16(a[2]), a)


def descend_f64(a):
    _descend(_f64(a[1]), _u16(a[2]), a)


def respond_f32(a):
    _answers(_f32(a[1]), _u16(a[2]), a)


def respond_f64(a):
    _answers(_f64(a[1]), _u16(a[2]), a)
