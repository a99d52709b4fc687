"""Images: how pictures lie while a convolution works on them.

Kernels see a picture *batch last*, ``[channel][line][column][example]``, so that neighbours in a line are one run of
numbers and each tap of a kernel is a fixed distance. ``pack`` lays a batch that way, cut into the windows of
:mod:`widthwise.sparse._geometry` with the zeros around it; ``runs`` cuts the result's lines into tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from widthwise.sparse._geometry import Window
from widthwise.sparse._processor import REGISTERS
from widthwise.sparse._scratch import scratch
from widthwise.sparse._team import run, threads
from widthwise.sparse._types import lanes, suffix

__all__ = ["Frame", "Runs", "is_batch_last", "pack", "runs"]

_OVERHEAD = 2  # of a pass over the weights with one tile, in registers of work


@dataclass(frozen=True)
class Frame:
    """Distances, in numbers, between the lines of an image and between images."""

    pitch: int
    plane: int


@dataclass(frozen=True)
class Runs:
    """Tiles of the lines of an image: registers of each, and where it starts in what is read and what is written."""

    frame: Frame
    registers: int
    counts: Tensor
    sources: Tensor
    targets: Tensor


@lru_cache(maxsize=256)
def runs(lines: int, width: int, reach: int, lane: int) -> Runs:
    """Cut ``lines`` of ``width`` numbers into tiles.

    Lines are cut one by one, or, where they are short, as one run with what stands between them in the source.

    Args:
        lines: of the image that is written.
        width: numbers of a line.
        reach: distance of lines in what is read, at least ``width``.
        lane: numbers in a register.
    """
    whole = (lines - 1) * reach + width
    if _cost(whole, lane) < lines * _cost(width, lane):
        frame = Frame(reach, _rounded(lines * reach, lane))
        starts, length, count = [(0, 0)], whole, 1
    else:
        pitch = _rounded(width, lane)
        frame = Frame(pitch, lines * pitch)
        starts, length, count = [(line * reach, line * pitch) for line in range(lines)], width, lines
    registers = -(-length // lane)
    parts = -(-registers // REGISTERS)
    cuts = [registers * part // parts for part in range(parts + 1)]
    return Runs(
        frame,
        registers * count,
        _table([last - first for first, last in pairwise(cuts)] * count),
        _table([source + first * lane for source, _ in starts for first in cuts[:-1]]),
        _table([target + first * lane for _, target in starts for first in cuts[:-1]]),
    )


def is_batch_last(x: Tensor) -> bool:
    """Whether pictures of shape (N, C, H, W) lie batch last without gaps."""
    return x.permute(1, 2, 3, 0).is_contiguous()


def pack(x: Tensor, down: Window, along: Window, frame: Frame, gate: Tensor | None = None, *, purpose: str) -> Tensor:
    """Lay pictures as images, one for each channel and each pair of phases, with zeros in every gap.

    Args:
        x: shape (N, C, H, W), N >= 1, any strides.
        down: how lines are cut.
        along: how columns are cut.
        frame: of the images.
        gate: of ``x``'s shape, fastest batch last; where it is not above zero, ``x`` counts as zero.
        purpose: of the memory, see :func:`~widthwise.sparse._scratch.scratch`.

    Returns:
        The images one after the other, and one register of zeros; ``x`` as it is if it lies that way.
    """
    if gate is not None and gate.stride(0) != 1:  # of a layout that autograd's hooks for saved tensors chose
        x, gate = x.where(gate > 0, 0), None
    batch, channels = x.shape[:2]
    lane = lanes(x.dtype)
    lies = down.is_whole and along.is_whole and frame == Frame(along.length * batch, down.length * along.length * batch)
    if lies and frame.pitch % lane == 0 and gate is None and is_batch_last(x):
        return x.permute(1, 2, 3, 0).reshape(-1)
    size = channels * len(down.origins) * len(along.origins) * frame.plane
    packed = scratch(purpose, size + lane, x.dtype)
    packed[size:] = 0
    lines, spans = _cuts(down, along)
    gaps = (0, 0, 0) if gate is None else gate.stride()[1:]
    by_example, by_channel, by_line, by_column = x.stride()
    run(
        f"images_{suffix(x.dtype)}", threads(8 * size), x, by_example, by_channel, by_line, by_column, batch, channels,
        packed, frame.pitch, frame.plane, down.length, len(down.origins), len(along.origins), lines, spans,
        along.step, gate, *gaps,
    )  # fmt: skip
    return packed


@lru_cache(maxsize=256)
def _cuts(down: Window, along: Window) -> tuple[Tensor, Tensor]:
    lines = [down.sources(phase) for phase in range(len(down.origins))]
    spans = [along.span(phase) for phase in range(len(along.origins))]
    return torch.tensor(lines, dtype=torch.int64, device="cpu"), torch.tensor(spans, dtype=torch.int64, device="cpu")


def _cost(length: int, lane: int) -> int:
    registers = -(-length // lane)
    return registers + _OVERHEAD * -(-registers // REGISTERS)


def _rounded(count: int, lane: int) -> int:
    return -(-count // lane) * lane


def _table(numbers: list[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64, device="cpu")
