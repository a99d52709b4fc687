r"""From data to the first rows and pairs: lengths, and angles that are exact however small.

The cosine of two unit vectors says little about a small angle, of which it keeps half the digits. Where a cosine is
near 1 or -1, ``1 - c = |u - v|^2 / 2`` and ``1 + c = |u + v|^2 / 2`` are formed from differences and sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.infinite.state import Layout, Pair, Rows, safe_ratio

__all__ = ["NEAR", "Images", "Vectors", "angles"]

NEAR = {torch.float64: 0.99, torch.float32: 0.9}
"""Cosines beyond these are worked out again."""
MANY = 32
"""If more than one pair in so many is near, all of the tile are worked out again: cheaper than gathering them."""
ROWS = 256
"""Inputs normalised at a time."""
CHUNK = 1 << 22
"""Numbers gathered at a time."""


@dataclass(frozen=True)
class Vectors:
    """Inputs ``(n, d)``, and the same as unit vectors, and lengths.

    Attributes:
        x: the inputs.
        unit: unit vectors, or zeros, in the dtype of the inputs.
        length: float64.
    """

    x: Tensor
    unit: Tensor
    length: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Vectors:
        """Normalise in float64, a few rows at a time, which stay in cache."""
        parts = [_normalised(some) for some in x.split(ROWS)]  # type: ignore[no-untyped-call]
        return cls(x, *(torch.cat(part) for part in zip(*parts, strict=True)))

    def __getitem__(self, rows: slice | Tensor) -> Vectors:
        """Some of the inputs."""
        return Vectors(self.x[rows], self.unit[rows], self.length[rows])

    def contiguous(self) -> Vectors:
        """The same as plain numbers, each input's side by side."""
        return Vectors(self.x.detach().contiguous(), self.unit.detach().contiguous(), self.length.detach())

    @property
    def r(self) -> Tensor:
        """Root of the variance of a coordinate."""
        return self.length / math.sqrt(self.x.shape[1])

    @property
    def exact(self) -> Tensor:
        """Unit vectors in float64."""
        return _unit(self.x, self.length)

    def rows(self, tangent: bool) -> Rows:
        """What is known of each input."""
        return Rows(self.r, width=self.unit.shape[1], tangent=tangent, dtype=self.unit.dtype)

    @property
    def full(self) -> bool:
        """Whether positions are paired: there are none."""
        return False

    def own(self, tangent: bool) -> Pair:
        """Each input with itself."""
        gap = torch.zeros_like(self.r)
        return Pair(gap, gap.new_zeros(()) if tangent else None, Layout(across=False))

    def pair(self, other: Vectors, tangent: bool, diagonal: bool) -> Pair:
        """Angles between these inputs and others, of which the first are the same if ``diagonal``."""
        gap, rest = angles(self, other, self.unit @ other.unit.mT, diagonal)
        return Pair(gap, gap.new_zeros(()) if tangent else None, Layout(), rest)


@dataclass(frozen=True)
class Images:
    """Inputs ``(n, channels, *positions)``: at each position a unit vector, and its length over sqrt(channels)."""

    unit: Tensor
    r: Tensor
    full: bool

    @classmethod
    def of(cls, x: Tensor, full: bool) -> Images:
        """Normalise in float64."""
        wide = x.double()
        length = torch.linalg.vector_norm(wide, dim=1)
        unit = safe_ratio(wide, length.unsqueeze(1))
        return cls(unit.to(x.dtype), (length / math.sqrt(x.shape[1])).to(x.dtype), full)

    def __getitem__(self, rows: slice) -> Images:
        """Some of the inputs."""
        return Images(self.unit[rows], self.r[rows], self.full)

    def rows(self, tangent: bool) -> Rows:
        """What is known of each input, its own positions included where they are all paired."""
        within = self.own(tangent=False) if self.full else None
        return Rows(self.r, within, width=self.unit.shape[1], tangent=tangent, dtype=self.unit.dtype)

    def own(self, tangent: bool) -> Pair:
        """Each input with itself."""
        layout = Layout(self.r.ndim - 1, self.full, across=False)
        gap = self._gap(self, layout)
        return Pair(gap, gap.new_zeros(()) if tangent else None, layout)

    def pair(self, other: Images, tangent: bool, diagonal: bool) -> Pair:
        """Angles between positions of these inputs and of others."""
        layout = Layout(self.r.ndim - 1, self.full)
        gap = self._gap(other, layout)
        return Pair(gap, gap.new_zeros(()) if tangent else None, layout)

    def _gap(self, other: Images, layout: Layout) -> Tensor:
        """|u - v|^2 / 2, one channel after the other."""
        total: Tensor | None = None
        for u, v in zip(self.unit.unbind(1), other.unit.unbind(1), strict=True):
            apart = (layout.left(u) - layout.right(v)).square()
            total = apart if total is None else total + apart
        assert total is not None  # there is a channel at least
        blank = (layout.left(self.r) == 0) | (layout.right(other.r) == 0)
        return torch.where(blank, 1.0, total / 2)


def _normalised(x: Tensor) -> tuple[Tensor, Tensor]:
    length = torch.linalg.vector_norm(x.double(), dim=1)
    return _unit(x, length).to(x.dtype), length


def _unit(x: Tensor, length: Tensor) -> Tensor:
    return x.double() / torch.where(length > 0, length, 1.0).unsqueeze(1)


def angles(u: Vectors, v: Vectors, c: Tensor, diagonal: bool) -> tuple[Tensor, Tensor]:
    """1 - c and 1 + c of all pairs, from the rounded cosines c; both are alike on the ``diagonal``."""
    if diagonal:
        alike = torch.eye(*c.shape, dtype=torch.bool, device=c.device)
        gap, rest = _apart(u, v, c.masked_fill(alike, 0.0))
        return gap.masked_fill(alike, 0.0), rest.masked_fill(alike, 2.0)
    return _apart(u, v, c)


def _apart(u: Vectors, v: Vectors, c: Tensor) -> tuple[Tensor, Tensor]:
    """1 - c and 1 + c, formed anew where c is near 1 or -1."""
    gap, rest = 1 - c, 1 + c
    if float(torch.linalg.vector_norm(c.detach(), math.inf)) <= NEAR[c.dtype]:
        return gap, rest
    near = c.detach().abs() > NEAR[c.dtype]
    count = int(near.sum())
    same = c.detach() > 0
    if count * MANY > near.numel():
        apart, together = (_squared(u.exact, side * v.exact).to(c.dtype) / 2 for side in (1, -1))
        return torch.where(near & same, apart, gap), torch.where(near & ~same, together, rest)
    return _mended(gap, u, v, near & same, -1), _mended(rest, u, v, near & ~same, 1)


def _squared(u: Tensor, v: Tensor) -> Tensor:
    """Squared distances of all pairs, by differences."""
    return torch.cdist(u, v, compute_mode="donot_use_mm_for_euclid_dist").square()


def _mended(values: Tensor, u: Vectors, v: Vectors, where: Tensor, sign: int) -> Tensor:
    """Put |u_i + sign v_j|^2 / 2 in the place of some values."""
    i, j = where.nonzero(as_tuple=True)
    if not len(i):
        return values
    step = max(1, CHUNK // u.x.shape[1])
    pieces = [
        (u[a].exact + sign * v[b].exact).square().sum(1) / 2
        for a, b in zip(torch.split(i, step), torch.split(j, step), strict=True)
    ]
    return values.index_put((i, j), torch.cat(pieces).to(values.dtype))
