"""Averages over positions, which pair every position of an input with every other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from widthwise.activations.closed_forms import root
from widthwise.errors import InputError, check_integer
from widthwise.infinite.layers import Layer
from widthwise.infinite.state import Layout, Pair, Rows, Trace, safe_ratio
from widthwise.infinite.windows import Window, as_tuple, one_an_axis

__all__ = ["AvgPool", "GlobalAvgPool", "gap_of_means"]


@dataclass(frozen=True)
class AvgPool(Layer):
    """Average over windows of positions: K'(P, P') = mean of K(p, p') over p in P and p' in P', and the same for T.

    Args:
        kernel_size: positions in a window, along every axis or along each.
        stride: distance between windows; that of windows side by side by default.
    """

    kernel_size: int | tuple[int, ...] = 2
    stride: int | tuple[int, ...] | None = None
    pools = True

    def __post_init__(self) -> None:
        for name in ("kernel_size", "stride"):
            for size in as_tuple(1 if getattr(self, name) is None else getattr(self, name)):
                check_integer(name, size, low=1)

    def trace(self, rows: Rows) -> tuple[Trace, Rows]:
        """Variances of the means, from each input's own positions."""
        windows = self._windows(rows.space)
        covariance = _pooled(_own_covariance(rows), windows)
        positions = covariance.shape[1 : 1 + len(windows)]
        own = covariance.reshape(len(covariance), math.prod(positions), -1).diagonal(dim1=1, dim2=2)
        after = root(own.clamp(min=0)).reshape(-1, *positions)
        return self._follow(Trace(rows.r, after), replace(rows, r=after, fresh=False))

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Mean covariance and tangent kernel of the windows' positions."""
        windows = self._windows(tuple(left.before.shape[1:]))
        covariance = _pooled(pair.covariance(left.before, right.before), windows)
        ntk = None if pair.ntk is None else _pooled(pair.ntk.expand_as(pair.gap), windows)
        return Pair(gap_of_means(covariance, pair.outer(left.after, right.after)), ntk, pair.layout)

    def _windows(self, space: tuple[int, ...]) -> tuple[Window, ...]:
        if not space:
            raise InputError("layers: AvgPool follows a layer without positions; allowed are inputs (n, channels, ...)")
        sizes = one_an_axis("kernel_size", self.kernel_size, space)
        strides = sizes if self.stride is None else one_an_axis("stride", self.stride, space)
        windows = tuple(Window(size, stride) for size, stride in zip(sizes, strides, strict=True))
        for length, window in zip(space, windows, strict=True):
            window.check(length)
        return windows


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """Average over all positions: K' = mean of K(p, p') over all p and p', and the same for T."""

    pools = True

    def trace(self, rows: Rows) -> tuple[Trace, Rows]:
        """Variance of the mean, from each input's own positions."""
        if not rows.space:
            raise InputError("layers: GlobalAvgPool follows a layer without positions; allowed is once, after Conv")
        after = root(_own_covariance(rows).flatten(1).mean(1).clamp(min=0))
        return Trace(rows.r, after), replace(rows, r=after, within=None, fresh=False)

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Mean over positions of both inputs."""
        axes = tuple(range(-2 * pair.layout.space, 0))
        layout = Layout(0, False, pair.layout.across)
        ntk = None if pair.ntk is None else pair.ntk.expand_as(pair.gap).mean(axes)
        after = Pair(pair.covariance(left.before, right.before).mean(axes), ntk, layout)
        return replace(after, gap=gap_of_means(after.gap, after.outer(left.after, right.after)))


def _own_covariance(rows: Rows) -> Tensor:
    if rows.within is None:
        raise InputError("layers: pooling follows a layer that left no positions; allowed is pooling before Flatten")
    return rows.within.covariance(rows.r, rows.r)


def _pooled(values: Tensor, windows: tuple[Window, ...]) -> Tensor:
    """Mean over windows of both inputs' positions, each by itself."""
    axes = range(-2 * len(windows), 0)
    for axis, window in zip(axes, windows * 2, strict=True):
        values = window.sum(values, (axis,))
    return values / math.prod(window.size for window in windows) ** 2


def gap_of_means(covariance: Tensor, across: Tensor) -> Tensor:
    """1 - c of covariances that are means over positions, and 0 where that is nothing but rounding."""
    gap = 1 - safe_ratio(covariance, across)
    return torch.where(gap < 16 * torch.finfo(gap.dtype).eps, 0.0, gap)
