"""Tiles worked out by processes or by a Ray cluster that see one folder: the same numbers, each by one worker.

A worker reads the rows and finished tiles from the folder, and writes its tile there. It does what one process would,
in the same order, with as many threads; so the result is the same to the last bit on processors of one kind.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from widthwise._arrayfile import read_array, write_array
from widthwise.activations import Activation
from widthwise.executor import Executor
from widthwise.executor.gather import gather
from widthwise.kernels.spectrum.cholesky import factor_tile
from widthwise.kernels.spectrum.kept import Kept
from widthwise.kernels.spectrum.limit import LimitKernel, Watch
from widthwise.kernels.spectrum.tiles import Tiles

__all__ = ["Spread"]

_ROWS = "rows.npy"


@dataclass(frozen=True)
class _Task:
    """What a worker must know to work out any tile.

    Attributes:
        folder: of rows and tiles.
        activation: of the kernel.
        size: rows of a tile.
        dtype: of the factor.
    """

    folder: str
    activation: Activation
    size: int
    dtype: torch.dtype


class Spread:
    """A kernel whose tiles are worked out elsewhere.

    Args:
        kernel: H.
        activation: of it.
        folder: that every worker sees.
        dtype: of the factor.
        executor: the workers.
    """

    def __init__(
        self, kernel: LimitKernel, activation: Activation, folder: Path, dtype: torch.dtype, executor: Executor
    ) -> None:
        self._kernel, self._executor = kernel, executor
        self._task = _Task(str(folder.absolute()), activation, kernel.size, dtype)
        write_array(folder / _ROWS, kernel.x.numpy())

    def factorise(self, tiles: Tiles, watch: Watch) -> None:
        """Fill ``tiles``: of each column the corner here, then all below it at the same time."""
        blocks = len(self._kernel.rows)
        total = blocks * (blocks + 1) * (blocks + 2) // 6
        done = 0
        for j in range(blocks):
            if (j, j) not in tiles:
                tiles[j, j] = factor_tile(self._kernel, tiles, self._task.dtype, j, j)
            missing = [i for i in range(j + 1, blocks) if (i, j) not in tiles]
            for _ in gather(self._executor, _factor, [(self._task, i, j) for i in missing]):
                done += j + 1
                watch(done / total)
            done = sum((k + 1) * (blocks - k) for k in range(j + 1))
            watch(done / total)

    def apply(self, v: Tensor, watch: Watch, kept: Kept) -> Tensor:
        """H v for ``v`` ``(n, k)``; products come back out of order and are added up in order."""
        pairs, rows = self._kernel.pairs(kept.columns), self._kernel.rows
        calls = [(self._task, i, j, v[rows[i]].numpy(), v[rows[j]].numpy()) for i, j in pairs]
        made = gather(self._executor, _multiply, calls)
        found = ((torch.tensor(ahead), torch.tensor(mirrored)) for ahead, mirrored in made)
        return self._kernel.summed(found, v, watch, kept)

    def clear(self) -> None:
        """Remove what the workers were told through the folder."""
        Path(self._task.folder, _ROWS).unlink(missing_ok=True)


@functools.lru_cache(maxsize=1)
def _opened(task: _Task) -> tuple[LimitKernel, Tiles]:
    path = Path(task.folder, _ROWS)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there on this node; give a folder that all nodes share")
    rows = read_array(path, (None, None), np.float64, mapped=True)
    kernel = LimitKernel(torch.from_numpy(rows), task.activation, task.size)
    return kernel, Tiles(Path(task.folder), torch.device("cpu"), kernel.sizes, task.dtype)


def _factor(task: _Task, i: int, j: int) -> None:
    kernel, tiles = _opened(task)
    tiles[i, j] = factor_tile(kernel, tiles, task.dtype, i, j)


def _multiply(task: _Task, i: int, j: int, left: Any, right: Any) -> tuple[Any, ...]:
    products = _opened(task)[0].products(i, j, torch.tensor(left), torch.tensor(right))
    return tuple(product.numpy() for product in products)
