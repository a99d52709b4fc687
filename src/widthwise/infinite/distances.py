r"""From pairs to squared distances, and back.

With ``D = |f(x) - f(y)|^2`` per coordinate, ``D = q1 + q2 - 2 K``, a sum over a window is a sum of D as well as of K,
and nothing cancels where two images are nearly the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from widthwise.infinite.state import Layout, Pair, safe_ratio

__all__ = ["gap_of_distance", "squared_distance"]


def squared_distance(pair: Pair, left: Tensor, right: Tensor) -> Tensor:
    """Squared distances, from the roots of the variances."""
    layout = pair.layout
    apart = (layout.left(left) - layout.right(right)).square()
    return torch.addcmul(apart, layout.left(2 * left) * pair.gap, layout.right(right))


def gap_of_distance(distance: Tensor, layout: Layout, left: Tensor, right: Tensor) -> Tensor:
    """1 - c of squared distances; 0 where a variance is 0."""
    ones = torch.ones((), dtype=left.dtype, device=left.device)
    apart = (layout.left(left) - layout.right(right)).square()
    gap = (distance - apart) * layout.left(safe_ratio(ones, 2 * left)) * layout.right(safe_ratio(ones, right))
    return gap.clamp(0, 2)
