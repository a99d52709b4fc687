"""The limiting tangent kernel of a data set, tile by tile: never more of it in memory than one tile."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from widthwise import duals
from widthwise.activations import Activation

__all__ = ["LimitKernel"]

_STRIP = 2**15  # entries worked on at a time, which stay in the processor's cache


class LimitKernel:
    """H = f(X X^T), f(c) = c g'(c), (8) of the paper on linearized difference networks, in double precision.

    Args:
        x: rows of unit norm, ``(n, d)`` float64.
        activation: of the hidden layer.
        tile: rows and columns of a tile.
    """

    def __init__(self, x: Tensor, activation: Activation, tile: int) -> None:
        self.x, self.size = x, tile
        self._f = _relu if activation.name == "relu" else lambda c: c.copy_(duals.f(activation, c))
        self.diagonal = float(duals.f(activation, torch.ones((), dtype=torch.float64)))
        self.rows = [slice(start, min(start + tile, len(x))) for start in range(0, len(x), tile)]

    @property
    def sizes(self) -> list[int]:
        """Rows of each block."""
        return [block.stop - block.start for block in self.rows]

    def tile(self, i: int, j: int) -> Tensor:
        """Rows of block i, columns of block j."""
        entries = (self.x[self.rows[i]] @ self.x[self.rows[j]].mT).clamp_(-1, 1)
        for strip in torch.split(entries, max(1, _STRIP // entries.shape[1])):
            self._f(strip)
        if i == j:
            entries.diagonal().fill_(self.diagonal)
        return entries

    def apply(self, v: Tensor, progress: Callable[[float], None] = lambda done: None) -> Tensor:
        """H v for ``v`` ``(n, k)``; every tile is worked out once and used for both of its places."""
        pairs = list(self.pairs())
        products = (self.products(i, j, v[self.rows[i]], v[self.rows[j]]) for i, j in pairs)
        return self.summed(products, v, lambda done: progress(done / len(pairs)))

    def products(self, i: int, j: int, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """A tile times ``right``, its transpose times ``left``; bit for bit the same wherever they lie in memory."""
        tile = self.tile(i, j)
        left, right = (part.clone(memory_format=torch.contiguous_format) for part in (left, right))
        return tile @ right, tile.mT @ left

    def summed(self, products: Iterable[tuple[Tensor, Tensor]], v: Tensor, progress: Callable[[int], None]) -> Tensor:
        """H v from the products of every tile, in the order of :meth:`pairs`."""
        out = torch.zeros_like(v)
        for done, ((i, j), (ahead, mirrored)) in enumerate(zip(self.pairs(), products, strict=True)):
            out[self.rows[i]] += ahead
            if i != j:
                out[self.rows[j]] += mirrored
            progress(done + 1)
        return out

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Tiles of the lower triangle, ``(i, j)`` with j <= i, column by column."""
        return ((i, j) for j in range(len(self.rows)) for i in range(j, len(self.rows)))


def _relu(c: Tensor) -> Tensor:
    """(c / 2) (1 - arccos(c) / pi) in place: the general duals take ten times as long."""
    angle = torch.acos(-c)
    return c.mul_(angle).div_(2 * math.pi)
