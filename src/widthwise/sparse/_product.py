"""A sparse matrix times a batch, and its gradients: the kernels' tables filled in."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from widthwise.sparse._team import run, threads
from widthwise.sparse._tiles import Tiling, is_batch_last, pack, tiling
from widthwise.sparse._types import suffix

__all__ = ["gradients", "product"]

_tiling = lru_cache(maxsize=256)(tiling)
_FEW = 100  # weights that read a feature: too few for a packed tile to be worth the packing


def product(x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, clip: bool) -> Tensor:
    """``x W' + bias``, and with ``clip`` its ReLU.

    Args:
        x: shape (B, columns), B >= 1; any strides.
        values: of the weights, row by row.
        bias: shape (rows,).
        columns: of each value.
        starts: of the rows, see :class:`~widthwise.sparse.pattern.Pattern`.
        clip: whether to set to zero what is below.

    Returns:
        The result, shape (B, rows), batch last.
    """
    batch, rows = x.shape[0], bias.numel()
    if batch == 1:
        return _one_example(x, values, bias, columns, starts, clip)
    tiles = _tiling(batch, x.dtype)
    result = _batch_last(x, rows, tiles)
    source, pitch, bases = _placed(x, tiles, tiles.count == 1 or values.numel() < _FEW * x.shape[1])
    team = threads(values.numel() * tiles.examples)
    pieces = _pieces(team, tiles.count)
    run(
        f"add_rows_{suffix(x.dtype, columns.dtype)}", team, values, columns, _steps(x.shape[1], pitch), starts,
        *_shape(starts), _bounds(starts, pieces), pieces, tiles.count, _counts(tiles),
        source, bases, result, _steps(tiles.count, tiles.size), tiles.examples, bias, int(clip),
    )  # fmt: skip
    return result


def gradients(
    dy: Tensor, x: Tensor, gate: Tensor | None, values: Tensor,
    rows: Tensor, starts: Tensor, order: Tensor, wants_input: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of :func:`product`.

    Args:
        dy: gradient of the result, (B, rows), any strides.
        x: as given to :func:`product`.
        gate: the result, if it was clipped.
        values: of the weights, row by row.
        rows: of each value, columns first.
        starts: of the columns.
        order: which value comes at each place, columns first.
        wants_input: whether to compute the first of what is returned.

    Returns:
        Gradients of the input, (B, columns), batch last, or empty; of the values; of the bias.
    """
    width, tiles = x.shape[1], _tiling(dy.shape[0], dy.dtype)
    source, pitch, bases = _placed(x, tiles, True)
    slopes, sums = pack(dy, tiles, gate)
    result = _batch_last(dy, width, tiles) if wants_input else dy.new_empty(0)
    by_column, change = torch.empty_like(values), torch.empty_like(values)
    kind = suffix(values.dtype)
    run(f"gather_{kind}", 1, values, order, by_column, values.numel())
    team = threads(2 * values.numel() * tiles.examples)
    pieces = _pieces(team, 1)
    run(
        f"column_gradients_{suffix(values.dtype, rows.dtype)}", team, by_column, rows, _steps(dy.shape[1], tiles.size),
        starts, *_shape(starts), _bounds(starts, pieces), pieces, tiles.count, _counts(tiles),
        source, bases, pitch, slopes, _steps(tiles.count, dy.shape[1] * tiles.size),
        result if wants_input else None, _steps(tiles.count, tiles.size), tiles.examples, change,
    )  # fmt: skip
    by_row = by_column  # its values are spent
    run(f"scatter_{kind}", 1, change, order, by_row, values.numel())
    return result, by_row, sums[0] if tiles.count == 1 else sums.sum(0)


def _batch_last(like: Tensor, features: int, tiles: Tiling) -> Tensor:
    """Room for as many examples as ``like`` has, and for what fills the last tile behind them."""
    batch, room = like.shape[0], tiles.examples
    whole = torch.empty_strided((room, features), (1, room), dtype=like.dtype, device=like.device)
    return whole if batch == room else whole[:batch]


def _one_example(x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, clip: bool) -> Tensor:
    """Each row's sum for itself; vectors of examples would be all but empty."""
    x, result = x.contiguous(), x.new_empty((1, bias.numel()))
    team = threads(values.numel())
    pieces = _pieces(team, 1)
    stride, blocks = _shape(starts)
    run(
        f"rows_by_vector_{suffix(x.dtype, columns.dtype)}", team, values, columns, starts, stride * blocks,
        _bounds(starts, pieces), pieces, x, result, bias, int(clip),
    )  # fmt: skip
    return result


def _placed(x: Tensor, tiles: Tiling, may_lie: bool) -> tuple[Tensor, int, Tensor]:
    """What kernels read for ``x``, the distance of its features, and where each tile starts.

    Features read in any order come faster from a packed tile; read in order, they may stay where they lie.
    """
    if may_lie and is_batch_last(x, tiles):
        return x, x.stride(1), _steps(tiles.count, tiles.size)
    return pack(x, tiles)[0], tiles.size, _steps(tiles.count, x.shape[1] * tiles.size)


@lru_cache(maxsize=1024)
def _steps(count: int, step: int) -> Tensor:
    return torch.from_numpy(np.arange(count, dtype=np.int64) * step)


@lru_cache(maxsize=256)
def _counts(tiles: Tiling) -> Tensor:
    return torch.from_numpy(np.full(tiles.count, tiles.registers, dtype=np.int64))


def _shape(starts: Tensor) -> tuple[int, int]:
    """The stride of ``starts`` and its number of blocks."""
    return (1, 1) if starts.dim() == 1 else (starts.shape[1], starts.shape[0] - 1)


def _pieces(team: int, tiles: int) -> int:
    """Into how many parts to cut the lines: enough for every thread to find work, few enough to keep tiles in cache."""
    return 1 if team == 1 else -(-4 * team // tiles)


def _bounds(starts: Tensor, pieces: int) -> Tensor:
    """Cuts the lines so that each part holds about as many weights."""
    lines = starts.shape[-1] - (starts.dim() == 1)
    if pieces == 1:
        return _steps(2, lines)
    begins = starts.numpy() if starts.dim() == 1 else starts[0].numpy()
    last = begins[-1] if starts.dim() == 1 else int(starts[-1, -1])
    cuts = np.searchsorted(begins[:lines], np.linspace(0, last, pieces + 1)[1:-1])
    return torch.from_numpy(np.concatenate([[0], cuts, [lines]]).astype(np.int64))
