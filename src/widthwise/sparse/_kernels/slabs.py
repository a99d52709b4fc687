"""How a convolution cuts a batch of pictures, and what it copies there and back.

Pictures lie batch last, ``[channel][line][column][example]``. A *slab* is what one piece of a result is computed from,
in one place in memory, so that it stays in the core's own cache while all weights pass by: of each image (a channel,
and a phase of both axes) some lines of some columns of some examples, zeros beyond the picture's edge among them. The
piece of the result is computed in tiles, whose registers each hold neighbours of one line.
"""

from __future__ import annotations

from widthwise.sparse._kernels.moves import copy, copy_lines, gated_lines
from widthwise.sparse._kernels.pointers import inner, lanes_of, shifted

__all__ = ["aim", "exchange", "fill"]


@inner
def fill(slab, side_by_side, x, gate, gated, sizes, window, cut, first_line, first_column, first_example):
    """Copies what a piece needs of ``x`` into ``slab``, zero where ``gate`` is not above zero.

    ``sizes``: channels, lines, columns, examples. ``window``: the steps down and along, the number of phases of each
    axis, then where the phases start down and along. ``cut``: lines, columns and examples of a slab.
    """
    channels, height, width, batch = sizes
    down, along, tall, wide, tops, lefts = window
    lines, columns, examples = cut
    pitch, lane = columns * examples, lanes_of(x)
    filled = min(examples, batch - first_example)
    for image in range(channels * tall * wide):
        channel, phase = image // (tall * wide), image % (tall * wide)
        origin = lefts[phase % wide] + along * first_column
        start = min(columns, max(0, -(origin // along)))
        stop = max(start, min(columns, -((origin - width) // along)))
        for j in range(lines):
            line = tops[phase // wide] + down * (first_line + j)
            write = shifted(slab, (image * lines + j) * pitch)
            inside = 0 <= line < height
            first, last = (start * examples, stop * examples) if inside else (pitch, pitch)
            for e in range(first):
                write[e] = 0
            for e in range(last, pitch):
                write[e] = 0
            if inside:
                place = ((channel * height + line) * width + origin + along * start) * batch + first_example
                read, door, into = shifted(x, place), shifted(gate, place), shifted(write, first)
                if filled == examples and examples % lane == 0:
                    for e in range(0, examples, lane):  # of one register each: variants take their time to compile
                        own, other = shifted(into, e), shifted(read, e)
                        if gated:
                            gated_lines(1, stop - start, other, along * batch, shifted(door, e), own, examples)
                        else:
                            copy_lines(
                                1, stop - start, other, along * batch, side_by_side, own, examples, side_by_side
                            )  # fmt: skip
                else:
                    _fill_some(into, read, door, gated, stop - start, along * batch, examples, filled)


@inner
def _fill_some(target, source, gate, gated, columns, step, examples, filled):
    if step == examples and filled == examples and not gated:
        for e in range(columns * examples):
            target[e] = source[e]
        return
    for column in range(columns):
        for e in range(filled):
            is_open = not gated or gate[column * step + e] > 0
            target[column * examples + e] = source[column * step + e] if is_open else 0
        for e in range(filled, examples):
            target[column * examples + e] = 0


@inner
def aim(spots, lane, tile, piece, picture, examples, batch):
    """Where the registers of a tile lie in a channel of a picture; whether all of them are whole there.

    ``spots[i]`` is where register ``i`` starts, -1 if it is not whole; ``spots[i * lane + e]``, behind those of all
    registers, is then where its number ``e`` is, -1 if nowhere. ``tile``: its number of registers, which of the piece's
    is the first, and how many a line has. ``piece``: first line and column, number of columns, first example.
    ``picture``: the first line and column that a phase has, its steps, and height and width.
    """
    registers, first, across = tile
    first_line, first_column, columns, first_example = piece
    top, left, down, along, height, width = picture
    filled, all_whole = min(examples, batch - first_example), True
    there = min(columns, -((left + along * first_column - width) // along))  # columns within the picture
    for i in range(registers):
        line, begin = top + down * (first_line + (first + i) // across), (first + i) % across * lane
        row, end = line * width + left + along * first_column, begin + lane
        whole = line < height and end <= there * examples
        if examples % lane == 0:
            whole = whole and (end - 1) % examples < filled
        else:
            whole = whole and along == 1 and examples == batch
        spots[i] = -1
        if whole:
            spots[i] = (row + along * (begin // examples)) * batch + first_example + begin % examples
        else:
            for e in range(lane):
                column, example = (begin + e) // examples, (begin + e) % examples
                inside = line < height and column < there and example < filled
                place = (row + along * column) * batch + first_example + example
                spots[registers + i * lane + e] = place if inside else -1
        all_whole = all_whole and whole
    return all_whole


@inner
def exchange(back, tile, tile_pitch, side_by_side, pictures, pitch, spots, registers, whole, lines):
    """Copies the registers that :func:`aim` found into ``lines`` of a tile, zero where nothing is; or ``back``."""
    if whole:
        ends = (tile, tile_pitch, side_by_side), (pictures, pitch, spots)
        source, target = ends if back else (ends[1], ends[0])  # one call, for every one is compiled
        copy_lines(registers, lines, *source, *target)
        return
    lane = lanes_of(tile)
    for line in range(lines):
        own, other = shifted(tile, line * tile_pitch), shifted(pictures, line * pitch)
        for i in range(registers):
            if spots[i] >= 0 and back:
                copy(1, shifted(own, i * lane), shifted(other, spots[i]))
            elif spots[i] >= 0:
                copy(1, shifted(other, spots[i]), shifted(own, i * lane))
            else:
                for e in range(i * lane, i * lane + lane):
                    place = spots[registers + e]
                    if not back:
                        own[e] = other[place] if place >= 0 else 0
                    elif place >= 0:
                        other[place] = own[e]
