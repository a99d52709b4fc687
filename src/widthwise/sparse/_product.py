"""A sparse matrix times a batch, and its gradients: the kernels' tables filled in."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from widthwise.sparse import _small
from widthwise.sparse._cuts import bounds, pieces, shape, steps
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
    tiles = _tiling(batch, x.dtype)
    if batch <= _small.SMALL:
        result = x.new_empty((1, rows)) if batch == 1 else _batch_last(x, rows, tiles)
        _small.product(x, values, bias, columns, starts, clip, result)
        return result
    result = _batch_last(x, rows, tiles)
    source, pitch, bases = _placed(x, tiles, tiles.count == 1 or values.numel() < _FEW * x.shape[1])
    team = threads(values.numel() * tiles.examples)
    parts = pieces(team, tiles.count)
    run(
        f"add_rows_{suffix(x.dtype, columns.dtype)}", team, values, columns, steps(x.shape[1], pitch), starts,
        *shape(starts), bounds(starts, parts), parts, tiles.count, _counts(tiles),
        source, bases, result, steps(tiles.count, tiles.size), tiles.examples, bias, int(clip),
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
    parts = pieces(team, 1)
    run(
        f"column_gradients_{suffix(values.dtype, rows.dtype)}", team, by_column, rows, steps(dy.shape[1], tiles.size),
        starts, *shape(starts), bounds(starts, parts), parts, tiles.count, _counts(tiles),
        source, bases, pitch, slopes, steps(tiles.count, dy.shape[1] * tiles.size),
        result if wants_input else None, steps(tiles.count, tiles.size), tiles.examples, change,
    )  # fmt: skip
    by_row = by_column  # its values are spent
    run(f"scatter_{kind}", 1, change, order, by_row, values.numel())
    return result, by_row, sums[0] if tiles.count == 1 else sums.sum(0)


def _batch_last(like: Tensor, features: int, tiles: Tiling) -> Tensor:
    """Room for as many examples as ``like`` has, and for what fills the last tile behind them."""
    batch, room = like.shape[0], tiles.examples
    whole = torch.empty_strided((room, features), (1, room), dtype=like.dtype, device=like.device)
    return whole if batch == room else whole[:batch]


def _placed(x: Tensor, tiles: Tiling, may_lie: bool) -> tuple[Tensor, int, Tensor]:
    """What kernels read for ``x``, the distance of its features, and where each tile starts.

    Features read in any order come faster from a packed tile; read in order, they may stay where they lie.
    """
    if may_lie and is_batch_last(x, tiles):
        return x, x.stride(1), steps(tiles.count, tiles.size)
    return pack(x, tiles)[0], tiles.size, steps(tiles.count, x.shape[1] * tiles.size)


@lru_cache(maxsize=256)
def _counts(tiles: Tiling) -> Tensor:
    return torch.from_numpy(np.full(tiles.count, tiles.registers, dtype=np.int64))
