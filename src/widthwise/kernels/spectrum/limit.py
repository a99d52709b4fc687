"""The limiting tangent kernel of a data set, tile by tile: never more of it in memory than one tile."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from widthwise import duals
from widthwise.activations import Activation
from widthwise.kernels.spectrum.kept import Kept

__all__ = ["LimitKernel", "Watch"]

Watch = Callable[[float], None]
"""Told the share that is done."""

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

    def apply(self, v: Tensor, progress: Watch = lambda done: None, kept: Kept | None = None) -> Tensor:
        """H v for ``v`` ``(n, k)``; every tile is worked out once and used for both of its places.

        Args:
            v: ``(n, k)``.
            progress: told the share that is done.
            kept: where the sum so far is kept, and taken from.
        """
        pairs = self.pairs(0 if kept is None else kept.columns)
        products = (self.products(i, j, v[self.rows[i]], v[self.rows[j]]) for i, j in pairs)
        return self.summed(products, v, progress, kept)

    def products(self, i: int, j: int, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """A tile times ``right``, its transpose times ``left``; bit for bit the same wherever they lie in memory."""
        tile = self.tile(i, j)
        left, right = (part.clone(memory_format=torch.contiguous_format) for part in (left, right))
        return tile @ right, tile.mT @ left

    def summed(
        self, products: Iterable[tuple[Tensor, Tensor]], v: Tensor, progress: Watch, kept: Kept | None
    ) -> Tensor:
        """H v from the products of every tile not in the sum that is kept, in the order of :meth:`pairs`."""
        first, blocks = 0 if kept is None else kept.columns, len(self.rows)
        out = torch.zeros_like(v) if kept is None or first == 0 else kept.sums
        total = blocks * (blocks + 1) // 2
        left = (blocks - first) * (blocks - first + 1) // 2
        for done, ((i, j), (ahead, mirrored)) in enumerate(zip(self.pairs(first), products, strict=True), 1):
            out[self.rows[i]] += ahead
            if i != j:
                out[self.rows[j]] += mirrored
            if kept is not None and i == blocks - 1:
                kept.keep_sums(j + 1, out)
            progress((total - left + done) / total)
        return out

    def pairs(self, first: int = 0) -> Iterator[tuple[int, int]]:
        """Tiles of the lower triangle, ``(i, j)`` with j <= i, column by column, from the ``first`` on."""
        return ((i, j) for j in range(first, len(self.rows)) for i in range(j, len(self.rows)))


def _relu(c: Tensor) -> Tensor:
    """(c / 2) (1 - arccos(c) / pi) in place: the general duals take ten times as long."""
    angle = torch.acos(-c)
    return c.mul_(angle).div_(2 * math.pi)
