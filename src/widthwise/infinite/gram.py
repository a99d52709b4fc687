r"""Gram matrices tile by tile: each tile goes through all layers while it lies in the processor's cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from widthwise.errors import InputError, InputTypeError, check_finite, check_type
from widthwise.infinite.displaced import SIDE, Displaced, suits, trace_displaced
from widthwise.infinite.fused import Fused, fused
from widthwise.infinite.geometry import Images, Vectors
from widthwise.infinite.memory import check_fits
from widthwise.infinite.state import Pair, Trace

if TYPE_CHECKING:
    from widthwise.infinite.network import Network

__all__ = ["Task", "Tile", "check_pair", "diagonal", "gram", "parts"]

CACHED = 1 << 16
"""Numbers of a tile on a CPU: a few such arrays fit the second-level cache."""
LARGE = 1 << 24
"""The same elsewhere, where a kernel launch costs more than a pass through memory."""
OWN = 1 << 22
"""Numbers held at a time when each input is paired with itself."""
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

    network: Network
    left: Vectors | Images
    right: Vectors | Images
    traces: tuple[Trace, Trace]
    nngp: bool
    ntk: bool

    @classmethod
    def of(cls, network: Network, x1: Tensor, x2: Tensor | None, *, nngp: bool, ntk: bool) -> Task:
        """Take each input through the network."""
        if x2 is None:
            left = _start(network, x1)
            trace = _traced(network, left, ntk, len(x1) ** 2)
            return cls(network, left, left, (trace, trace), nngp, ntk)
        both = _start(network, torch.cat([x1, x2]))
        trace = _traced(network, both, ntk, len(x1) * len(x2))
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
        _check_flat(after)
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


def gram(network: Network, x1: Tensor, x2: Tensor | None, *, nngp: bool, ntk: bool) -> tuple[Tensor, ...]:
    """Return the wanted kernels of two sets of inputs, or of one with itself."""
    check_pair(x1, x2)
    if torch.is_grad_enabled() and (x1.requires_grad or (x2 is not None and x2.requires_grad)):
        return _differentiable(Task.of(network, x1, x2, nngp=nngp, ntk=ntk))
    with torch.no_grad():
        n1, n2 = len(x1), len(x1 if x2 is None else x2)
        check_fits(n1, n2, x1, nngp + ntk)
        task = Task.of(network, x1, x2, nngp=nngp, ntk=ntk)
        out = tuple(_empty(n1, n2, x1) for _ in range(nngp + ntk))
        for tile in task.tiles():
            for whole, part in zip(out, parts(tile), strict=True):
                task.put(whole, tile, part)
        return out


def _empty(n1: int, n2: int, like: Tensor) -> Tensor:
    """A matrix for results; on a CPU NumPy's, whose large arrays lie on huge pages, which are had sooner."""
    if like.device.type != "cpu":
        return like.new_empty(n1, n2)
    return torch.from_numpy(np.empty((n1, n2), np.float64 if like.dtype == torch.float64 else np.float32))


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


def diagonal(network: Network, x: Tensor, *, ntk: bool = True) -> tuple[Tensor, ...]:
    """Return the NNGP and, if wanted, the NTK of each input with itself, ``(n,)``."""
    start = _start(network, _check_inputs("x", x))
    pieces = []
    for rows in _chunks(start):
        some = start[rows]
        trace, after = network.trace(some.rows(ntk))
        pair = network.pairs(some.own(ntk), trace, trace)
        _check_flat(pair)
        found = [after.r.square()] if pair.ntk is None else [after.r.square(), pair.ntk.expand_as(after.r)]
        pieces.append([kernel.to(x.dtype) for kernel in found])
    return tuple(torch.cat(kernel) for kernel in zip(*pieces, strict=True))


def _check_inputs(name: str, x: Tensor) -> Tensor:
    """Return ``x`` if it is a batch of vectors or of images with one or two spatial axes.

    Raises:
        InputTypeError: if it is not a tensor of float32 or float64.
        InputError: if it is empty, not finite, or of another shape.
    """
    check_type(name, x, Tensor)
    if x.layout != torch.strided:
        raise InputTypeError(f"{name}: got a tensor of layout {x.layout}, allowed are dense tensors")
    if x.dtype not in (torch.float32, torch.float64):
        raise InputTypeError(f"{name}: got dtype {x.dtype}, allowed are float32 and float64")
    if not 2 <= x.ndim <= 4 or x.numel() == 0:
        raise InputError(
            f"{name}: got shape {tuple(x.shape)}, allowed are (n, d), (n, channels, length) and "
            "(n, channels, height, width), none of them 0"
        )
    return check_finite(name, x)


def check_pair(x1: Tensor, x2: Tensor | None) -> None:
    """Check two batches of inputs, of which the second may be absent, and that they match.

    Raises:
        InputTypeError: as :meth:`Network.kernels`.
        InputError: likewise, or if their shapes, dtypes or devices differ.
    """
    _check_inputs("x1", x1)
    if x2 is None:
        return
    _check_inputs("x2", x2)
    for what, got, allowed in (
        ("shape", tuple(x2.shape[1:]), tuple(x1.shape[1:])),
        ("dtype", x2.dtype, x1.dtype),
        ("device", x2.device, x1.device),
    ):
        if got != allowed:
            raise InputError(f"x2: got inputs of {what} {got}, allowed is that of x1, {allowed}")


def _check_flat(pair: Pair) -> None:
    if pair.layout.space:
        raise InputError("layers: the outputs still have positions; end with Flatten or GlobalAvgPool, then Dense")


def _start(network: Network, x: Tensor) -> Vectors | Images:
    from widthwise.infinite.spatial import Flatten

    if x.ndim == 2 or isinstance(network.layers[0], Flatten):
        return Vectors.of(x.flatten(1))
    return Images.of(x, network.pools)


def _chunks(start: Vectors | Images) -> list[slice]:
    """All inputs at once, or few at a time where each one's own positions are paired."""
    n, each = len(start.r), math.prod(start.r.shape[1:])
    step = max(1, OWN // each**2) if start.full else n
    return [slice(at, at + step) for at in range(0, n, step)]


def _traced(network: Network, start: Vectors | Images, tangent: bool, pairs: int) -> Trace:
    """Take each input through the network, and bring the result to the inputs' precision."""
    if isinstance(start, Images) and suits(network, start, pairs):
        trace = trace_displaced(network, start, tangent)
    else:
        trace = Trace.joined([network.trace(start[rows].rows(tangent))[0] for rows in _chunks(start)])
    trace = trace.to(start.unit.dtype)
    if not bool(torch.isfinite(trace.after.detach().square()).all()):
        raise InputError(
            f"x1: the kernel of some inputs is beyond the largest {trace.after.dtype}; allowed are smaller inputs or "
            "sigma_w"
        )
    return trace


def _differentiable(task: Task) -> tuple[Tensor, ...]:
    """All in one tile, as part of autograd's graph."""
    n1, n2 = task.shape
    found = parts(task.tile(slice(0, n1), slice(0, n2)))
    return tuple(part.triu() + part.triu(1).mT for part in found) if task.symmetric else found
