"""Cholesky's factor of a matrix larger than memory, and solves with it.

The factor is built tile by tile, looking left: a tile needs finished tiles only, is written once and never changed. A
killed run loses at most the tile it was at; tiles may be files, of which the system keeps in memory what fits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from widthwise.errors import InputError
from widthwise.kernels.spectrum.limit import LimitKernel, Watch
from widthwise.kernels.spectrum.tiles import Tiles

__all__ = ["factor_tile", "factorise", "solve"]


def factorise(kernel: LimitKernel, tiles: Tiles, dtype: torch.dtype, progress: Watch) -> None:
    """Fill ``tiles`` with the lower factor of the kernel, those missing.

    Raises:
        InputError: if the kernel is singular to the precision of ``dtype``.
    """
    total = sum(j + 1 for _, j in kernel.pairs())
    done = 0
    for i, j in kernel.pairs():
        if (i, j) not in tiles:
            tiles[i, j] = factor_tile(kernel, tiles, dtype, i, j)
        done += j + 1
        progress(done / total)


def factor_tile(kernel: LimitKernel, tiles: Tiles, dtype: torch.dtype, i: int, j: int) -> Tensor:
    """The factor's tile in row i and column j, from those to its left, and above.

    Raises:
        InputError: if the kernel is singular to the precision of ``dtype``; at corners only.
    """
    tile = kernel.tile(i, j).to(dtype)
    for k in range(j):
        tile.addmm_(tiles[i, k], tiles[j, k].mT, alpha=-1)
    return _finished(tile, None if i == j else tiles[j, j], j, len(kernel.rows))


def _finished(tile: Tensor, corner: Tensor | None, j: int, blocks: int) -> Tensor:
    if corner is not None:
        solved: Tensor = torch.linalg.solve_triangular(corner, tile.mT, upper=False)
        return solved.mT.contiguous()
    factor, failed = torch.linalg.cholesky_ex(tile)
    if int(failed):
        other = ", or precision='double'" if tile.dtype == torch.float32 else ""
        raise InputError(
            f"x: its kernel is singular to the precision of {tile.dtype} (block {j + 1} of {blocks}); allowed are rows "
            f"of which no two are equal or nearly so{other}"
        )
    finished: Tensor = factor.contiguous()
    return finished


def solve(kernel: LimitKernel, tiles: Tiles, v: Tensor) -> Tensor:
    """H^-1 v for ``v`` ``(n, k)``, to the precision of the factor, in the dtype of ``v``."""
    rows, y = kernel.rows, v.clone()
    dtype = tiles[0, 0].dtype
    for i in range(len(rows)):
        part = y[rows[i]].to(dtype)
        for k in range(i):
            part -= tiles[i, k] @ y[rows[k]].to(dtype)
        y[rows[i]] = torch.linalg.solve_triangular(tiles[i, i], part, upper=False).to(v.dtype)
    for i in reversed(range(len(rows))):
        part = y[rows[i]].to(dtype)
        for k in range(i + 1, len(rows)):
            part -= tiles[k, i].mT @ y[rows[k]].to(dtype)
        y[rows[i]] = torch.linalg.solve_triangular(tiles[i, i].mT, part, upper=True).to(v.dtype)
    return y
