r"""Perceptrons of two-sloped activations on a CPU: all layers of a single-precision tile in one compiled pass.

It does what the layers do with PyTorch, several times faster, and is used where the matrix is large enough to pay
for compiling it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from widthwise.infinite.bending import bowed
from widthwise.infinite.geometry import NEAR, Vectors, angles
from widthwise.infinite.layers import Dense, Nonlinear
from widthwise.infinite.rules import Slopes
from widthwise.infinite.state import Trace

if TYPE_CHECKING:
    from widthwise.infinite.network import Network

__all__ = ["Fused", "fused", "plain"]


class Fused:
    """The layers of a perceptron as tables, and the compiled pass through them.

    Attributes:
        left, right: for each dense layer and input: root of the variance, cosine of the angle that biases make, and
            sine and cosine of half of it, ``(layers, 4, n)``.
        layers: for each dense layer: sigma_w^2, whether it is trained, and, of the activation before it, the share of
            abs(x) in the variance, and the squares of its slope and of the line's.
    """

    def __init__(self, network: Network, left: Trace, right: Trace) -> None:
        self.left, self.right = (_tables(trace) for trace in (left, right))
        self.layers = np.array(list(_numbers(network)), dtype=self.left.dtype)
        self.biased = any(isinstance(layer, Dense) and layer.sigma_b for layer in network.layers)

    def __call__(self, u: Vectors, v: Vectors, rows: slice, columns: slice, diagonal: bool) -> tuple[Tensor, Tensor]:
        """Return the NNGP and the NTK of a tile, between inputs u and v, of which these are the places."""
        from widthwise.infinite.compiled import largest, through_layers

        c = u.unit @ v.unit.mT
        cosines = not diagonal and bool(largest(c.numpy()) <= NEAR[c.dtype])
        gap, rest = (c.numpy(), np.empty_like(c)) if cosines else (part.numpy() for part in angles(u, v, c, diagonal))
        ntk, left, right = np.empty_like(gap), self.left[:, :, rows], self.right[:, :, columns]
        through_layers(gap, rest, ntk, left, right, self.layers, *bowed(), cosines, self.biased)
        return torch.from_numpy(gap), torch.from_numpy(ntk)

    @staticmethod
    def put(whole: Tensor, tile: Tensor, rows: slice, columns: slice, symmetric: bool) -> None:
        """Write a square tile into a matrix and, if that is symmetric, into its mirror image."""
        from widthwise.infinite.compiled import spread

        spread(whole.numpy(), tile.numpy(), rows.start, columns.start, symmetric)


def fused(network: Network, left: Trace, right: Trace) -> Fused | None:
    """Return the fast path if the network has one: dense layers in turn with ReLU-like activations."""
    dense, between = network.layers[::2], network.layers[1::2]
    if len(dense) != len(between) + 1 or not between:
        return None
    if not all(isinstance(layer, Dense) and layer.parameterisation == "ntk" for layer in dense):
        return None
    if not all(isinstance(layer, Nonlinear) and plain(layer.rule) for layer in between):
        return None
    return Fused(network, left, right)


def plain(rule: object) -> bool:
    """Whether an activation bends and does not fold: slopes of one sign."""
    return isinstance(rule, Slopes) and rule.a * rule.b >= 0 and rule.a != rule.b


def _numbers(network: Network) -> list[tuple[float, ...]]:
    found: list[tuple[float, ...]] = []
    activation = (0.0, 0.0, 0.0)
    for layer in network.layers:
        if isinstance(layer, Dense):
            found.append((layer.sigma_w**2, float(layer.train), *activation))
        elif isinstance(layer, Nonlinear) and isinstance(layer.rule, Slopes):
            line, bend = layer.rule.parts
            activation = (bend / (line + bend), bend, line)
    return found


def _tables(trace: Trace) -> NDArray[Any]:
    """See :class:`Fused`."""
    tables = []
    for layer in trace.inner[::2]:
        angle = layer.tables[0] if layer.tables else torch.zeros_like(layer.after)
        tables.append(torch.stack([layer.after, torch.cos(angle), torch.sin(angle / 2), torch.cos(angle / 2)]))
    found: NDArray[Any] = torch.stack(tables).float().numpy()
    return found
