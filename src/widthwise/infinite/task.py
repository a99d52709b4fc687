"""Gram matrices tile by tile: each tile goes through all layers while it lies in the processor's cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from widthwise.infinite.chain import Chain
from widthwise.infinite.displaced import SIDE, Displaced, suits
from widthwise.infinite.fused import Fused, fused
from widthwise.infinite.geometry import Images, Vectors
from widthwise.infinite.state import Trace
from widthwise.infinite.tracing import check_flat, opened, traced

__all__ = ["Task", "Tile", "parts"]

CACHED = 1 << 16
"""Numbers of a tile on a CPU: a few such arrays fit the second-level cache."""
LARGE = 1 << 24
"""The same elsewhere, where a kernel launch costs more than a pass through memory."""
LONG = 256
"""Rows and columns of a tile that is passed through compiled loops, one of which fits the second-level cache."""
WORTH = 1 << 21
"""Pairs; fewer are done before the compiler is."""


@dataclass(frozen=True)
class Tile:
    """Kernels of some left and some right inputs."""

    left: slice
    right: slice
    nngp: Tensor | None
    ntk: Tensor | None


@dataclass(frozen=True)
class Task:
    """A network and the inputs whose kernels are wanted, each input by itself done.

    Attributes:
        network: the network.
        left, right: inputs; the same object if there is one set of them.
        traces: what the layers know of each.
        nngp, ntk: which kernels are wanted.
    """

    network: Chain
    left: Vectors | Images
    right: Vectors | Images
    traces: tuple[Trace, Trace]
    nngp: bool
    ntk: bool

    @classmethod
    def of(cls, network: Chain, x1: Tensor, x2: Tensor | None, *, nngp: bool, ntk: bool) -> Task:
        """Take each input through the network."""
        if x2 is None:
            left = opened(network, x1)
            trace = traced(network, left, ntk, len(x1) ** 2)
            return cls(network, left, left, (trace, trace), nngp, ntk)
        both = opened(network, torch.cat([x1, x2]))
        trace = traced(network, both, ntk, len(x1) * len(x2))
        first, second = slice(0, len(x1)), slice(len(x1), None)
        return cls(network, both[first], both[second], (trace[first], trace[second]), nngp, ntk)

    @cached_property
    def fused(self) -> Fused | None:
        """The compiled pass through all layers, where there is one and the matrix is worth compiling it."""
        x = self.left.unit
        few = self.shape[0] * self.shape[1] < WORTH
        if few or x.dtype != torch.float32 or x.device.type != "cpu" or self.traces[0].after.requires_grad:
            return None
        if not isinstance(self.left, Vectors) or not isinstance(self.right, Vectors):
            return None
        return fused(self.network, self.left, self.right, self.traces)

    @cached_property
    def displaced(self) -> Displaced | None:
        """The compiled pass through convolutions up to their pooling, under the same conditions."""
        if not isinstance(self.left, Images) or not isinstance(self.right, Images):
            return None
        if not suits(self.network, self.left, self.shape[0] * self.shape[1]):
            return None
        return Displaced(self.network, self.left, self.right, self.traces)

    @property
    def symmetric(self) -> bool:
        """Whether there is one set of inputs."""
        return self.left is self.right

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of left and right inputs."""
        return len(self.left.r), len(self.right.r)

    def tile(self, rows: slice, columns: slice) -> Tile:
        """The kernels of some of the inputs, to be used before the next tile is asked for."""
        diagonal = self.symmetric and rows.start == columns.start
        if self.fused is not None:
            both = self.fused(rows, columns, diagonal)
            return Tile(rows, columns, both[0] if self.nngp else None, both[1] if self.ntk else None)
        u, v = self.left[rows], self.right[columns]
        a, b = self.traces[0][rows], self.traces[1][columns]
        if self.displaced is not None:
            after = self.displaced(rows, columns, self.ntk, diagonal)
        else:
            after = self.network.pairs(u.pair(v, self.ntk, diagonal), a, b)  # type: ignore[arg-type]  # of one kind
        check_flat(after)
        nngp = after.covariance(a.after, b.after) if self.nngp else None
        ntk = None if after.ntk is None else after.ntk.expand_as(after.gap)
        return Tile(rows, columns, nngp, ntk)

    def tiles(self, rows: slice | None = None, band: slice | None = None) -> Iterator[Tile]:
        """Tiles that cover the matrix, or some rows; if symmetric, its upper triangle only.

        With a ``band`` of rows only those tiles that begin in it.
        """
        high, wide = self._sizes()
        n1, n2 = self.shape
        start, stop, _ = (rows or slice(None)).indices(n1)
        for top in range(start, stop, high):
            if band is not None and not band.start <= top < band.stop:
                continue
            for at in range(top if self.symmetric and rows is None else 0, n2, wide):
                yield self.tile(slice(top, min(top + high, stop)), slice(at, min(at + wide, n2)))

    def put(self, whole: Tensor, tile: Tile, part: Tensor) -> None:
        """Write a tile into a matrix and, if that is symmetric, into its mirror image."""
        write = _put if self.fused is None else self.fused.put
        write(whole, part, tile.left, tile.right, self.symmetric)

    def _sizes(self) -> tuple[int, int]:
        if self.fused is not None:  # goes by rows, so that tiles may be as large as suits the matrix product
            return LONG, LONG
        if self.displaced is not None:
            return SIDE, SIDE
        each = 1
        if isinstance(self.left, Images):
            positions = math.prod(self.left.r.shape[1:])
            each = positions * positions if self.left.full else positions
        size = max(1, (CACHED if self.left.unit.device.type == "cpu" else LARGE) // each)
        high = math.isqrt(size)
        return high, size // high


def _put(whole: Tensor, part: Tensor, rows: slice, columns: slice, symmetric: bool) -> None:
    if symmetric and rows.start == columns.start:
        size = part.shape[0]
        square = part[:, :size].triu()
        whole[rows, rows] = square + square.triu(1).mT
        part, columns = part[:, size:], slice(columns.start + size, columns.stop)
    whole[rows, columns] = part
    if symmetric:
        whole[columns, rows] = part.mT.contiguous()  # transposed in cache first


def parts(tile: Tile) -> tuple[Tensor, ...]:
    """The kernels of a tile that were wanted, the NNGP first."""
    return tuple(part for part in (tile.nngp, tile.ntk) if part is not None)
