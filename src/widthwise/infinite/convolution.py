"""Convolution over one or two spatial axes, as sums over squared distances and tangent kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from widthwise.activations.closed_forms import root
from widthwise.errors import InputError, check_choice, check_integer
from widthwise.infinite.distances import gap_of_distance, squared_distance
from widthwise.infinite.layers import Weighted
from widthwise.infinite.state import Layout, Pair, Rows, Trace
from widthwise.infinite.windows import Window, as_tuple, one_an_axis

__all__ = ["Conv"]

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
            for size in as_tuple(getattr(self, name)):
                check_integer(name, size, low=low)
        if isinstance(self.padding, str):
            check_choice("padding", self.padding, PADDINGS)
        else:
            for size in as_tuple(self.padding):
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
        distance = squared_distance(pair, left.before, right.before)
        distance = self._mean_distance(distance, layout, windows, left.before, right.before)
        gap = gap_of_distance(distance, layout, left.after, right.after)
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
        sizes, strides = one_an_axis("kernel_size", self.kernel_size, space), one_an_axis("stride", self.stride, space)
        circular = self.padding == "circular"
        if self.padding == "valid":
            pads = tuple((0, 0) for _ in sizes)
        elif isinstance(self.padding, str):
            pads = tuple(((size - 1) // 2, size // 2) for size in sizes)
        else:
            pads = tuple((pad, pad) for pad in one_an_axis("padding", self.padding, space))
        windows = tuple(Window(*of, circular) for of in zip(sizes, strides, pads, strict=True))
        for length, window in zip(space, windows, strict=True):
            window.check(length)
        return windows
