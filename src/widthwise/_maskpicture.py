"""A mask as lines of text: how much each unit keeps, a hundred layers at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["kept_by_unit", "strips"]

_INK = " .:-=+*#%@"
_WIDTH = 32


def kept_by_unit(mask: Tensor) -> Tensor:
    """How many entries each place of the first dimension keeps, int64 on the CPU."""
    return mask.reshape(len(mask), -1).count_nonzero(1).cpu() if mask.numel() else torch.zeros(0, dtype=torch.int64)


def strips(masks: Sequence[tuple[Tensor, int]]) -> tuple[list[str], float]:
    """One line of at most 32 characters for each mask, and the density that the darkest stands for.

    A mask is given as what each of its units keeps, and its size.

    A character is a group of neighbouring output units: blank if they keep nothing, ``@`` for the densest group.
    """
    rows = [_densities(kept, total) for kept, total in masks]
    full = max(float(row.max()) for row in rows if len(row))
    return ["".join(_ink(value / full if full else 0.0) for value in row.tolist()).rstrip() for row in rows], full


def _densities(kept: Tensor, total: int) -> Tensor:
    if not total:
        return torch.empty(0)
    kept = kept.double() / (total // len(kept))
    return functional.adaptive_avg_pool1d(kept[None], min(len(kept), _WIDTH))[0]


def _ink(share: float) -> str:
    return _INK[0 if share == 0 else 1 + round(share * (len(_INK) - 2))]
