"""Each input by itself taken through a network, which comes before pairs of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from widthwise.errors import InputError
from widthwise.infinite.chain import Chain
from widthwise.infinite.displaced import suits, trace_displaced
from widthwise.infinite.flattening import Flatten
from widthwise.infinite.geometry import Images, Vectors
from widthwise.infinite.state import Pair, Trace

__all__ = ["check_flat", "chunks", "opened", "traced"]

OWN = 1 << 22
"""Numbers held at a time when each input is paired with itself."""


def opened(network: Chain, x: Tensor) -> Vectors | Images:
    """The inputs as the first layer takes them."""
    if x.ndim == 2 or isinstance(network.layers[0], Flatten):
        return Vectors.of(x.flatten(1))
    return Images.of(x, network.pools)


def chunks(start: Vectors | Images) -> list[slice]:
    """All inputs at once, or few at a time where each one's own positions are paired."""
    n, each = len(start.r), math.prod(start.r.shape[1:])
    step = max(1, OWN // each**2) if start.full else n
    return [slice(at, at + step) for at in range(0, n, step)]


def traced(network: Chain, start: Vectors | Images, tangent: bool, pairs: int) -> Trace:
    """Take each input through the network, and bring the result to the inputs' precision."""
    if isinstance(start, Images) and suits(network, start, pairs):
        trace = trace_displaced(network, start, tangent)
    else:
        trace = Trace.joined([network.trace(start[rows].rows(tangent))[0] for rows in chunks(start)])
    trace = trace.to(start.unit.dtype)
    if not bool(torch.isfinite(trace.after.detach().square()).all()):
        raise InputError(
            f"x1: the kernel of some inputs is beyond the largest {trace.after.dtype}; allowed are smaller inputs or "
            "sigma_w"
        )
    return trace


def check_flat(pair: Pair) -> None:
    """Refuse outputs that still have positions."""
    if pair.layout.space:
        raise InputError("layers: the outputs still have positions; end with Flatten or GlobalAvgPool, then Dense")
