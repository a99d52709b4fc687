"""Tiles of a matrix, in memory or as files in a folder: each is written once, whole, and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from widthwise._arrayfile import read_array, write_array

__all__ = ["Tiles"]


class Tiles:
    """A mapping from a pair of block indices to a tile.

    Args:
        folder: where they are kept as ``.npy`` files, mapped into memory when read; in memory if omitted.
        device: where they are used.
        sizes: rows of each block, and its columns; needed with a folder.
        dtype: of the tiles in a folder.
    """

    def __init__(
        self,
        folder: Path | None,
        device: torch.device,
        sizes: Sequence[int] = (),
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self._folder, self._device = folder, device
        self._sizes, self._dtype = sizes, np.float64 if dtype == torch.float64 else np.float32
        self._kept: dict[tuple[int, int], Tensor] = {}

    def __contains__(self, index: tuple[int, int]) -> bool:
        return index in self._kept or (self._folder is not None and self._path(*index).exists())

    def __getitem__(self, index: tuple[int, int]) -> Tensor:
        if self._folder is None:
            return self._kept[index]
        if index not in self._kept:  # a mapping costs no memory of its own
            i, j = index
            mapped = read_array(self._path(i, j), (self._sizes[i], self._sizes[j]), self._dtype, mapped=True)
            self._kept[index] = torch.from_numpy(mapped)
        return self._kept[index].to(self._device)

    def __setitem__(self, index: tuple[int, int], tile: Tensor) -> None:
        if self._folder is None:
            self._kept[index] = tile
            return
        write_array(self._path(*index), tile.cpu().numpy())

    def clear(self) -> None:
        """Forget all tiles, files included."""
        self._kept.clear()
        if self._folder is not None:
            for path in self._folder.glob("tile-*.npy"):
                path.unlink()

    def _path(self, i: int, j: int) -> Path:
        assert self._folder is not None
        return self._folder / f"tile-{i:04d}-{j:04d}.npy"
