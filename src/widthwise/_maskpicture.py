"""A mask as lines of text: how much each unit keeps, a hundred layers at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["strips"]

_INK = " .:-=+*#%@"
_WIDTH = 32


def strips(masks: Sequence[Tensor]) -> tuple[list[str], float]:
    """One line of at most 32 characters for each mask, and the density that the darkest stands for.

    A character is a group of neighbouring output units: blank if they keep nothing, ``@`` for the densest group.
    """
    rows = [_densities(mask) for mask in masks]
    full = max(float(row.max()) for row in rows if len(row))
    return ["".join(_ink(value / full if full else 0.0) for value in row.tolist()).rstrip() for row in rows], full


def _densities(mask: Tensor) -> Tensor:
    if not mask.numel():
        return torch.empty(0)
    kept = mask.reshape(len(mask), -1).cpu().double().mean(1)
    return functional.adaptive_avg_pool1d(kept[None], min(len(kept), _WIDTH))[0]


def _ink(share: float) -> str:
    return _INK[0 if share == 0 else 1 + round(share * (len(_INK) - 2))]
