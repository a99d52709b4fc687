"""How the lines of a sparse matrix, rows or columns, are cut into parts for the threads of a team."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["bounds", "pieces", "shape", "steps"]


def shape(starts: Tensor) -> tuple[int, int]:
    """The stride of ``starts`` and its number of blocks."""
    return (1, 1) if starts.dim() == 1 else (starts.shape[1], starts.shape[0] - 1)


def pieces(team: int, tiles: int) -> int:
    """Into how many parts to cut the lines: enough for every thread to find work, few enough to keep tiles in cache."""
    return 1 if team == 1 else -(-4 * team // tiles)


def bounds(starts: Tensor, pieces: int) -> Tensor:
    """Cuts the lines so that each part holds about as many weights."""
    lines = starts.shape[-1] - (starts.dim() == 1)
    if pieces == 1:
        return steps(2, lines)
    begins = starts.numpy() if starts.dim() == 1 else starts[0].numpy()
    last = begins[-1] if starts.dim() == 1 else int(starts[-1, -1])
    cuts = np.searchsorted(begins[:lines], np.linspace(0, last, pieces + 1)[1:-1])
    return torch.from_numpy(np.concatenate([[0], cuts, [lines]]).astype(np.int64))


@lru_cache(maxsize=1024)
def steps(count: int, step: int) -> Tensor:
    """``0, step, 2 step, ...``: so many of them."""
    return torch.from_numpy(np.arange(count, dtype=np.int64) * step)
