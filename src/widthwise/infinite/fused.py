r"""Perceptrons of two-sloped activations on a CPU: all layers of a single-precision tile in one compiled pass.

It does what the layers do with PyTorch, several times faster, and is used where the matrix is large enough to pay
for compiling it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from widthwise.infinite.bending import bowed
from widthwise.infinite.chain import Chain
from widthwise.infinite.geometry import NEAR, Vectors
from widthwise.infinite.layers import Dense, Nonlinear
from widthwise.infinite.rules import Slopes
from widthwise.infinite.state import Trace

__all__ = ["Fused", "fused", "plain"]

_NEAR = np.float32(NEAR[torch.float32])
_STRIP = 64
"""Rows multiplied at a time on the diagonal, from there to the right."""


class Fused:
    """The layers of a perceptron as tables, and the compiled pass through them.

    Attributes:
        left, right: the inputs.
        tables: for each side, dense layer and input: root of the variance, cosine of the angle that biases make, and
            sine and cosine of half of it, ``(layers, 4, n)``; and the inverse lengths of the inputs.
        layers: for each dense layer: sigma_w^2, whether it is trained, and, of the activation before it, the share of
            abs(x) in the variance, and the squares of its slope and of the line's.
    """

    def __init__(self, network: Chain, left: Vectors, right: Vectors, traces: tuple[Trace, Trace]) -> None:
        self.left, self.right = left, right
        self.tables = [(_tables(trace), _inverse(x.length)) for x, trace in zip((left, right), traces, strict=True)]
        self.layers = np.array(list(_numbers(network)), dtype=np.float32)
        self.biased = any(isinstance(layer, Dense) and layer.sigma_b for layer in network.layers)
        self._both: list[Tensor] = []

    def __call__(self, rows: slice, columns: slice, diagonal: bool) -> tuple[Tensor, Tensor]:
        """Return the NNGP and the NTK of a tile, good until the next is asked for: it lies where this one did."""
        from widthwise.infinite.compiled import STEP, through_layers

        u, v = self.left.unit[rows], self.right.unit[columns]
        high, wide = len(u), len(v)
        if not self._both or self._both[0].shape[0] < high or self._both[0].shape[1] < wide + STEP:
            # rows of a power of two would compete for the same few places of the cache
            self._both = [torch.empty(high, wide + STEP) for _ in range(2)]
        covariance, ntk = self._both
        for top in range(0, high, strip := _STRIP if diagonal else high):
            at = top if diagonal else 0
            torch.mm(u[top : top + strip], v[at:].mT, out=covariance[top : min(top + strip, high), at:wide])
        (left, shrink), (right, shrinks) = self.tables
        through_layers(
            covariance.numpy(), ntk.numpy(), (rows.start, rows.start + high), (columns.start, columns.start + wide),
            self.left.x.numpy(), self.right.x.numpy(), shrink, shrinks, left, right, self.layers, *bowed(),
            _NEAR, self.biased, diagonal,
        )  # fmt: skip
        return covariance[:high, :wide], ntk[:high, :wide]

    @staticmethod
    def put(whole: Tensor, tile: Tensor, rows: slice, columns: slice, symmetric: bool) -> None:
        """Write a tile into a matrix and, if that is symmetric, into its mirror image."""
        from widthwise.infinite.compiled import mirror

        whole[rows, columns] = tile
        if symmetric and rows.start != columns.start:
            mirror(whole.numpy(), tile.numpy(), rows.start, columns.start)


def fused(network: Chain, left: Vectors, right: Vectors, traces: tuple[Trace, Trace]) -> Fused | None:
    """Return the fast path if the network has one: dense layers in turn with ReLU-like activations."""
    dense, between = network.layers[::2], network.layers[1::2]
    if len(dense) != len(between) + 1 or not between:
        return None
    if not all(isinstance(layer, Dense) and layer.parameterisation == "ntk" for layer in dense):
        return None
    if not all(isinstance(layer, Nonlinear) and plain(layer.rule) for layer in between):
        return None
    return Fused(network, left.contiguous(), right.contiguous(), traces)


def plain(rule: object) -> bool:
    """Whether an activation bends and does not fold: slopes of one sign."""
    return isinstance(rule, Slopes) and rule.a * rule.b >= 0 and rule.a != rule.b


def _numbers(network: Chain) -> list[tuple[float, ...]]:
    found: list[tuple[float, ...]] = []
    activation = (0.0, 0.0, 0.0)
    for layer in network.layers:
        if isinstance(layer, Dense):
            found.append((layer.sigma_w**2, float(layer.train), *activation))
        elif isinstance(layer, Nonlinear) and isinstance(layer.rule, Slopes):
            line, bend = layer.rule.parts
            activation = (bend / (line + bend), bend, line)
    return found


def _inverse(length: Tensor) -> NDArray[Any]:
    inverse: NDArray[Any] = (1 / torch.where(length > 0, length, 1.0)).numpy()
    return inverse


def _tables(trace: Trace) -> NDArray[Any]:
    """See :class:`Fused`."""
    tables = []
    for layer in trace.inner[::2]:
        angle = layer.tables[0] if layer.tables else torch.zeros_like(layer.after)
        tables.append(torch.stack([layer.after, torch.cos(angle), torch.sin(angle / 2), torch.cos(angle / 2)]))
    found: NDArray[Any] = torch.stack(tables).float().numpy()
    return found
