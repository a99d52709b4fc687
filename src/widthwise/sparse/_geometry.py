"""How a convolution moves along one axis of a picture, in whole numbers.

A stride of ``s`` reads the padded axis in ``s`` *phases*, the places that leave the same remainder: within a phase each
tap of the kernel is a fixed shift, as if the stride were one. A :class:`Window` says how a phase is cut from the axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Axis", "Geometry", "Window"]


@dataclass(frozen=True)
class Window:
    """Places ``origins[phase] + step * j``, for j below ``length``, of an axis of ``size``; zeros where it has none."""

    origins: tuple[int, ...]
    step: int
    length: int
    size: int

    @property
    def covers(self) -> bool:
        """Whether every place of the axis is in it."""
        return sum(self.count(phase) for phase in range(len(self.origins))) == self.size

    def count(self, phase: int) -> int:
        """How many of its places are inside the axis."""
        origin = self.origins[phase]
        start = max(0, -(origin // self.step))
        return max(0, min(self.length, -((origin - self.size) // self.step)) - start)


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution: a picture's ``size``, and how ``kernel`` taps step over it."""

    size: int
    kernel: int
    stride: int
    before: int
    after: int
    dilation: int

    @property
    def out(self) -> int:
        """Size of the result."""
        return (self.size + self.before + self.after - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    @cached_property
    def phases(self) -> tuple[int, ...]:
        """Remainders that some tap reads."""
        return tuple(sorted({tap * self.dilation % self.stride for tap in range(self.kernel)}))

    @cached_property
    def phase_of(self) -> tuple[int, ...]:
        """Place among the phases of each tap's."""
        return tuple(self.phases.index(tap * self.dilation % self.stride) for tap in range(self.kernel))

    @cached_property
    def shifts(self) -> tuple[int, ...]:
        """How far in its phase each tap reads ahead of the result's place."""
        return tuple(tap * self.dilation // self.stride for tap in range(self.kernel))

    @cached_property
    def padded(self) -> Window:
        """What the result is computed from, zeros around it."""
        origins = tuple(phase - self.before for phase in self.phases)
        return Window(origins, self.stride, self.out + self.shifts[-1], self.size)

    @cached_property
    def inner(self) -> Window:
        """The part of it that has a gradient."""
        length = max(1, *(self.padded.count(phase) for phase in range(len(self.phases))))
        origins = tuple(
            origin + self.stride * skipped for origin, skipped in zip(self.padded.origins, self._skipped, strict=True)
        )
        return Window(origins, self.stride, length, self.size)

    @cached_property
    def slopes(self) -> Window:
        """What that gradient is computed from: the gradient of the result, zeros around it."""
        shifts = self.slope_shifts
        before = min(0, *self._slope_places)
        length = max(-before + self.out, self.inner.length + max(shifts))
        return Window((before,), 1, length, self.out)

    @cached_property
    def slope_shifts(self) -> tuple[int, ...]:
        """How far each tap reads ahead in ``slopes`` of its place in ``inner``."""
        least = min(0, *self._slope_places)
        return tuple(place - least for place in self._slope_places)

    @cached_property
    def _skipped(self) -> tuple[int, ...]:
        """Places of each phase before the picture begins."""
        return tuple(max(0, -(origin // self.stride)) for origin in self.padded.origins)

    @cached_property
    def _slope_places(self) -> tuple[int, ...]:
        return tuple(self._skipped[self.phase_of[tap]] - self.shifts[tap] for tap in range(self.kernel))


@dataclass(frozen=True)
class Geometry:
    """Both axes of a convolution."""

    down: Axis
    along: Axis

    @classmethod
    def of(cls, size: tuple[int, int], numbers: Sequence[int]) -> Geometry:
        """For pictures of ``size``.

        Args:
            size: height and width.
            numbers: of both axes in turn: taps, strides, zeros before, zeros after, dilations.
        """
        return cls(Axis(size[0], *numbers[:10:2]), Axis(size[1], *numbers[1:10:2]))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.down.out, self.along.out

    @property
    def phases(self) -> int:
        """Images of one channel."""
        return len(self.down.phases) * len(self.along.phases)

    @cached_property
    def phase_of(self) -> tuple[int, ...]:
        """The image of a channel that each tap reads."""
        across = len(self.along.phases)
        return tuple(i * across + j for i in self.down.phase_of for j in self.along.phase_of)
