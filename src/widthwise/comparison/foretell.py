"""What is known before training: how far a network's kernel is from its infinite-width limit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from widthwise.comparison.nets import Net
from widthwise.comparison.plan import Architecture
from widthwise.kernels import distance_approx, measured_distance_deep

__all__ = ["formula_distance", "kernel_distances"]

_SIGMA_W = 3**-0.5  # PyTorch draws weights uniformly between the bounds of 1/sqrt(fan-in)
_PAIRS = 1000


def formula_distance(
    architecture: Architecture, features: int, width: int, connectivity: Sequence[float]
) -> float | None:
    """Formula (4) of the wider-nets paper; ``None`` for anything but one hidden layer of ReLU.

    An output sees only the units its live weights reach, so the width that counts is ``width * connectivity[1]``.

    Args:
        architecture: the kind of network.
        features: size of a flattened input.
        width: hidden units.
        connectivity: of the two layers.
    """
    if architecture.depth != 1 or architecture.activation != "relu":
        return None
    first, last = connectivity
    return distance_approx(features, width * last, first)


def kernel_distances(nets: Sequence[Net], architecture: Architecture, x: Tensor) -> list[float | None]:
    """The distance measured on pairs of a data set, for each network as initialised, relative to the squared kernel.

    Biases are left aside. ``None`` for a network pruned by a score or with bottlenecks, whose weights are not
    independent draws, and for anything but a perceptron.

    Args:
        nets: networks of one shape, freshly initialised.
        architecture: the kind of network.
        x: inputs of the data set.
    """
    drawn = [i for i, net in enumerate(nets) if net.drawn]
    if not architecture.depth or architecture.activation is None or not drawn:
        return [None] * len(nets)
    layers = [f"hidden{i}.weight" for i in range(1, architecture.depth + 1)]
    found = measured_distance_deep(
        [torch.stack([nets[i].model.get_parameter(name).detach() for i in drawn]) for name in layers],
        x.flatten(1).to(next(nets[0].model.parameters()).dtype),
        architecture.activation,
        sigma_w=_SIGMA_W,
        last_layer_mask=torch.stack([_alive(nets[i], "output.weight") for i in drawn]),
        pairs=_PAIRS,
    )
    relative = {i: value / found.scale for i, value in zip(drawn, found.per_net, strict=True)}
    return [relative.get(i) for i in range(len(nets))]


def _alive(net: Net, name: str) -> Tensor:
    if net.mask is not None:
        return net.mask[name]
    return torch.ones_like(net.model.get_parameter(name), dtype=torch.bool)
