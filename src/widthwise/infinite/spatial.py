r"""Layers that know positions: convolution, pooling, flattening.

With ``D = |f(x) - f(y)|^2`` per coordinate, ``D = q1 + q2 - 2 K``, a sum over a window is a sum of D as well as of K,
and nothing cancels where two images are nearly the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from widthwise.activations.closed_forms import root
from widthwise.errors import InputError, check_choice, check_integer
from widthwise.infinite.layers import Layer, Weighted
from widthwise.infinite.state import Layout, Pair, Rows, Trace, safe_ratio

__all__ = ["AvgPool", "Conv", "Flatten", "GlobalAvgPool", "gap_of_means"]

PADDINGS = ("circular", "same", "valid")


@dataclass(frozen=True)
class Conv(Weighted):
    """A convolution over one or two spatial axes, inputs as PyTorch has them: ``(n, channels, *positions)``.

    With the mean over the kernel's taps d at two positions p, p', zero outside the image unless it is circular,
    K'(p, p') = sigma_b^2 + sigma_w^2 mean_d K(p + d, p' + d) and T' = K' + sigma_w^2 mean_d T(p + d, p' + d).

    Args:
        kernel_size: positions under the kernel, along every axis or along each.
        stride: distance between the kernel's places.
        padding: ``"circular"``, ``"same"`` (zeros, as many as keep the size at stride 1), ``"valid"`` (none), or
            numbers of zeros on either side of every axis or of each.

    Example:
        >>> Conv(64, 3, padding="same", sigma_w=2**0.5).kernel_size
        3
    """

    kernel_size: int | tuple[int, ...] = 3
    stride: int | tuple[int, ...] = 1
    padding: str | int | tuple[int, ...] = "circular"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (("kernel_size", 1), ("stride", 1)):
            for size in _tuple(getattr(self, name)):
                check_integer(name, size, low=low)
        if isinstance(self.padding, str):
            check_choice("padding", self.padding, PADDINGS)
        else:
            for size in _tuple(self.padding):
                check_integer("padding", size, low=0)

    def reach(self, space: tuple[int, ...]) -> tuple[tuple[int, ...], bool] | None:
        """How far the kernel reaches along each axis, and whether images are circular; ``None`` if sizes change."""
        windows = self._windows(space)
        radii = tuple(window.pads[0] for window in windows)
        if any(w.stride != 1 or w.pads != (r, r) or w.size != 2 * r + 1 for w, r in zip(windows, radii, strict=True)):
            return None
        return radii, windows[0].circular

    def trace(self, rows: Rows) -> tuple[Trace, Rows]:
        """Variances under the kernel."""
        windows = self._windows(rows.space)
        taps = math.prod(window.size for window in windows)
        fan_in = self._fan_in(rows, taps)
        q = self._mean(rows.r.square(), Layout(len(windows), False, False), windows)
        after = root(q + (self.sigma_b or 0.0) ** 2)
        trace = Trace(rows.r, after, width=fan_in)
        return self._follow(trace, rows.drawn(after, self.width))

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Sum squared distances and tangent kernels under the kernel; equal biases leave distances alone."""
        layout, windows = pair.layout, self._windows(tuple(left.before.shape[1:]))
        distance = _distance(pair, left.before, right.before)
        distance = self._mean_distance(distance, layout, windows, left.before, right.before)
        gap = _correlated(distance, layout, left.after, right.after)
        ntk = pair.ntk
        if ntk is not None:
            ntk = self._mean(ntk.expand_as(pair.gap), layout, windows)
            if self.train:
                covariance = Pair(gap, None, layout).covariance(left.after, right.after)
                weights = covariance - self.sigma_b**2 if self.sigma_b else covariance
                ntk = ntk + self._own(weights, covariance, left.width)
        return Pair(gap, ntk, layout)

    def _mean(self, values: Tensor, layout: Layout, windows: tuple[Window, ...]) -> Tensor:
        """sigma_w^2 times the mean over the taps."""
        for axis, window in enumerate(windows, start=-len(windows)):
            values = window.sum(values, (axis - len(windows), axis) if layout.full else (axis,))
        return values * (self.sigma_w**2 / math.prod(window.size for window in windows))

    def _mean_distance(
        self, distance: Tensor, layout: Layout, windows: tuple[Window, ...], left: Tensor, right: Tensor
    ) -> Tensor:
        """The same of squared distances: from beyond an edge, where all is 0, a position is as far as its variance."""
        if not layout.full:
            return self._mean(distance, layout, windows)
        q1, q2 = layout.left(left.square()), layout.right(right.square())
        for axis, window in enumerate(windows, start=-len(windows)):
            axes = (axis - len(windows), axis)
            distance = window.total(window.pad_distance(distance, axes, q1, q2), axes)
            q1, q2 = window.sum(q1, axes[:1]), window.sum(q2, axes[1:])
        return distance * (self.sigma_w**2 / math.prod(window.size for window in windows))

    def _windows(self, space: tuple[int, ...]) -> tuple[Window, ...]:
        if not space:
            raise InputError("layers: Conv follows a layer without positions; allowed are inputs (n, channels, ...)")
        sizes, strides = _each("kernel_size", self.kernel_size, space), _each("stride", self.stride, space)
        circular = self.padding == "circular"
        if self.padding == "valid":
            pads = tuple((0, 0) for _ in sizes)
        elif isinstance(self.padding, str):
            pads = tuple(((size - 1) // 2, size // 2) for size in sizes)
        else:
            pads = tuple((pad, pad) for pad in _each("padding", self.padding, space))
        windows = tuple(Window(*of, circular) for of in zip(sizes, strides, pads, strict=True))
        for length, window in zip(space, windows, strict=True):
            window.check(length)
        return windows


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
            for size in _tuple(1 if getattr(self, name) is None else getattr(self, name)):
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
        sizes = _each("kernel_size", self.kernel_size, space)
        strides = sizes if self.stride is None else _each("stride", self.stride, space)
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
        distance = _like(_distance(pair, left.before, right.before), layout).mean(-1)
        ntk = None if pair.ntk is None else _like(pair.ntk.expand_as(pair.gap), layout).mean(-1)
        flat = Layout(0, False, layout.across)
        return Pair(_correlated(distance, flat, left.after, right.after), ntk, flat)


@dataclass(frozen=True)
class Window:
    """Places of a kernel along one axis."""

    size: int
    stride: int
    pads: tuple[int, int] = (0, 0)
    circular: bool = False

    def check(self, length: int) -> None:
        """Raise an error if the kernel does not fit into ``length`` positions."""
        most = 2 * length + 1 if self.circular else length + sum(self.pads)
        if self.size > most:
            raise InputError(
                f"kernel_size: got {self.size}, allowed is at most {most} on an axis of {length} positions"
            )

    def sum(self, values: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Sum over the window along ``axes``, which move together."""
        for axis in axes:
            values = self._padded(values, axis)
        return self.total(values, axes)

    def pad_distance(self, distance: Tensor, axes: tuple[int, int], q1: Tensor, q2: Tensor) -> Tensor:
        """Pad squared distances, with the variances where one position lies beyond the edge."""
        padded = self._padded(self._padded(distance, axes[0]), axes[1])
        if self.circular or not sum(self.pads):
            return padded
        length, width = padded.shape[axes[1]], distance.shape[axes[1]]
        q1, q2 = self._padded(q1, axes[0]), self._padded(q2, axes[1])
        for at, size in ((0, self.pads[0]), (self.pads[0] + width, length - self.pads[0] - width)):
            padded.narrow(axes[1], at, size).copy_(q1.expand_as(padded.narrow(axes[1], at, size)))
            padded.narrow(axes[0], at, size).copy_(q2.expand_as(padded.narrow(axes[0], at, size)))
        return padded

    def total(self, values: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Sum over the window of values that are padded already."""
        length = values.shape[axes[0]] - self.size + 1
        total = self._shifted(values, axes, 0, length)
        if self.size == 1:
            return total
        total = total + self._shifted(values, axes, 1, length)
        for shift in range(2, self.size):
            shifted = self._shifted(values, axes, shift, length)
            total = total + shifted if total.requires_grad else total.add_(shifted)
        return total

    def _shifted(self, values: Tensor, axes: tuple[int, ...], shift: int, length: int) -> Tensor:
        index: list[slice] = [slice(None)] * values.ndim
        for axis in axes:
            index[axis] = slice(shift, shift + length, self.stride)
        return values[tuple(index)]

    def _padded(self, values: Tensor, axis: int) -> Tensor:
        before, behind = self.pads
        if not before and not behind:
            return values
        if self.circular:
            length = values.shape[axis]
            parts = [values.narrow(axis, length - before, before), values, values.narrow(axis, 0, behind)]
            return torch.cat(parts, dim=axis)
        return functional.pad(values, (0, 0) * (-axis - 1) + (before, behind))


def _tuple(sizes: int | tuple[int, ...]) -> tuple[int, ...]:
    return sizes if isinstance(sizes, tuple) else (sizes,)


def _each(name: str, sizes: int | tuple[int, ...], space: tuple[int, ...]) -> tuple[int, ...]:
    """One size an axis."""
    given = _tuple(sizes)
    given = given * len(space) if len(given) == 1 else given
    if len(given) != len(space):
        raise InputError(f"{name}: got {len(given)} sizes, allowed are as many as spatial axes, {len(space)}")
    return given


def _distance(pair: Pair, left: Tensor, right: Tensor) -> Tensor:
    """Squared distances, from the roots of the variances."""
    layout = pair.layout
    apart = (layout.left(left) - layout.right(right)).square()
    return torch.addcmul(apart, layout.left(2 * left) * pair.gap, layout.right(right))


def _correlated(distance: Tensor, layout: Layout, left: Tensor, right: Tensor) -> Tensor:
    """1 - c of squared distances; 0 where a variance is 0."""
    ones = torch.ones((), dtype=left.dtype, device=left.device)
    apart = (layout.left(left) - layout.right(right)).square()
    gap = (distance - apart) * layout.left(safe_ratio(ones, 2 * left)) * layout.right(safe_ratio(ones, right))
    return gap.clamp(0, 2)


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


def _like(values: Tensor, layout: Layout) -> Tensor:
    """The positions paired with their like, along one last axis."""
    if not layout.full:
        return values.flatten(-layout.space)
    leading = values.shape[: -2 * layout.space]
    positions = math.prod(values.shape[-layout.space :])
    return values.reshape(*leading, positions, positions).diagonal(dim1=-2, dim2=-1)
