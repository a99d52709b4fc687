r"""Convolutional networks that end in global average pooling, on a CPU: one displacement of positions at a time.

A convolution of stride 1 takes a pair of positions (p, p + s) to sums over pairs (p + d, p + d + s): two images
displaced against one another by s go through all layers by themselves, in a few thousand numbers that stay next to the
processor, and only the last mean brings displacements together. Squared distances are what is summed, as in
:mod:`widthwise.infinite.distances`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from widthwise.activations.closed_forms import root
from widthwise.infinite.bending import bowed
from widthwise.infinite.chain import Chain
from widthwise.infinite.convolution import Conv
from widthwise.infinite.fused import plain
from widthwise.infinite.geometry import Images
from widthwise.infinite.layers import Layer, Nonlinear
from widthwise.infinite.pooling import GlobalAvgPool, gap_of_means
from widthwise.infinite.rules import Slopes
from widthwise.infinite.state import Layout, Pair, Trace

__all__ = ["SIDE", "Displaced", "suits", "trace_displaced"]

WORTH = 1 << 22
"""Pairs of positions times layers; fewer are done before the compiler is."""
SIDE = 16
"""Images at a time, whose tables stay in the cache."""
ALL, OWN, UPPER = -1, 0, 1
"""Which pairs of images: every one, each with itself, or each with those not before it."""


def suits(network: Chain, images: Images, pairs: int) -> bool:
    """Whether a network begins with such convolutions and ReLU-like activations, and the work is worth compiling."""
    x, layers = images.unit, _before_pooling(network)
    if not layers or x.dtype != torch.float32 or x.device.type != "cpu":
        return False
    if x.requires_grad and torch.is_grad_enabled():
        return False
    space = tuple(images.r.shape[1:])
    return _reach(layers, space) is not None and pairs * math.prod(space) ** 2 * len(layers) >= WORTH


def trace_displaced(network: Chain, images: Images, tangent: bool) -> Trace:
    """Take each image through the network; what pooling leaves of it is of the compiled pass too."""
    before = _before_pooling(network)
    inner, rows = [], replace(images, full=False).rows(tangent)
    for layer in before:
        found, rows = layer.trace(rows)
        inner.append(found)
    stack = _Stack(before, images, inner)
    parts = [slice(start, start + SIDE) for start in range(0, len(stack.tables), SIDE)]
    covariances = np.concatenate([_pooled(stack, stack, part, part, OWN)[0].diagonal() for part in parts])
    covariance = torch.from_numpy(covariances).nan_to_num(nan=math.inf)  # as it is of inputs beyond the largest number
    pooled = root(covariance).to(rows.r.dtype)
    inner.append(Trace(rows.r, pooled))
    rows = replace(rows, r=pooled, fresh=False)
    for layer in network.layers[len(inner) :]:
        found, rows = layer.trace(rows)
        inner.append(found)
    return Trace(inner[0].before, rows.r, inner=tuple(inner))


class Displaced:
    """The layers up to pooling, as tables for the compiled pass through them.

    Args:
        network: one that :func:`suits`.
        left, right: images; the same object if there is one set of them.
        traces: what the layers know of each.
    """

    def __init__(self, network: Chain, left: Images, right: Images, traces: tuple[Trace, Trace]) -> None:
        self.before = _before_pooling(network)
        self.after = network.layers[len(self.before) + 1 :]
        self.traces = traces
        self.left = _Stack(self.before, left, traces[0].inner)
        self.right = self.left if left is right else _Stack(self.before, right, traces[1].inner)

    def __call__(self, rows: slice, columns: slice, tangent: bool, diagonal: bool) -> Pair:
        """Some of the pairs after the last layer; on the diagonal, the upper triangle."""
        kernels = _pooled(self.left, self.right, rows, columns, UPPER if diagonal else ALL)
        nngp, ntk = (torch.from_numpy(kernel).float() for kernel in kernels)
        a, b = ([trace[some] for trace in side.inner] for side, some in zip(self.traces, (rows, columns), strict=True))
        depth = len(self.before)
        gap = gap_of_means(nngp, torch.outer(a[depth].after, b[depth].after))
        pair = Pair(gap, ntk if tangent else None, Layout())
        for layer, left, right in zip(self.after, a[depth + 1 :], b[depth + 1 :], strict=True):
            pair = layer.pairs(pair, left, right)
        return pair


class _Stack:
    """Convolutions, each with the activation after it if there is one, and what they know of some images.

    Attributes:
        tables: see :func:`widthwise.infinite.sliding.pooled`.
        layers: likewise.
        radii: likewise.
        circular: likewise.
    """

    def __init__(self, layers: tuple[Layer, ...], images: Images, traces: list[Trace] | tuple[Trace, ...]) -> None:
        convolutions = [(at, layer) for at, layer in enumerate(layers) if isinstance(layer, Conv)]
        pixels = images.unit * images.r.unsqueeze(1)
        after = torch.stack([traces[at].after for at, _ in convolutions], dim=1)
        flat = torch.cat([pixels, after.to(pixels.dtype)], dim=1)
        self.tables: NDArray[Any] = (flat if images.r.ndim == 3 else flat.unsqueeze(2)).numpy()
        self.layers = np.array([_numbers(layers[at : at + 2]) for at, _ in convolutions], dtype=np.float32)
        reach = _reach(layers, tuple(images.r.shape[1:]))
        assert reach is not None  # of a network that suits
        radii, self.circular = reach
        self.radii = (0, *radii)[-2:]


def _pooled(left: _Stack, right: _Stack, rows: slice, columns: slice, which: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Means of both kernels over all pairs of positions, float64."""
    from widthwise.infinite.sliding import pooled

    a, b = left.tables[rows], right.tables[columns]
    found: tuple[NDArray[Any], NDArray[Any]] = pooled(a, b, left.layers, left.radii, left.circular, which, *bowed())
    return found


def _before_pooling(network: Chain) -> tuple[Layer, ...]:
    """The layers before the first global average pooling; none if they are not all as they must be."""
    pool = next((at for at, layer in enumerate(network.layers) if isinstance(layer, GlobalAvgPool)), 0)
    layers = network.layers[:pool]
    plainly = all(_follows(layer, before) for before, layer in zip((None, *layers), layers, strict=False))
    return layers if plainly else ()


def _follows(layer: Layer, before: Layer | None) -> bool:
    if isinstance(layer, Conv):
        return layer.parameterisation == "ntk"
    return isinstance(layer, Nonlinear) and isinstance(before, Conv) and plain(layer.rule)


def _reach(layers: tuple[Layer, ...], space: tuple[int, ...]) -> tuple[tuple[int, ...], bool] | None:
    """How far every kernel reaches, and whether images are circular; ``None`` where convolutions are not alike."""
    found = {layer.reach(space) for layer in layers if isinstance(layer, Conv)}
    return found.pop() if len(found) == 1 else None


def _numbers(layers: tuple[Layer, ...]) -> tuple[float, ...]:
    """What the compiled pass wants to know of a convolution and of the activation after it, if there is one."""
    convolution, after = layers[0], layers[-1]
    assert isinstance(convolution, Conv)
    line, bend = after.rule.parts if isinstance(after, Nonlinear) and isinstance(after.rule, Slopes) else (1.0, 0.0)
    return convolution.sigma_w**2, float(convolution.train), bend / (line + bend), bend, line
