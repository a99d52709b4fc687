"""How the result of a convolution is cut into pieces, see :mod:`widthwise.sparse._kernels.slabs`.

What a piece is computed from should stay in the core's own cache, be copied there seldom (the taps' reach around a
piece is copied with it), and fill whole tiles. The cut is the same whatever the number of threads: sums depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from widthwise.sparse._processor import cache_bytes, tile_registers, vector_bytes

__all__ = ["Cut", "cut"]

# In multiply-adds of a register: copying one, beginning a line of an image, and what a tile costs each weight.
_COPY, _LINE, _TILE = 4, 120, 1
_SHARE = 0.5  # of the cache that a slab may fill
_SLOWER = 0.15  # by which multiply-adds take longer for each time more
_SPREAD = 100_000  # multiply-adds that two threads shall be able to share


@dataclass(frozen=True)
class Cut:
    """``downs`` times ``alongs`` pieces of each of ``parts`` parts of the batch.

    Attributes:
        downs: into how many the lines are cut.
        alongs: into how many the columns are cut.
        parts: into how many the batch is cut.
        examples: of one part.
        lines: of a slab.
        columns: of a slab.
    """

    downs: int
    alongs: int
    parts: int
    examples: int
    lines: int
    columns: int

    @property
    def pieces(self) -> int:
        """All pieces."""
        return self.downs * self.alongs * self.parts


@lru_cache(maxsize=256)
def cut(
    size: tuple[int, int], batch: int, images: int, reach: tuple[int, int], weights: int, dtype: torch.dtype
) -> Cut:
    """The cut that promises to take least time.

    Args:
        size: lines and columns of the result.
        batch: number of examples.
        images: that are read, each a channel and phase.
        reach: lines and columns that the taps read beyond the result's.
        weights: number of nonzeros.
        dtype: of the numbers.
    """
    lane = vector_bytes() // dtype.itemsize
    found = []
    for examples in {batch} if batch < 2 * lane else {lane, 2 * lane}:
        for downs in _numbers(size[0]):
            for alongs in _numbers(size[1]):
                tall, wide = -(-size[0] // downs), -(-size[1] // alongs)
                parts = -(-batch // examples)
                one = Cut(downs, alongs, parts, examples, tall + reach[0], wide + reach[1])
                found.append((_cost(one, tall, wide, images, weights, lane, dtype), one.pieces, one))
    return min(found, key=lambda entry: entry[:2])[2]


def _cost(one: Cut, tall: int, wide: int, images: int, weights: int, lane: int, dtype: torch.dtype) -> float:
    numbers = images * one.lines * one.columns * one.examples
    registers = tall * -(-wide * one.examples // lane)
    tiles = -(-registers // tile_registers(vector_bytes()))
    excess = max(numbers * dtype.itemsize / (_SHARE * cache_bytes()) - 1, 0)
    work = weights * (registers + _TILE * tiles) * (1 + _SLOWER * excess)
    spread = -(-one.pieces // 2) * 2 if weights * registers * lane * one.pieces > _SPREAD else one.pieces
    return spread * (work + _COPY * numbers / lane + _LINE * images * one.lines)


def _numbers(count: int) -> list[int]:
    """Into how many pieces to cut so many places; of those whose largest piece is the same the fewest."""
    return sorted({-(-count // -(-count // pieces)) for pieces in range(1, count + 1)})
