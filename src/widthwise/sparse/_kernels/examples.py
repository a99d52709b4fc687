"""How examples of a linear layer are copied into tiles, ``[feature][example]``, and out of them."""

from __future__ import annotations

from widthwise.sparse._kernels.moves import copy, gated_copy, gated_transpose, transpose
from widthwise.sparse._kernels.pointers import inner, lanes_of, shifted

__all__ = ["give", "slopes", "take"]


@inner
def take(source, by_example, by_feature, filled, features, target, size):
    """``target[feature, example] = source[example, feature]`` for a tile of ``size`` examples, zero past ``filled``."""
    step = lanes_of(source)
    if by_example == 1 and filled == size:
        for feature in range(features):
            read, write = shifted(source, feature * by_feature), shifted(target, feature * size)
            copy(size // step, read, write)
        return
    done = 0
    if by_feature == 1:
        done = filled // step * step
        wide = features // step * step
        for i in range(0, done, step):
            for j in range(0, wide, step):
                transpose(shifted(source, i * by_example + j), by_example, shifted(target, j * size + i), size)
        for feature in range(wide, features):
            for example in range(done):
                target[feature * size + example] = source[example * by_example + feature]
    for feature in range(features):
        for example in range(done, filled):
            target[feature * size + example] = source[example * by_example + feature * by_feature]
        for example in range(filled, size):
            target[feature * size + example] = 0


@inner
def _close(target, size, filled, features, gate, by_example, by_feature):
    """Sets ``target[feature, example]`` to zero where the gate is not above zero."""
    for feature in range(features):
        for example in range(filled):
            if not gate[example * by_example + feature * by_feature] > 0:
                target[feature * size + example] = 0


@inner
def _take_gated(source, pitch, gate, gate_pitch, features, target, size):
    """``take`` of a full tile of plain activations and a plain gate; features by blocks of lanes only."""
    step = lanes_of(source)
    for j in range(0, features, 2 * step):
        for i in range(0, size, step):
            for k in range(j, min(j + 2 * step, features), step):
                read, door = shifted(source, i * pitch + k), shifted(gate, i * gate_pitch + k)
                gated_transpose(read, pitch, door, gate_pitch, shifted(target, k * size + i), size)


@inner
def give(source, size, filled, features, target, by_example):
    """``target[example, feature] = source[feature, example]``, plain."""
    step = lanes_of(source)
    tall, wide = filled // step * step, features // step * step
    for i in range(0, tall, step):
        for j in range(0, wide, step):
            transpose(shifted(source, j * size + i), size, shifted(target, i * by_example + j), by_example)
    for example in range(filled):
        for feature in range(wide if example < tall else 0, features):
            target[example * by_example + feature] = source[feature * size + example]


@inner
def slopes(
    dy, by_example, by_feature, filled, registers, features, gated, gate, gate_by_example, gate_by_feature, target, sums
):  # fmt: skip
    """Packs some features of one tile of the gradient, zero where the gate is not above zero, and sums each."""
    lane = lanes_of(dy)
    size = registers * lane
    if by_example == 1 and filled == size and (gate_by_example == 1 or not gated):
        for feature in range(features):
            read, door = shifted(dy, feature * by_feature), shifted(gate, feature * gate_by_feature)
            gated_copy(registers, gated, read, door, shifted(target, feature * size), shifted(sums, feature))
        return
    if gated and by_feature == 1 and gate_by_feature == 1 and filled == size and features % lane == 0:
        _take_gated(dy, by_example, gate, gate_by_example, features, target, size)
        gated = False
    else:
        take(dy, by_example, by_feature, filled, features, target, size)
    late = gated and not (gate_by_example == 1 and filled == size)
    if late:
        _close(target, size, filled, features, gate, gate_by_example, gate_by_feature)
    for feature in range(features):
        line, door = shifted(target, feature * size), shifted(gate, feature * gate_by_feature)
        gated_copy(registers, gated and not late, line, door, line, shifted(sums, feature))
