"""Where the weights of a sparse matrix stand: compressed rows, and what the kernels derive from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from widthwise.errors import InputError
from widthwise.sparse._processor import cache_bytes, near_features
from widthwise.sparse._types import index_dtype

__all__ = ["Pattern", "row_pointers"]

_NARROWEST = 64  # bytes of a feature in a packed tile
_WORTHWHILE = 48  # weights of a row on average that are worth a start of their own

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pattern:
    """A sparse matrix without its values, for both directions.

    Values are in row-major order, that of ``weight[mask]``.

    Attributes:
        shape: rows (outputs) and columns (inputs).
        columns: of each value, shape (nnz,), 16 bits wide where that is enough.
        starts: where the values of each row start, (rows + 1,), or those of each row in each block of columns,
            (blocks + 1, rows).
        rows: of each value, columns first, shape (nnz,); the tap counts too, ``row * taps + tap``.
        row_starts: as ``starts``, of each column, or of each input and phase.
        order: which value comes at each place, columns first, shape (nnz,).
    """

    shape: tuple[int, int]
    columns: Tensor
    starts: Tensor
    rows: Tensor
    row_starts: Tensor
    order: Tensor

    @classmethod
    def from_rows(
        cls, pointers: Tensor, columns: Tensor, width: int, phase_of: Sequence[int] = (0,), *, blocks: bool = False
    ) -> Pattern:
        """Derive all from compressed rows.

        Args:
            pointers: where each row starts, and the number of values last; int64, shape (rows + 1,).
            columns: of each value, ascending within a row.
            width: number of columns.
            phase_of: for a convolution, whose columns are the taps of one input after the other: the phase of each.
                Columns of one input and phase then share a gradient, as a column of a plain matrix has its own.
            blocks: whether to cut lines so long that a tile of all they read is more than the cache holds; rows that
                are dense enough, by what the nearest cache holds.

        Raises:
            InputError: if these are no compressed rows: pointers that fall, a column out of range or twice in a row.
        """
        starts, across = pointers.numpy(), columns.numpy()
        _check(starts, across, width)
        taps = len(phase_of)
        height = (len(starts) - 1) * taps
        entries, lines = _turned(starts, across, np.asarray(phase_of))
        order = np.argsort(lines, kind="stable")
        rows = entries[order].astype(_numpy(index_dtype(height)))
        count = width // taps * (max(phase_of) + 1)
        down = np.concatenate([[0], np.cumsum(np.bincount(lines, minlength=count))]).astype(np.int64)
        narrow = np.int32 if len(order) < 2**31 else np.int64
        return cls(
            (len(starts) - 1, width),
            columns,
            torch.from_numpy(_in_blocks(starts, across, width, _step(starts, width)) if blocks else starts),
            torch.from_numpy(rows),
            torch.from_numpy(_in_blocks(down, rows, height, _half()) if blocks else down),
            torch.from_numpy(order.astype(narrow)),
        )


def row_pointers(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Where the rows of a boolean matrix start, int64 of shape (rows + 1,), and the columns of its true entries."""
    places = mask.cpu().numpy()
    pointers = np.concatenate([[0], np.cumsum(places.sum(1))]).astype(np.int64)
    columns = np.nonzero(places)[1].astype(_numpy(index_dtype(mask.shape[1])))
    return torch.from_numpy(pointers), torch.from_numpy(columns)


def _numpy(dtype: torch.dtype) -> Any:
    return {torch.uint16: np.uint16, torch.int32: np.int32, torch.int64: np.int64}[dtype]


def _turned(starts: Array, across: Array, phase_of: Array) -> tuple[Array, Array]:
    """For each value its row and tap as one number, and its input and phase as another."""
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    if len(phase_of) == 1:
        return rows, across
    inputs, taps = np.divmod(across.astype(np.int64), len(phase_of))
    lines = inputs * (phase_of.max() + 1) + phase_of[taps]
    return rows * len(phase_of) + taps, lines.astype(across.dtype)  # narrow numbers sort faster


def _check(pointers: Array, columns: Array, width: int) -> None:
    if len(pointers) == 0 or pointers[0] != 0 or pointers[-1] != len(columns) or (np.diff(pointers) < 0).any():
        raise InputError(f"pointers: do not rise from 0 to the number of values, {len(columns)}")
    if not len(columns):
        return
    wide = columns.astype(np.int64)
    if wide.min() < 0 or wide.max() >= width:
        raise InputError(f"columns: got {wide.min()} to {wide.max()}, allowed is 0 to {width - 1}")
    rises = np.diff(wide) > 0
    opens = np.zeros(len(columns) + 1, dtype=bool)
    opens[pointers] = True
    if not (rises | opens[1:-1]).all():
        raise InputError("columns: not ascending within each row, or one of them twice")


def _half() -> int:
    """Features of which the narrowest tile takes half the cache."""
    return cache_bytes() // 2 // _NARROWEST


def _step(starts: Array, width: int) -> int:
    """Features to a block of columns."""
    near = near_features()
    return near if starts[-1] * near >= _WORTHWHILE * (len(starts) - 1) * width else _half()


def _in_blocks(starts: Array, across: Array, width: int, step: int) -> Array:
    """``starts`` of each line in each block of ``across``, or as it is where one block does."""
    if width <= 2 * step or not len(across):
        return starts
    lines, blocks = len(starts) - 1, -(-width // step)
    line_of = np.repeat(np.arange(lines, dtype=np.int64), np.diff(starts))
    counts = np.bincount(line_of * blocks + across.astype(np.int64) // step, minlength=lines * blocks)
    ends = np.cumsum(counts).reshape(lines, blocks).T
    return np.ascontiguousarray(np.vstack([starts[:-1], ends])).astype(np.int64)
