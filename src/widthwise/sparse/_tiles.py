"""Tiles: how activations lie while a sparse kernel works on them.

A batch of ``B`` examples is cut into ``count`` tiles of ``size`` neighbours; within a tile the values of one feature
lie side by side, so that the tensor of a packed batch has shape ``(count, features, size)``. A two-dimensional tensor
that is *batch last* in memory, strides ``(1, pitch)``, is a tile itself if one holds the batch, and quickly packed if
not; element-wise operators keep such strides, so sparse layers hand activations on to each other as they lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.sparse._processor import REGISTERS
from widthwise.sparse._team import run, threads
from widthwise.sparse._types import lanes, suffix

__all__ = ["Tiling", "batch_last", "is_batch_last", "lies_batch_last", "pack", "plain", "tiling", "turned"]


@dataclass(frozen=True)
class Tiling:
    """``count`` tiles of ``size`` examples, each ``registers`` vectors wide."""

    count: int
    size: int
    registers: int

    @property
    def examples(self) -> int:
        """Examples the tiles have room for, at least the batch."""
        return self.count * self.size


def tiling(batch: int, dtype: torch.dtype) -> Tiling:
    """The fewest tiles that hold ``batch`` examples, of equal size and as narrow as that allows."""
    vectors = -(-batch // lanes(dtype))
    count = -(-vectors // REGISTERS)
    registers = -(-vectors // count)
    return Tiling(count, registers * lanes(dtype), registers)


def lies_batch_last(x: Tensor) -> bool:
    """Whether the examples of ``x`` of shape ``(B, features)`` are neighbours in memory, and not its features."""
    return x.stride(0) == 1 and not x.is_contiguous()


def is_batch_last(x: Tensor) -> bool:
    """Whether pictures of shape (N, C, H, W) lie batch last without gaps, ``[channel][line][column][example]``."""
    return x.permute(1, 2, 3, 0).is_contiguous()


def batch_last(x: Tensor) -> Tensor:
    """Pictures of shape (N, C, H, W) that lie so: ``x`` itself, or a copy."""
    if is_batch_last(x):
        return x
    lines = turned(x.flatten(1)).t() if x.is_contiguous() else x.permute(1, 2, 3, 0).contiguous()
    return lines.view(*x.shape[1:], len(x)).permute(3, 0, 1, 2)


def pack(x: Tensor, tiles: Tiling, gate: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """``x`` of shape ``(B, features)`` in tiles, zero past its last example and where ``gate`` is not above zero.

    Args:
        x: activations or gradients, any strides.
        tiles: how to cut the batch.
        gate: the output of a ReLU, of the same shape; best batch last with room for whole tiles, as kernels leave it.

    Returns:
        The tiles, and the sum of each feature over each, shape ``(count, features)``.
    """
    if gate is not None and not _fills_tiles(gate, tiles):
        x, gate = x.where(gate > 0, 0), None
    batch, features = x.shape
    packed, sums = x.new_empty((tiles.count, features, tiles.size)), x.new_empty((tiles.count, features))
    team = threads(8 * packed.numel())
    chunks = -(-features // 64)  # what a chunk copies is still in the cache when the gate closes on it
    run(
        f"pack_{suffix(x.dtype)}", team, x, batch, features, x.stride(0), x.stride(1), packed, tiles.size, tiles.count,
        chunks, gate, 0 if gate is None else gate.stride(1), sums, tiles.registers,
    )  # fmt: skip
    return packed, sums


def _fills_tiles(gate: Tensor, tiles: Tiling) -> bool:
    """Whether whole registers of each feature of ``gate`` can be read up to the end of the last tile.

    Not where one example came alone, nor where autograd's hooks for saved tensors gave back a copy in other strides.
    """
    (first, pitch), features = gate.stride(), gate.shape[1]
    room = gate.untyped_storage().nbytes() // gate.element_size() - gate.storage_offset()
    return first == 1 and pitch >= tiles.examples and room >= (features - 1) * pitch + tiles.examples


def plain(x: Tensor) -> Tensor:
    """A contiguous copy of a batch-last ``x`` of shape ``(B, features)``."""
    return turned(x.t()).t()


def turned(x: Tensor) -> Tensor:
    """A batch-last copy of ``x`` of shape ``(B, features)``, whose features are neighbours in memory."""
    batch, features = x.shape
    result = x.new_empty((features, batch))
    team = threads(8 * x.numel())
    chunks = 4 * team if team > 1 else 1
    run(f"turn_{suffix(x.dtype)}", team, x, x.stride(0), batch, features, result, batch, chunks)
    return result.t()
