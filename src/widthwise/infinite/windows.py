"""Places of a kernel along an axis, and sums over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from widthwise.errors import InputError

__all__ = ["Window", "as_tuple", "one_an_axis"]


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


def as_tuple(sizes: int | tuple[int, ...]) -> tuple[int, ...]:
    """The sizes given, one or several."""
    return sizes if isinstance(sizes, tuple) else (sizes,)


def one_an_axis(name: str, sizes: int | tuple[int, ...], space: tuple[int, ...]) -> tuple[int, ...]:
    """One size an axis."""
    given = as_tuple(sizes)
    given = given * len(space) if len(given) == 1 else given
    if len(given) != len(space):
        raise InputError(f"{name}: got {len(given)} sizes, allowed are as many as spatial axes, {len(space)}")
    return given
