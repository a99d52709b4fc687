"""A sparse matrix times a batch, and its gradients: the kernels' tables filled in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from widthwise.sparse import _small
from widthwise.sparse._cuts import bounds, shape
from widthwise.sparse._processor import cache_bytes, near_features, tile_registers, vector_bytes
from widthwise.sparse._scratch import scratch
from widthwise.sparse._team import run, threads
from widthwise.sparse._tiles import lies_batch_last
from widthwise.sparse._types import lanes, suffix

__all__ = ["gradients", "like", "product"]

_FEW = 8  # weights that read a feature: too few for a packed tile to be worth the packing
_PIECE = 64  # features that a thread packs before it asks for more
_WAVE = 2**20  # numbers of the gradient that are packed at a time
_HEAVY = 3 * 2**20  # bytes of weights that are gone from the caches when the next tile wants them
_TURN = 2**18  # bytes of them that serve one tile after the other, then
_SHARING = 4  # tiles that they serve


@dataclass(frozen=True)
class Tiling:
    """``vectors`` registers of examples in ``count`` tiles, as equal as can be, of ``widest`` registers at most."""

    vectors: int
    count: int
    widest: int


@lru_cache(maxsize=256)
def tiling(batch: int, features: int, dtype: torch.dtype) -> Tiling:
    """Tiles of which one, packed, fills half of a core's own cache, if none has to be narrower than a line of it."""
    vectors = -(-batch // lanes(dtype))
    fits = cache_bytes() // 2 // max(1, features * vector_bytes())
    count = -(-vectors // min(max(fits, 64 // vector_bytes(), 1), tile_registers(vector_bytes())))
    return Tiling(vectors, count, -(-vectors // count))


def product(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, clip: bool, batch_last: bool = True
) -> Tensor:
    """``x W' + bias``, and with ``clip`` its ReLU.

    Args:
        x: shape (B, columns), B >= 1; any strides.
        values: of the weights, row by row.
        bias: shape (rows,).
        columns: of each value.
        starts: of the rows, see :class:`~widthwise.sparse.pattern.Pattern`.
        clip: whether to set to zero what is below.
        batch_last: how the result is to lie in memory, see :func:`like`.

    Returns:
        The result, shape (B, rows).
    """
    (batch, features), rows = x.shape, bias.numel()
    result = like(x, rows, batch_last)
    if batch <= _small.SMALL:
        _small.product(x, values, bias, columns, starts, clip, result)
        return result
    tiles, lane = tiling(batch, features, x.dtype), lanes(x.dtype)
    stride, blocks = shape(starts)
    by_example, by_feature = x.stride()
    rare = tiles.count == 1 or values.numel() < _FEW * features
    lies = rare and by_example == 1 and batch == tiles.vectors * lane
    team = threads(values.numel() * tiles.vectors * lane)
    turns = _turns(values, columns) if features <= blocks * near_features() else 1
    wave = min(tiles.count, team if turns == 1 else max(team, _SHARING))
    chunks = max(turns, 1 if tiles.count % team == 0 else -(-4 * team // tiles.count))
    parts = 1 if wave == team else min(4 * team, -(-features // _PIECE))
    slots, pitch = min(tiles.count, wave if team == 1 else 2 * wave), features * tiles.widest * lane
    run(
        f"linear_product_{suffix(x.dtype, columns.dtype)}", team, values, columns, starts, stride, blocks,
        bounds(starts, chunks), chunks, wave, x, batch, features, by_example, by_feature, tiles.vectors, tiles.count,
        int(lies), None if lies else scratch("tiles", slots * pitch, x.dtype), pitch, slots, parts,
        result, *result.stride(), bias, int(clip), *[0] * (2 * tiles.count),
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
        Gradients of the input, (B, columns), laid as the input is, or empty; of the values; of the bias.
    """
    (batch, height), width, dtype = dy.shape, x.shape[1], dy.dtype
    stride, blocks = shape(starts)
    if blocks > 1 and not lies_batch_last(x):
        x = _turned(x)
    if 1 not in dy.stride() or (gate is not None and gate.stride(0) != 1 and dy.stride(1) != 1):
        dy = dy.contiguous()
    tiles, lane, nnz = tiling(batch, height, dtype), lanes(dtype), values.numel()
    team = threads(2 * nnz * tiles.vectors * lane)
    chunks = max(_turns(values, values, rows), 1 if team == 1 else 4 * team)
    pitch = height * tiles.widest * lane
    wave = min(tiles.count, max(1, _WAVE // max(1, pitch)))
    waves = -(-tiles.count // wave)
    slots, parts = wave * min(waves, 2), -(-height // _PIECE)
    dx = like(x, width, lies_batch_last(x)) if wants_input else None
    change, total = torch.empty_like(values), dy.new_empty(height)
    by_column = scratch("values", 2 * nnz, dtype)
    run(
        f"linear_gradients_{suffix(dtype, rows.dtype)}", team, values, rows, starts, stride, blocks,
        bounds(starts, chunks), chunks, wave, order, by_column, by_column[nnz:], change,
        batch, tiles.vectors, tiles.count, height, x, *x.stride(), dy, *dy.stride(),
        gate, *((0, 0) if gate is None else gate.stride()), dx, *((0, 0) if dx is None else dx.stride()),
        scratch("slopes", slots * pitch, dtype), pitch, slots, parts, scratch("sums", tiles.count * height, dtype),
        total, *[0] * (2 * waves + chunks),
    )  # fmt: skip
    return dy.new_empty(0) if dx is None else dx, change, total


def _turns(*weights: Tensor) -> int:
    """Into how many parts to cut what is read of the weights, lest it be fetched anew for every tile."""
    size = sum(part.numel() * part.element_size() for part in weights)
    return size // _TURN if size > _HEAVY else 1


def like(x: Tensor, features: int, batch_last: bool) -> Tensor:
    """Room for as many examples as ``x`` has: plain, or batch last, with room for what fills the last register."""
    batch = x.shape[0]
    if features != 1 and (batch == 1 or not batch_last):
        return x.new_empty((batch, features))
    room = -(-batch // lanes(x.dtype)) * lanes(x.dtype)
    whole = torch.empty_strided((room, features), (1, room), dtype=x.dtype, device=x.device)
    return whole if batch == room else whole[:batch]


def _turned(x: Tensor) -> Tensor:
    result = like(x, x.shape[1], True)
    return result.copy_(x)
