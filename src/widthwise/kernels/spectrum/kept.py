"""What the corrections of eigenvectors have so far, in a folder: products with H take long, and a kill loses little.

A file holds the whole state, and its name how far it is; each is written before the one it replaces is removed.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from widthwise._arrayfile import read_array, write_array
from widthwise.errors import DataError, check_finite

__all__ = ["Kept"]

_NAME = re.compile(r"corrections-(\d+)-(\d+)-(\d+)\.npy")


class Kept:
    """A basis that grows, the products of its first vectors with H, and the sum so far for the others.

    Args:
        folder: where they are kept; in memory if omitted.
        n: rows of every matrix.
        blocks: columns of tiles that there are.
        device: of what is read.

    Attributes:
        columns: how many columns of tiles ``sums`` is over.
        sums: part of the products of the basis vectors that have none yet, ``(n, l)``; none where ``columns`` is 0.
    """

    def __init__(
        self, folder: Path | None = None, n: int = 0, blocks: int = 0, device: torch.device | None = None
    ) -> None:
        self._folder, self._n, self._blocks, self._device = folder, n, blocks, device
        self._basis = self._images = torch.empty(n, 0)
        self.columns, self.sums = 0, torch.empty(n, 0)

    def found(self) -> tuple[Tensor, Tensor] | None:
        """The basis ``(n, k)`` and the products of its first vectors ``(n, l)``, as an earlier run left them.

        Raises:
            DataError: if the file is damaged, or its name.
        """
        if not (paths := self._paths()):
            return None
        path = paths[-1]
        k, images, self.columns = self._progress(path)
        held = torch.from_numpy(read_array(path, (self._n, 2 * k), np.float64))
        if not (k > 0 and images <= k and self.columns <= self._blocks):
            raise DataError(
                f"{path}: got the name of {images} products of {k} vectors and a sum over {self.columns} columns of "
                f"tiles, allowed is a vector at least, no more products, and {self._blocks} columns; remove it"
            )
        held = check_finite(str(path), held).to(self._device)
        parts = torch.split(held, [k, images, k - images], dim=1)
        self._basis, self._images, self.sums = (part.clone(memory_format=torch.contiguous_format) for part in parts)
        return self._basis, self._images

    def keep(self, basis: Tensor, images: Tensor) -> None:
        """Keep a basis ``(n, k)`` and the products there are, ``(n, l)``; a new product begins."""
        self._basis, self._images = basis, images
        self.keep_sums(0, basis.new_zeros(len(basis), basis.shape[1] - images.shape[1]))

    def keep_sums(self, columns: int, sums: Tensor) -> None:
        """Keep the sum over the first columns of tiles, ``(n, k - l)``."""
        self.columns, self.sums = columns, sums
        if self._folder is None:
            return
        before = self._paths()
        name = f"corrections-{self._basis.shape[1]}-{self._images.shape[1]}-{columns}.npy"
        write_array(self._folder / name, torch.cat([self._basis, self._images, sums], dim=1).cpu().numpy())
        for path in before:
            if path.name != name:
                path.unlink()

    def clear(self) -> None:
        """Remove the files."""
        for path in self._paths():
            path.unlink()

    def _paths(self) -> list[Path]:
        """The files there are, the farthest last."""
        found = [] if self._folder is None else [p for p in self._folder.iterdir() if _NAME.fullmatch(p.name)]
        return sorted(found, key=self._progress)

    @staticmethod
    def _progress(path: Path) -> tuple[int, int, int]:
        """Vectors, products, columns of tiles in the sum: no later one is less."""
        match = _NAME.fullmatch(path.name)
        assert match is not None
        vectors, products, columns = map(int, match.groups())
        return vectors, products, columns
