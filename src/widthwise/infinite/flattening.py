"""Positions taken as further coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from widthwise.activations.closed_forms import root
from widthwise.infinite.distances import gap_of_distance, squared_distance
from widthwise.infinite.layers import Layer
from widthwise.infinite.state import Layout, Pair, Rows, Trace

__all__ = ["Flatten"]


@dataclass(frozen=True)
class Flatten(Layer):
    """Take every position as further coordinates: K' = mean of K(p, p) over positions, and the same for T."""

    def trace(self, rows: Rows) -> tuple[Trace, Rows]:
        """Mean variance."""
        q = rows.r.square().flatten(1).mean(1) if rows.space else rows.r.square()
        after = root(q) if rows.space else rows.r
        width = None if rows.width is None else rows.width * math.prod(rows.space)
        return Trace(rows.r, after), replace(rows, r=after, within=None, width=width)

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Mean distance and tangent kernel of like positions."""
        layout = pair.layout
        if not layout.space:
            return pair
        distance = _like(squared_distance(pair, left.before, right.before), layout).mean(-1)
        ntk = None if pair.ntk is None else _like(pair.ntk.expand_as(pair.gap), layout).mean(-1)
        flat = Layout(0, False, layout.across)
        return Pair(gap_of_distance(distance, flat, left.after, right.after), ntk, flat)


def _like(values: Tensor, layout: Layout) -> Tensor:
    """The positions paired with their like, along one last axis."""
    if not layout.full:
        return values.flatten(-layout.space)
    leading = values.shape[: -2 * layout.space]
    positions = math.prod(values.shape[-layout.space :])
    return values.reshape(*leading, positions, positions).diagonal(dim1=-2, dim2=-1)
