"""Layers one after another, and around them a skip connection."""

from __future__ import annotations

from dataclasses import replace

from widthwise.activations import ActivationLike
from widthwise.errors import InputError, check_integer, check_number
from widthwise.infinite.layers import Layer, as_layer
from widthwise.infinite.state import Pair, Rows, Trace, added, together

__all__ = ["Chain", "Residual"]


class Chain(Layer):
    """Layers one after another.

    Args:
        layers: layers and activations, as names, modules, functions or
            :class:`~widthwise.activations.Activation`.

    Raises:
        InputError: for no layers, or an unknown activation.
    """

    def __init__(self, *layers: Layer | ActivationLike) -> None:
        if not layers:
            raise InputError("layers: got none, allowed is one or more")
        self.layers = tuple(as_layer(layer) for layer in layers)
        self.pools = any(layer.pools for layer in self.layers)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"

    def trace(self, rows: Rows) -> tuple[Trace, Rows]:
        """Trace each layer."""
        before, inner = rows.r, []
        for layer in self.layers:
            trace, rows = layer.trace(rows)
            inner.append(trace)
        return Trace(before, rows.r, inner=tuple(inner)), rows

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Take a pair through each layer."""
        for layer, a, b in zip(self.layers, left.inner, right.inner, strict=True):
            pair = layer.pairs(pair, a, b)
        return pair


class Residual(Layer):
    """A skip connection around layers of which the last draws weights: y = x + scale * branch(x).

    K' = K + scale^2 K_branch and T' = T + scale^2 T_branch. ``Residual.stable`` scales every one of L blocks by
    1 / sqrt(L) (Hayou et al., 2021), with which variances stay bounded at any depth.

    Args:
        branch: layers, the last one a Dense or Conv.
        scale: of the branch.
    """

    def __init__(self, *branch: Layer | ActivationLike, scale: float = 1.0) -> None:
        self.branch = Chain(*branch)
        self.scale = check_number("scale", scale)
        self.pools = self.branch.pools

    @classmethod
    def stable(cls, *branch: Layer | ActivationLike, blocks: int) -> Residual:
        """Return one of ``blocks`` blocks, scaled by their number to the power -1/2."""
        return cls(*branch, scale=check_integer("blocks", blocks, low=1) ** -0.5)

    def __repr__(self) -> str:
        layers = ", ".join(map(repr, self.branch.layers))
        return f"Residual({layers}, scale={self.scale:g})"

    def trace(self, rows: Rows) -> tuple[Trace, Rows]:
        """Trace the branch, and the angle whose tangent is branch over skip."""
        inner, branch = self.branch.trace(rows)
        if not branch.fresh:
            raise InputError("Residual: the branch ends in a layer without weights; allowed is Dense or Conv")
        if branch.space != rows.space:
            raise InputError(f"Residual: the branch makes {rows.space} positions {branch.space}; allowed is the same")
        if rows.width is not None and branch.width not in (None, rows.width):
            raise InputError(
                f"Residual: the branch has width {branch.width}, allowed is that of the skip, {rows.width}"
            )
        after, angle = together(rows.r, abs(self.scale) * branch.r)
        trace = Trace(rows.r, after, (angle,), (inner,))
        return self._follow(trace, replace(rows, r=after, fresh=False))

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Add the branch, which is independent of what it is added to."""
        branch = self.branch.pairs(pair, left.inner[0], right.inner[0])
        ntk = None if pair.ntk is None or branch.ntk is None else pair.ntk + self.scale**2 * branch.ntk
        return replace(added(pair, branch, left.tables[0], right.tables[0]), ntk=ntk)
