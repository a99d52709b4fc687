"""A sparse convolution of a batch of pictures, and its gradients: the kernels' tables filled in.

The weight matrix has a row for each output channel and a column for each tap (input channel, line, column). Laid out as
images, the batch makes of a convolution the product of that matrix with tiles whose rows overlap: row ``tap`` starts at
``offsets[tap]``. Its gradients are the same with lines (input channel, phases) and entries (output channel, line,
column) that start in the gradient of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from widthwise.sparse._cuts import bounds, pieces, shape
from widthwise.sparse._geometry import Axis
from widthwise.sparse._images import Frame, Runs, pack, runs
from widthwise.sparse._processor import REGISTERS
from widthwise.sparse._team import run, threads
from widthwise.sparse._types import lanes, suffix

__all__ = ["Geometry", "gradients", "product"]


_PART_BYTES = 128  # of the examples of one place: two lines of a cache


@dataclass(frozen=True)
class Geometry:
    """Both axes of a convolution."""

    down: Axis
    along: Axis

    @classmethod
    def of(cls, size: tuple[int, int], numbers: Sequence[int]) -> Geometry:
        """For pictures of ``size``.

        Args:
            size: height and width.
            numbers: of both axes in turn: taps, strides, zeros before, zeros after, dilations.
        """
        return cls(Axis(size[0], *numbers[:10:2]), Axis(size[1], *numbers[1:10:2]))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.down.out, self.along.out

    @property
    def taps(self) -> int:
        """Of one channel."""
        return self.down.kernel * self.along.kernel

    @property
    def phases(self) -> int:
        """Images of one channel."""
        return len(self.down.phases) * len(self.along.phases)

    @cached_property
    def phase_of(self) -> tuple[int, ...]:
        """The image of a channel that each tap reads."""
        across = len(self.along.phases)
        return tuple(i * across + j for i in self.down.phase_of for j in self.along.phase_of)

    def parts(self, batch: int, dtype: torch.dtype) -> list[slice]:
        """How to cut a batch: what the taps of one tile read is least if they overlap, so not far beyond one line."""
        size = max(_PART_BYTES // dtype.itemsize, -(-REGISTERS * lanes(dtype) // self.along.out))
        if self.taps == 1:
            return [slice(0, batch)]
        return [slice(first, min(batch, first + size)) for first in range(0, batch, size)]

    def forward(self, batch: int, lane: int) -> tuple[Frame, Runs]:
        """Frame of the input and tiles of the result."""
        down, along = self.down.padded, self.along.padded
        pitch = along.length * batch
        return Frame(pitch, down.length * pitch), runs(self.down.out, self.along.out * batch, pitch, lane)

    def backward(self, batch: int, lane: int) -> tuple[Frame, Runs]:
        """Frame of the result's gradient and tiles of the input's."""
        down, along = self.down.slopes, self.along.slopes
        pitch = along.length * batch
        inner = self.along.inner.length * batch
        return Frame(pitch, down.length * pitch), runs(self.down.inner.length, inner, pitch, lane)


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
    parts = geometry.parts(len(x), x.dtype)
    if len(parts) == 1:
        return _product(x, values, bias, columns, starts, clip, geometry)
    result = x.new_empty((bias.numel(), *geometry.size, len(x))).permute(3, 0, 1, 2)
    for part in parts:
        result[part] = _product(x[part], values, bias, columns, starts, clip, geometry)
    return result


def gradients(
    dy: Tensor, x: Tensor, gate: Tensor | None, values: Tensor,
    entries: Tensor, starts: Tensor, order: Tensor, wants_input: bool, geometry: Geometry,
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
        geometry: for pictures of ``x``'s size.

    Returns:
        Gradients of the input, batch last without gaps, or empty; of the values; of the bias.
    """
    kind, by_line = suffix(values.dtype), torch.empty_like(values)
    run(f"gather_{kind}", 1, values, order, by_line, values.numel())
    dx = x.new_empty((*x.shape[1:], len(x)) if wants_input else 0)
    dx = dx.permute(3, 0, 1, 2) if wants_input else dx
    change, total = torch.zeros_like(values), dy.new_zeros(dy.shape[1])
    parts = geometry.parts(len(x), x.dtype)
    for part in parts:
        door = None if gate is None else gate[part]
        inputs, weights, biases = _gradients(dy[part], x[part], door, by_line, entries, starts, wants_input, geometry)
        change += weights
        total += biases
        if len(parts) == 1:
            dx = inputs
        elif wants_input:
            dx[part] = inputs
    by_row = by_line  # its values are spent
    run(f"scatter_{kind}", 1, change, order, by_row, values.numel())
    return dx, by_row, total


def _product(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, clip: bool, geometry: Geometry
) -> Tensor:
    (batch, channels), rows, lane = x.shape[:2], bias.numel(), lanes(x.dtype)
    frame, tiles = geometry.forward(batch, lane)
    source = pack(x, geometry.down.padded, geometry.along.padded, frame, purpose="input")
    result = x.new_empty(rows * tiles.frame.plane)
    count = len(tiles.counts)
    team = threads(values.numel() * lane * tiles.registers)
    parts = pieces(team, count)
    run(
        f"add_rows_{suffix(x.dtype, columns.dtype)}", team, values, columns, _offsets(geometry, channels, frame, batch),
        starts, *shape(starts), bounds(starts, parts), parts, count, tiles.counts,
        source, tiles.sources, result, tiles.targets, tiles.frame.plane, bias, int(clip),
    )  # fmt: skip
    return _pictures(result, rows, geometry.size, tiles.frame, batch).permute(3, 0, 1, 2)


def _gradients(
    dy: Tensor, x: Tensor, gate: Tensor | None, by_line: Tensor,
    entries: Tensor, starts: Tensor, wants_input: bool, geometry: Geometry,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Those of the input, of the values, lines first, and of the bias."""
    (batch, channels), rows, lane = x.shape[:2], dy.shape[1], lanes(x.dtype)
    frame, tiles = geometry.backward(batch, lane)
    source = pack(x, geometry.down.inner, geometry.along.inner, tiles.frame, purpose="input")
    slopes = pack(dy, geometry.down.slopes, geometry.along.slopes, frame, gate, purpose="slopes")
    lines = channels * geometry.phases
    result = x.new_empty(lines * tiles.frame.plane if wants_input else 0)
    change, count = torch.empty_like(by_line), len(tiles.counts)
    team = threads(2 * by_line.numel() * lane * tiles.registers)
    parts = pieces(team, 1)
    run(
        f"column_gradients_{suffix(by_line.dtype, entries.dtype)}", team, by_line, entries,
        _slope_offsets(geometry, rows, frame, batch), starts, *shape(starts), bounds(starts, parts), parts,
        count, tiles.counts, source, tiles.targets, tiles.frame.plane, slopes, tiles.sources,
        result if wants_input else None, tiles.targets, tiles.frame.plane, change,
    )  # fmt: skip
    total = slopes[: rows * frame.plane].view(rows, -1).sum(1)
    return _input_gradient(result, x, geometry, tiles.frame) if wants_input else result, change, total


@lru_cache(maxsize=64)
def _offsets(geometry: Geometry, channels: int, frame: Frame, batch: int) -> Tensor:
    """Where each column of the matrix starts in the images of the input."""
    down = np.array(geometry.down.shifts)[:, None] * frame.pitch
    taps = (down + np.array(geometry.along.shifts) * batch).reshape(-1)
    images = np.arange(channels)[:, None] * geometry.phases + np.array(geometry.phase_of)
    return torch.from_numpy((images * frame.plane + taps).reshape(-1).astype(np.int64))


@lru_cache(maxsize=64)
def _slope_offsets(geometry: Geometry, rows: int, frame: Frame, batch: int) -> Tensor:
    """Where each entry starts in the images of the result's gradient."""
    down = np.array(geometry.down.slope_shifts)[:, None] * frame.pitch
    taps = (down + np.array(geometry.along.slope_shifts) * batch).reshape(-1)
    return torch.from_numpy((np.arange(rows)[:, None] * frame.plane + taps).reshape(-1).astype(np.int64))


def _pictures(images: Tensor, count: int, size: tuple[int, int], frame: Frame, batch: int) -> Tensor:
    """Shape (count, H, W, N), contiguous, of ``images`` of ``size`` in ``frame``."""
    strides = (frame.plane, frame.pitch, batch, 1)
    return images.as_strided((count, *size, batch), strides).contiguous()


def _input_gradient(images: Tensor, x: Tensor, geometry: Geometry, frame: Frame) -> Tensor:
    """The images of all phases as one picture."""
    batch, channels, height, width = x.shape
    down, along = geometry.down.inner, geometry.along.inner
    if down.is_whole and along.is_whole:
        return _pictures(images, channels, (height, width), frame, batch).permute(3, 0, 1, 2)
    result = x.new_zeros((channels, height, width, batch))
    for phase in range(geometry.phases):
        i, j = divmod(phase, len(along.origins))
        (top, tall, line), (left, wide, column) = down.span(i), along.span(j)
        part = images.as_strided(
            (channels, tall, wide, batch),
            (geometry.phases * frame.plane, frame.pitch, batch, 1),
            phase * frame.plane + top * frame.pitch + left * batch,
        )
        target = result[:, line :: down.step, column :: along.step]
        target[:, :tall, :wide] = part
    return result.permute(3, 0, 1, 2)
