"""A sparse convolution of a batch of pictures, and its gradients: the kernels' tables filled in.

The weight matrix has a row for each output channel and a column for each tap (input channel, line, column), which is
read in a slab of the input at a fixed distance from the place of the result. The gradients are the same with lines
(input channel, phases) and entries (output channel, line, column) that are read in a slab of the result's gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from widthwise.sparse._cuts import bounds, steps
from widthwise.sparse._geometry import Geometry, Window
from widthwise.sparse._processor import REGISTERS, tile_registers, vector_bytes
from widthwise.sparse._scratch import scratch
from widthwise.sparse._slabs import Cut, cut
from widthwise.sparse._team import run, threads
from widthwise.sparse._tiles import batch_last
from widthwise.sparse._types import lanes, suffix

__all__ = ["gradients", "product"]

_GROUPS = 8  # of pieces, that add up the gradients of the weights apart
_LINE = 16  # numbers to which slabs are rounded


@dataclass(frozen=True)
class _Way:
    """What one pass reads: its cut, where each tap stands in a slab, and the windows that slabs are cut from."""

    cut: Cut
    size: tuple[int, int]
    distances: Tensor
    windows: tuple[Window, Window]
    tops: Tensor
    lefts: Tensor
    images: int

    @property
    def ranges(self) -> tuple[int, ...]:
        """How pieces are counted."""
        return *self.size, self.cut.downs, self.cut.alongs, self.cut.parts, self.cut.examples

    def slabs(self, x: Tensor, team: int) -> tuple[Tensor | int, ...]:
        """The end of a kernel's table: pictures ``x``, how slabs are cut from them, and memory for the slabs."""
        (batch, channels, height, width), one = x.shape, self.cut
        numbers = self.images * one.lines * one.columns * one.examples
        pitch = -(-(numbers + lanes(x.dtype)) // _LINE) * _LINE
        return (
            channels, height, width, batch, self.windows[0].step, self.windows[1].step, len(self.tops), len(self.lefts),
            self.tops, self.lefts, one.lines, one.columns, one.examples, scratch("slabs", team * pitch, x.dtype), pitch,
            0, steps(REGISTERS, lanes(x.dtype)),
        )  # fmt: skip


def product(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, clip: bool, geometry: Geometry
) -> Tensor:
    """The convolution of ``x``, and with ``clip`` its ReLU.

    Args:
        x: shape (N, C, H, W), N >= 1, any strides.
        values: of the weights, row by row.
        bias: shape (rows,).
        columns: of each value.
        starts: of the rows, see :class:`~widthwise.sparse.pattern.Pattern`.
        clip: whether to set to zero what is below.
        geometry: for pictures of ``x``'s size.

    Returns:
        Shape (N, rows, H', W'), batch last without gaps.
    """
    x, rows = batch_last(x), bias.numel()
    way = _forward(geometry, x.shape[1], len(x), values.numel(), x.dtype)
    result = x.new_empty((rows, *geometry.size, len(x)))
    team = min(threads(values.numel() * result[0].numel()), way.cut.pieces)
    run(
        f"conv_product_{suffix(x.dtype)}", team, values, _distances(columns, way), starts, rows, bias, int(clip),
        result, tile_registers(vector_bytes()), *way.ranges, x, *way.slabs(x, team),
    )  # fmt: skip
    return result.permute(3, 0, 1, 2)


def gradients(
    dy: Tensor, x: Tensor, gate: Tensor | None, values: Tensor,
    entries: Tensor, starts: Tensor, order: Tensor, wants_input: bool, wants_bias: bool, geometry: Geometry,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of :func:`product`.

    Args:
        dy: gradient of the result, any strides.
        x: as given to :func:`product`.
        gate: the result, if it was clipped.
        values: of the weights, row by row.
        entries: of each value, lines (input channel, phases) first.
        starts: of the lines.
        order: which value comes at each place, lines first.
        wants_input: whether to compute the first of what is returned.
        wants_bias: whether to compute the last.
        geometry: for pictures of ``x``'s size.

    Returns:
        Gradients of the input, batch last without gaps, or empty; of the values; of the bias, or empty.
    """
    dy, x, gate = batch_last(dy), batch_last(x), None if gate is None else batch_last(gate)
    kind, nnz = suffix(values.dtype), values.numel()
    way = _backward(geometry, dy.shape[1], len(x), nnz, x.dtype)
    down, along = geometry.down.inner, geometry.along.inner
    tops, lefts = _origins(down), _origins(along)
    groups, team = min(_GROUPS, way.cut.pieces), threads(2 * nnz * dy[:, 0].numel())
    chunks = -(-team // groups)
    by_line, change = scratch("values", nnz, x.dtype), scratch("changes", groups * nnz, x.dtype)
    run(f"gather_{kind}", 1, values, order, by_line, nnz)
    room = x.new_empty if down.covers and along.covers else x.new_zeros
    dx = room((*x.shape[1:], len(x))).permute(3, 0, 1, 2) if wants_input else None
    run(
        f"conv_gradients_{kind}", team, by_line, _distances(entries, way), starts, nnz, change, groups,
        bounds(starts, chunks), chunks, x, dx, gate, x.shape[2], x.shape[3], tile_registers(vector_bytes()),
        down.step, along.step, len(lefts), geometry.phases, tops, lefts, *way.ranges, dy, *way.slabs(dy, team),
    )  # fmt: skip
    result, total = torch.empty_like(values), dy.new_empty(dy.shape[1] if wants_bias else 0)
    run(f"collect_{kind}", 1, change, groups, nnz, order, result)
    if wants_bias:
        run(f"channel_sums_{kind}", 1, dy, gate, dy.shape[1], dy[:, 0].numel(), total)
    return x.new_empty(0) if dx is None else dx, result, total


def _distances(columns: Tensor, way: _Way) -> Tensor:
    """Where each value reads in a slab."""
    found = scratch("distances", columns.numel(), torch.int32)
    run(f"look_up_{suffix(columns.dtype)}", 1, columns, way.distances, found, columns.numel())
    return found


@lru_cache(maxsize=256)
def _forward(geometry: Geometry, channels: int, batch: int, weights: int, dtype: torch.dtype) -> _Way:
    """From images of the input, each of a channel and its phases, to the result."""
    down, along = geometry.down, geometry.along
    reach = (max(down.shifts), max(along.shifts))
    one = cut(geometry.size, batch, channels * geometry.phases, reach, weights, dtype)
    images = np.arange(channels)[:, None] * geometry.phases + np.array(geometry.phase_of)
    distances = _taps(down.shifts, along.shifts, one) + images * one.lines * one.columns * one.examples
    return _way(one, geometry.size, distances, (down.padded, along.padded), channels * geometry.phases)


@lru_cache(maxsize=256)
def _backward(geometry: Geometry, rows: int, batch: int, weights: int, dtype: torch.dtype) -> _Way:
    """From the result's gradient to that of the input's images."""
    down, along = geometry.down, geometry.along
    size, reach = (down.inner.length, along.inner.length), (max(down.slope_shifts), max(along.slope_shifts))
    one = cut(size, batch, rows, reach, weights, dtype)
    images = np.arange(rows)[:, None] * one.lines * one.columns * one.examples
    distances = _taps(down.slope_shifts, along.slope_shifts, one) + images
    return _way(one, size, distances, (down.slopes, along.slopes), rows)


def _taps(down: tuple[int, ...], along: tuple[int, ...], one: Cut) -> npt.NDArray[Any]:
    """Where the taps stand in an image of a slab."""
    taps: npt.NDArray[Any] = np.array(down)[:, None] * one.columns + np.array(along)
    return taps.reshape(-1) * one.examples


def _way(
    one: Cut, size: tuple[int, int], distances: npt.NDArray[Any],
    windows: tuple[Window, Window], images: int,
) -> _Way:  # fmt: skip
    table = torch.from_numpy(distances.reshape(-1).astype(np.int32))
    return _Way(one, size, table, windows, _origins(windows[0]), _origins(windows[1]), images)


@lru_cache(maxsize=256)
def _origins(window: Window) -> Tensor:
    return torch.tensor(window.origins, dtype=torch.int64, device="cpu")
