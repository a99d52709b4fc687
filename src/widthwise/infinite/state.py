r"""What a kernel is while it passes through a network: per input, per pair of inputs, and per layer.

The covariance of two inputs is kept as ``K = r1 r2 (1 - gap)``, with ``r`` the root of each variance and
``gap = 1 - c`` one minus the correlation: a number near 0 is known to all its digits, one near 1 is not, and it is the
angle ``arccos c`` of nearly parallel inputs on which the tangent kernel depends.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from widthwise.activations.closed_forms import root

__all__ = ["Layout", "Pair", "Rows", "Trace", "added", "gap_of", "safe_ratio", "together"]


@dataclass(frozen=True)
class Layout:
    """How the axes of a :class:`Pair` belong to the two inputs.

    Attributes:
        space: number of spatial axes that each input has, 0 for vectors.
        full: whether every position is paired with every other, as pooling needs, or with its like only.
        across: whether there is a left and a right axis of inputs, ``(a, b, ...)``, or one axis of inputs each paired
            with itself, ``(n, ...)``.
    """

    space: int = 0
    full: bool = False
    across: bool = True

    def left(self, rows: Tensor) -> Tensor:
        """Shape ``(a, *positions)`` so that it broadcasts along the left input's axes."""
        after = (1,) * self.space if self.full else ()
        between = (1,) if self.across else ()
        return rows.reshape(rows.shape[0], *between, *rows.shape[1:], *after)

    def right(self, rows: Tensor) -> Tensor:
        """Shape ``(b, *positions)`` so that it broadcasts along the right input's axes."""
        before = (1,) * self.space if self.full else ()
        leading = (1, rows.shape[0]) if self.across else (rows.shape[0],)
        return rows.reshape(*leading, *before, *rows.shape[1:])


@dataclass(frozen=True)
class Pair:
    """Covariances and tangent kernels of pairs of inputs.

    Attributes:
        gap: 1 - c.
        ntk: the tangent kernel so far; ``None`` where it is not asked for.
        layout: what the axes mean.
        rest: 1 + c, where it is known better than as ``2 - gap``: only on the way from inputs to the first kink.
    """

    gap: Tensor
    ntk: Tensor | None
    layout: Layout
    rest: Tensor | None = None

    def outer(self, left: Tensor, right: Tensor) -> Tensor:
        """The product of a quantity of the left inputs and one of the right inputs."""
        return self.layout.left(left) * self.layout.right(right)

    def covariance(self, left: Tensor, right: Tensor) -> Tensor:
        """K, from the roots of the variances."""
        return (1 - self.gap) * self.layout.left(left) * self.layout.right(right)


@dataclass(frozen=True)
class Rows:
    """What is known of each input by itself.

    Attributes:
        r: root of the variance of a coordinate at each position, ``(n, *positions)``.
        within: the pairs of each input's own positions, ``(n, *positions, *positions)``, where pooling needs them.
        gaussian: whether coordinates are normal with mean 0, as an activation or a normalisation needs.
        fresh: whether the last layer drew weights of its own, so that it is independent of everything before.
        width: number of coordinates, where it is finite or stated, as the standard parameterisation needs.
        tangent: whether tangent kernels are asked for.
        dtype: the precision asked for; what is known of each input is worked out in double precision.
    """

    r: Tensor
    within: Pair | None = None
    gaussian: bool = False
    fresh: bool = False
    width: int | None = None
    tangent: bool = True
    dtype: torch.dtype = torch.float64

    @property
    def space(self) -> tuple[int, ...]:
        """The number of positions along each spatial axis."""
        return tuple(self.r.shape[1:])

    def drawn(self, r: Tensor, width: int | None) -> Rows:
        """The same after a layer of new weights."""
        return replace(self, r=r, gaussian=True, fresh=True, width=width)


@dataclass(frozen=True)
class Trace:
    """What one layer needs to know of each input when it meets a pair.

    Attributes:
        before: roots of the variances that enter the layer.
        after: those that leave it.
        tables: further quantities of each input, inputs along the first axis.
        inner: traces of the layers it is made of.
        note: what ``tables`` belong to; tables with different notes do not combine.
        width: number of coordinates that enter.
    """

    before: Tensor
    after: Tensor
    tables: tuple[Tensor, ...] = ()
    inner: tuple[Trace, ...] = ()
    note: tuple[Hashable, ...] = ()
    width: int | None = None

    def __getitem__(self, rows: slice) -> Trace:
        """The same for some of the inputs."""
        tables = tuple(table[rows] for table in self.tables)
        return replace(self, before=self.before[rows], after=self.after[rows], tables=tables, inner=self._each(rows))

    def to(self, dtype: torch.dtype) -> Trace:
        """The same in another precision, tables kept in theirs."""
        inner = tuple(trace.to(dtype) for trace in self.inner)
        return replace(self, before=self.before.to(dtype), after=self.after.to(dtype), inner=inner)

    def _each(self, rows: slice) -> tuple[Trace, ...]:
        return tuple(trace[rows] for trace in self.inner)

    @classmethod
    def joined(cls, parts: Sequence[Trace]) -> Trace:
        """The trace of all inputs, from those of consecutive parts."""
        first = parts[0]
        if len(parts) == 1:
            return first
        return replace(
            first,
            before=torch.cat([part.before for part in parts]),
            after=torch.cat([part.after for part in parts]),
            note=first.note if all(part.note == first.note for part in parts) else (),
            tables=tuple(_cat(tables) for tables in zip(*(part.tables for part in parts), strict=True)),
            inner=tuple(cls.joined(inner) for inner in zip(*(part.inner for part in parts), strict=True)),
        )


def _cat(parts: Iterable[Tensor]) -> Tensor:
    """Join tables, those of fewer columns filled with zeros."""
    tables = list(parts)
    width = max(table.shape[-1] for table in tables)
    return torch.cat([torch.nn.functional.pad(table, (0, width - table.shape[-1])) for table in tables])


def safe_ratio(top: Tensor, bottom: Tensor) -> Tensor:
    """Return ``top / bottom``, and 0 where ``bottom`` is 0."""
    nonzero = bottom != 0
    return torch.where(nonzero, top / torch.where(nonzero, bottom, 1.0), 0.0)


def added(first: Pair, second: Pair | None, left: Tensor, right: Tensor) -> Pair:
    """The sum of two independent parts, whose shares in each variance are cos^2 and sin^2 of an angle.

    With equal shares correlations average; unequal ones take 1 - cos(a - b) off, which is formed without cancellation.

    Args:
        first: the part of share cos^2.
        second: the part of share sin^2; ``None`` for one that is the same for both inputs, as biases are.
        left: angles of the left inputs.
        right: angles of the right inputs.
    """
    a, b, layout = left.to(first.gap.dtype), right.to(first.gap.dtype), first.layout
    share, other = first.outer(torch.cos(a), torch.cos(b)), first.outer(torch.sin(a), torch.sin(b))
    ahead = layout.left(torch.sin(a / 2)) * layout.right(torch.cos(b / 2))
    apart = 2 * (ahead - layout.left(torch.cos(a / 2)) * layout.right(torch.sin(b / 2))).square()
    gap = share * first.gap + apart
    if second is not None:
        gap = gap + other * second.gap
    if first.rest is None:
        return replace(first, gap=gap)
    beyond = 2 if second is None else 2 - second.gap if second.rest is None else second.rest
    return replace(first, gap=gap, rest=share * first.rest + other * beyond + apart)


def gap_of(covariance: Tensor, before: Pair, left: Trace, right: Trace) -> Tensor:
    """Return 1 - c of a covariance that a layer made, exactly 0 where both inputs entered it alike."""
    layout = before.layout
    one = torch.ones((), dtype=covariance.dtype, device=covariance.device)
    scales = layout.left(safe_ratio(one, left.after)), layout.right(safe_ratio(one, right.after))
    gap = (1 - covariance * scales[0] * scales[1]).to(before.gap.dtype)
    alike = (before.gap == 0) & (layout.left(left.before) == layout.right(right.before))
    return torch.where(alike, 0.0, gap.clamp(min=0))


def together(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the root of a sum of variances, from their roots, and the angle whose tangent is second over first."""
    total = root(first.square() + second.square())
    return total, torch.atan2(second, torch.where(total > 0, first, 1.0))
